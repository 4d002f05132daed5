"""Grids: what a cell is, and that every mistake is told before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders import policy_table, simulation_table, study_table
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from client.drawn import Drawn
from client.simulation import Simulation
from experiments.baselines import without_privacy
from experiments.command import app
from experiments.compare.grid import Grid, merged
from tasks.study import Study

STUDIES = Path(__file__).parents[3] / "experiments" / "studies"
OFF = {"privacy": {"kind": "off"}}  # most need no noise, and to find its size takes a second
OPEN = policy_table(
    lifetime={"epsilon": float("inf")},
    mechanisms=["dp-sgd", "off"],
    tasks=["icd-coding", "term-coding"],
)
HEADS = {
    "name": "head",
    "value": [{"name": "linear"}, {"name": "mlp", "set": {"head": {"kind": "mlp", "hidden": [4]}}}],
}
EPSILONS = {
    "name": "epsilon",
    "value": [
        {"name": "3", "set": {"privacy": {"kind": "dp-sgd", "epsilon": 3.0, "clip": 0.5}}},
        {"name": "off"},
    ],
}


@pytest.fixture
def grid_file(tmp_path) -> Callable[..., Path]:
    """Writes a grid; keyword arguments go into [compare]."""

    def write(*axes: Any, study: dict[str, Any] | None = None, **compare: Any) -> Path:
        table = study_table(**(OFF | (study or {}))) | {"simulation": simulation_table(policy=OPEN)}
        path = tmp_path / "grid.toml"
        path.write_text(tomli_w.dumps(table | {"compare": {"axis": list(axes)} | compare}), "utf-8")
        return path

    return write


@pytest.fixture
def read(grid_file, tmp_path) -> Callable[..., Grid]:
    return lambda *axes, **compare: Grid.read(grid_file(*axes, **compare), data=tmp_path)


tables = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from("abc"), tables, max_size=3))
def test_nothing_on_top_changes_nothing_and_a_table_on_itself_is_itself(table):
    assert merged(table, {}) == merged({}, table) == merged(table, table) == table


def test_a_table_with_a_kind_replaces_and_one_without_is_merged():
    below = {"privacy": {"kind": "dp-sgd", "epsilon": 8.0, "clip": 0.5}, "rounds": 2}
    assert merged(below, {"privacy": {"epsilon": 1.0}}) == {
        "privacy": {"kind": "dp-sgd", "epsilon": 1.0, "clip": 0.5},
        "rounds": 2,
    }
    assert merged(below, {"privacy": {"kind": "off"}})["privacy"] == {"kind": "off"}
    assert below["privacy"]["epsilon"] == 8.0


def test_the_grid_is_the_product_of_its_axes_in_order(read):
    grid = read(HEADS, EPSILONS, {"name": "split", "split_seeds": [4, 7]})
    assert [cell.said for cell in grid.cells] == [
        f"head {head}, epsilon {epsilon}, split {seed}"
        for head in ("linear", "mlp")
        for epsilon in ("3", "off")
        for seed in (4, 7)
    ]
    first, last = grid.cells[0], grid.cells[-1]
    assert (first.study.head.kind, last.study.head.kind) == ("linear", "mlp")
    assert (first.epsilon, last.epsilon) == (3.0, None)
    assert first.simulation.stratified.seed == 4
    assert len({cell.digest for cell in grid.cells}) == 8
    assert [len(cells) for cells in grid.groups.values()] == [2, 2, 2, 2]
    assert next(iter(grid.groups)) == ("linear", "3")


def test_cells_that_are_left_out_are_not_there(read):
    grid = read(HEADS, EPSILONS, leave_out=[{"head": "mlp", "epsilon": ["3", "off"]}])
    assert [cell.values["head"] for cell in grid.cells] == ["linear", "linear"]


def test_seeds_change_the_study_and_no_site(read):
    grid = read({"name": "seed", "seeds": [1, 2]})
    assert [cell.study.seed for cell in grid.cells] == [1, 2]
    assert len({cell.texts for cell in grid.cells}) == 1


def test_cells_share_vectors_by_encoder_and_task_and_baselines_also_across_privacy(read):
    wide = {"name": "wide", "set": {"encoder": {"dim": 32}}}
    encoders = {"name": "encoder", "value": [{"name": "64"}, wide]}
    grid = read(encoders, HEADS, EPSILONS, {"name": "split", "split_seeds": [0, 1]})
    assert len({cell.texts for cell in grid.cells}) == 2
    assert len({cell.unaided for cell in grid.cells}) == 2 * 2 * 2


def test_partitions_of_the_same_records_are_cells_of_their_own_that_share_vectors(tmp_path):
    pooled = {"kind": "synthetic", "hospital": "north", "patient_count": 100}
    ways = [{"kind": "iid", "sites": 4}, {"kind": "dirichlet", "sites": 4, "alpha": 1.0}]
    axis = {
        "name": "sites",
        "value": [{"name": way["kind"], "set.simulation.partition": way} for way in ways],
    }
    table = study_table(**OFF) | {
        "simulation": {"policy": OPEN, "source": pooled, "partition": ways[0]},
        "compare": {"axis": [axis]},
    }
    text = tomli_w.dumps(table).replace('"set.simulation.partition"', "set.simulation.partition")
    (tmp_path / "grid.toml").write_text(text, "utf-8")
    cells = Grid.read(tmp_path / "grid.toml", data=tmp_path).cells
    assert [cell.simulation.partition.kind for cell in cells] == ["iid", "dirichlet"]
    assert len({cell.digest for cell in cells}) == len({cell.unaided for cell in cells}) == 2
    assert len({cell.texts for cell in cells}) == 1


def test_names_are_drawn_once_for_all_cells_that_draw_the_same(grid_file, tmp_path, monkeypatch):
    asked: list[int] = []
    draw = Drawn.names

    def counted(self: Drawn, *given: Any, **keys: Any) -> tuple[str, ...]:
        asked.append(self.most)
        return draw(self, *given, **keys)

    monkeypatch.setattr(Drawn, "names", counted)
    most = {"name": "most", "value": [
        {"name": str(number), "set": {"simulation": {"names": {"most": number}}}}
        for number in (3, 5)
    ]}  # fmt: skip
    study = {"task": {"kind": "term-coding", "system": "icd-10-cm"}}
    path = grid_file(HEADS, most, {"name": "seed", "seeds": [1, 2]}, study=study)
    cells = Grid.read(path, data=tmp_path).cells
    assert asked == [3, 5]
    assert [len(cell.study.outputs) for cell in cells[:4]] == [3, 3, 5, 5]
    assert len({cell.digest for cell in cells}) == 8
    assert len({cell.texts for cell in cells}) == 2
    own = tmp_path / "cell.toml"
    own.write_text(tomli_w.dumps(cells[0].table), "utf-8")
    assert Study.read(own) == cells[0].study
    assert Simulation.read(own) == cells[0].simulation
    # Listed, the same names are the same cell.
    again = cells[0].table | {"compare": {"axis": [{"name": "seed", "seeds": [1]}]}}
    own.write_text(tomli_w.dumps(again), "utf-8")
    assert Grid.read(own, data=tmp_path).cells[0].digest == cells[0].digest


def test_names_that_nobody_lists_or_draws_are_told_with_the_cell(grid_file, tmp_path):
    path = grid_file(HEADS, study={"task": {"kind": "term-coding"}})
    with pytest.raises(ValueError, match=r"cell head linear: list the names of its term-coding"):
        Grid.read(path, data=tmp_path)


def test_a_digest_is_of_study_sites_and_data(grid_file, tmp_path):
    def digest(data: Path = tmp_path, **study: Any) -> str:
        return Grid.read(grid_file(HEADS, study=study), data=data).cells[0].digest

    plain = digest()
    assert digest() == plain
    assert len({plain, digest(rounds=3), digest(data=tmp_path / "other")}) == 3


def test_a_base_is_what_the_grid_goes_on_top_of(tmp_path):
    base = study_table(name="base", **OFF) | {"simulation": simulation_table(policy=OPEN)}
    (tmp_path / "base.toml").write_text(tomli_w.dumps(base), "utf-8")
    grid = {"name": "on-top", "rounds": 5, "compare": {"base": "base.toml", "axis": [HEADS]}}
    (tmp_path / "grid.toml").write_text(tomli_w.dumps(grid), "utf-8")
    found = Grid.read(tmp_path / "grid.toml", data=tmp_path)
    assert found.name == "on-top"
    assert {(cell.study.rounds, cell.study.steps) for cell in found.cells} == {(5, 3)}


def test_a_grid_file_is_a_study_file_of_the_same_digest(grid_file, study):
    path = grid_file(HEADS, study={"privacy": study_table()["privacy"]})
    assert Study.read(path).digest == study.digest


WRONG = {
    "no such value": (
        [HEADS],
        {"leave_out": [{"head": "cnn"}]},
        "compare: the table: leave_out[0]: no axis 'head' with cnn",
    ),
    "no such axis": ([HEADS], {"leave_out": [{"tail": "x"}]}, "no axis 'tail' with x"),
    "an axis twice": ([HEADS, HEADS], {}, "axis: two have the same name"),
    "a value twice": (
        [{"name": "x", "value": [{"name": "a"}, {"name": "a"}]}],
        {},
        "axis.0: two values have the same name",
    ),
    "no values": ([{"name": "x"}], {}, "axis.0: give one of value, seeds and split_seeds"),
    "nothing left": ([HEADS], {"leave_out": [{"head": ["linear", "mlp"]}]}, "leaves no cell"),
    "no key": (
        [{"name": "x", "value": [{"name": "a", "sets": {}}]}],
        {},
        "axis.0.value.0.sets: no such key",
    ),
    "a bad cell": (
        [HEADS, {"name": "x", "value": [{"name": "bad", "set": {"rounds": 0}}]}],
        {},
        "cell head linear, x bad: rounds: ",
    ),
    "bad sites": (
        [{"name": "x", "value": [{"name": "bad", "set": {"simulation": {"sites": []}}}]}],
        {},
        "cell x bad: simulation: the table: give either sites, or both source and cut",
    ),
    "two the same": (
        [{"name": "x", "value": [{"name": "a"}, {"name": "b", "set": {"rounds": 2}}]}],
        {},
        "the cells 'x a' and 'x b' are the same",
    ),
    "a policy": (
        [
            {
                "name": "x",
                "value": [
                    {"name": "a", "set": {"simulation": {"policy": {"lifetime": {"epsilon": 2.0}}}}}
                ],
            }
        ],
        {},
        "cell x a: no site would take part: policy.lifetime allows 2, asked inf",
    ),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_does_not_fit_is_one_line_that_names_the_cell(which, grid_file):
    axes, compare, said = WRONG[which]
    path = grid_file(*axes, **compare)
    result = CliRunner().invoke(app, ["lab", "compare", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"fedward: {path}: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_study_file_without_the_table_says_so(study_file):
    result = CliRunner().invoke(app, ["lab", "compare", str(study_file())])
    assert (result.exit_code, "has no [compare] table" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("paper-grid", 100),
        ("paper-grid-reduced", 12),
        ("codiesp-grid", 16),
        ("codiesp-full-grid", 16),
        ("codiesp-es-grid", 16),
        ("codiesp-es-full-grid", 16),
        ("vaers-grid", 16),
    ],
)
def test_the_grids_that_come_along_are_read_and_listed(name, cells, tmp_path):
    words = ["lab", "compare", str(STUDIES / f"{name}.toml"), "--dry-run", "--home", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert f"{name}: {cells} cells" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["codiesp-grid", "codiesp-full-grid", "codiesp-es-grid", "codiesp-es-full-grid"]
)
def test_private_cells_are_held_against_baselines_trained_as_the_others(name, tmp_path):
    grid = Grid.read(STUDIES / f"{name}.toml", data=tmp_path)
    plain = {cell.values["head"]: cell for cell in grid.cells if cell.values["epsilon"] == "off"}
    assert len(plain) == 4
    for cell in grid.cells:
        trained = without_privacy(cell.study, cell.simulation.baseline)
        expected = without_privacy(plain[cell.values["head"]].study, None)
        for what in ("head", "rounds", "steps", "sample_rate", "optimizer"):
            assert getattr(trained, what) == getattr(expected, what), (cell.said, what)
