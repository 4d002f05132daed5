"""A small grid whole: interrupted in the middle, gone on with, one cell of it failing."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders import CODES, policy_table, simulation_table, site_table, study_table
from typer.testing import CliRunner

from experiments.command import app
from experiments.compare import pool
from experiments.compare.grid import Grid
from experiments.compare.kept import Shelf
from experiments.compare.run import GridBusy, How, compare
from privacy.files import locked

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]
BROKEN = {
    "name": "broken",
    "declared_patients": 40,
    "source": {"kind": "jsonl", "paths": ["nowhere.jsonl"]},
}
SOURCE = {"kind": "synthetic", "patient_count": 24}
# More than 16 outputs: the intervals of fewer take the longest of all.
TASK = {
    "kind": "icd-coding",
    "codes": [*CODES, "E78", "D64", "N39", "E87", "I25", "I11", "A41", "F32", "K21", "E03"],
}
AXES = [
    {
        "name": "head",
        "value": [
            {"name": "linear"},
            {"name": "mlp", "set": {"head": {"kind": "mlp", "hidden": [4]}}},
        ],
    },
    {
        "name": "patience",
        "value": [{"name": "long"}, {"name": "short", "set": {"strategy": {"timeout": 60.0}}}],
    },
    {
        "name": "sites",
        "value": [
            {"name": "two"},
            {"name": "none", "set": {"simulation": {"sites": [BROKEN]}}},
        ],
    },
    {"name": "seed", "seeds": [3]},
]
LEAVE_OUT = [
    {"head": "mlp", "sites": "none"},
    {"patience": "long", "sites": "none"},
    {"head": "mlp", "patience": "long"},
]
"""What remains: linear with both patiences at two sites, with the short one at none, and mlp."""


class Watching:
    """A `Screen` that remembers, and may break in."""

    def __init__(self, break_in: str = "") -> None:
        self.began_with: list[str] = []
        self.failed: dict[str, str] = {}
        self.done = 0
        self._break_in = break_in

    def begin(self, grid, done, jobs) -> None:
        self.done_before = done

    def began(self, cell) -> None:
        self.began_with.append(cell.digest)

    def doing(self, cell, what) -> None:
        if self._break_in and self.done and what.startswith(self._break_in):
            raise KeyboardInterrupt

    def ended(self, cell, failed) -> None:
        self.done += failed is None
        if failed is not None:
            self.failed[cell.said] = failed


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("compare")
    policy = policy_table(lifetime={"epsilon": float("inf")}, mechanisms=["off"])
    sites = [site_table(name, source=SOURCE | {"hospital": name}) for name in ("ash", "birch")]
    changes = {"rounds": 3, "privacy": {"kind": "off"}, "task": TASK}
    table = study_table(name="small-grid", **changes) | {
        "simulation": simulation_table(*sites, policy=policy),
        "compare": {"axis": AXES, "leave_out": LEAVE_OUT},
    }
    (made / "grid.toml").write_text(tomli_w.dumps(table), "utf-8")
    return made


@pytest.fixture(scope="module")
def grid(folder) -> Grid:
    return Grid.read(folder / "grid.toml", data=folder)


def how(folder: Path, **changes: Any) -> How:
    return How(data=folder, home=folder / "home", jobs=1, **changes)


@pytest.fixture(scope="module")
def interrupted(folder, grid) -> tuple[Watching, dict[str, bytes]]:
    """The grid after Ctrl-C in the middle of its second cell, and what was kept by then."""
    screen = Watching(break_in="round 1")
    with pytest.raises(KeyboardInterrupt):
        compare(grid, how(folder), screen)
    shelf = Shelf(folder / "home", grid.name)
    kept = {path.name: path.read_bytes() for path in shelf.folder.glob("*.json")}
    return screen, kept


@pytest.fixture(scope="module")
def ended(folder, grid, interrupted) -> tuple[Watching, Any]:
    screen = Watching()
    return screen, compare(grid, how(folder), screen)


def children() -> list[str]:
    """Command lines of this process's living children that run cells."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            line = (path / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if parent == os.getpid() and "spawn_main" in line:
            found.append(line)
    return found


def runs(folder: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'home' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("fedward").experiment_id
    found = client.search_runs([experiment])
    names = [run.info.run_name for run in found]
    assert len(set(names)) == len(names)
    return {run.info.run_name: run for run in found}


def test_what_was_done_before_an_interruption_is_kept_and_no_process_is_left(interrupted):
    screen, kept = interrupted
    assert (screen.done, len(kept)) == (1, 1)
    assert len(screen.began_with) == 2
    assert children() == []


def test_going_on_runs_what_is_missing_and_nothing_twice(grid, folder, interrupted, ended):
    _, kept = interrupted
    after, _ = ended
    assert after.done_before == 1
    assert len(after.began_with) == 3
    assert not {f"{digest}.json" for digest in after.began_with} & set(kept)
    shelf = Shelf(folder / "home", grid.name)
    for name, content in kept.items():
        assert (shelf.folder / name).read_bytes() == content
    assert len(list((folder / "home" / "runs").iterdir())) == 4


def test_a_cell_that_fails_stops_no_other_and_says_why(ended):
    screen, summary = ended
    [cell] = screen.failed
    assert cell == "head linear, patience short, sites none, seed 3"
    assert "0 sites take part" in screen.failed[cell]
    assert "nowhere.jsonl" in screen.failed[cell]
    assert summary.failed == screen.failed
    assert (summary.done, summary.cells) == (3, 4)


def test_rows_have_the_federation_and_its_baselines(ended):
    _, summary = ended
    cells = [("linear", "long"), ("linear", "short"), ("mlp", "short")]
    assert [(*list(row.values.values())[:2], row.trained) for row in summary.rows] == [
        (*cell, trained) for cell in cells for trained in ("federated", "pooled", "alone")
    ]
    for row in summary.rows:
        assert (row.repeats, row.epsilon) == (1, None)
        assert 0 < row.metrics["micro-F1"].mean <= 1
        if row.trained != "alone":
            low, high = row.metrics["micro-F1"].interval
            assert low < high
    linear, again, mlp = (row.metrics for row in summary.rows if row.trained == "pooled")
    assert linear == again
    assert linear != mlp


def test_baselines_are_trained_once_for_all_cells_that_have_the_same(grid, folder, ended):
    """Two sites and the pool, for each of two heads; patience changes none. Closed forms of both
    and of all, and code-query without training, know no head.
    """
    shelf = Shelf(folder / "home", grid.name)
    assert len(list(shelf.baselines.glob("*.json"))) == 2 * 3 + 4


def test_each_cell_is_a_run_under_the_grids_in_mlflow(folder, ended):
    found = runs(folder)
    parent = found["small-grid"]
    assert parent.info.status == "FAILED"  # one cell is missing
    cells = {
        name: run
        for name, run in found.items()
        if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert set(cells) >= {
        "head linear, patience long, sites two, seed 3",
        "head linear, patience short, sites two, seed 3",
        "head mlp, patience short, sites two, seed 3",
    }
    run = cells["head linear, patience long, sites two, seed 3"]
    assert run.info.status == "FINISHED"
    assert run.data.params["compare.head"] == "linear"
    assert 0 < run.data.metrics["pooled.micro_f1"] <= 1
    told = {"joining.better_off", "joining.not_told_apart", "joining.worse_off"}
    assert told <= set(run.data.metrics)
    site = found["head linear, patience long, sites two, seed 3 / ash"]
    assert site.data.tags["mlflow.parentRunId"] == run.info.run_id


def test_table_and_figures_are_where_the_summary_says(folder, ended):
    _, summary = ended
    assert set(summary.files) == {"table", "buckets", "gain", "rounds"}
    for what, path in summary.files.items():
        start = Path(path).read_bytes()[:4]
        assert start == (b"comp" if what == "table" else b"\x89PNG")
    with Path(summary.files["table"]).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    # Three cells, three ways of training, all sites together and two of them.
    assert len(lines) == 3 * 3 * 3
    assert {line["site"] for line in lines} == {"", "ash", "birch"}
    [line] = [
        line
        for line in lines
        if (line["compare.head"], line["trained"], line["site"]) == ("mlp", "pooled", "")
    ]
    row = next(r for r in summary.rows if (r.values["head"], r.trained) == ("mlp", "pooled"))
    assert float(line["micro_f1"]) == row.metrics["micro-F1"].mean


def test_a_grid_that_is_done_runs_nothing_and_the_command_ends_as_it_went(
    folder, ended, monkeypatch, tmp_path
):
    """The failing cell is tried again each time; here no process may start, so it cannot be."""

    def run(self, cells):
        return {cell.digest: "no process" for cell in cells}

    monkeypatch.setattr(pool.Pool, "run", run)
    out = tmp_path / "out.json"
    words = [str(folder / "grid.toml"), "--data", str(folder), "--home", str(folder / "home")]
    result = CliRunner().invoke(app, ["lab", "compare", *words, "--json", str(out)])
    assert result.exit_code == 1
    assert "failed: head linear, patience short, sites none, seed 3: no process" in " ".join(
        result.stdout.split()
    )
    assert "small-grid: 3 of 4 cells" in result.stdout
    assert json.loads(out.read_text("utf-8"))["done"] == 3


def test_two_do_not_run_one_grid_at_a_time(grid, folder):
    shelf = Shelf((folder / "home").resolve(), grid.name)
    with (
        locked(shelf.lock, exclusive=True),
        pytest.raises(GridBusy, match="another process runs small-grid"),
    ):
        compare(grid, how(folder), Watching())
