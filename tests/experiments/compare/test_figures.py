"""Summaries and figures, from results made by hand."""

from __future__ import annotations

import csv
import struct
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders import policy_table, simulation_table, study_table

from experiments.baselines import Detail
from experiments.compare import drawing, figures, summary
from experiments.compare.grid import Grid
from experiments.compare.kept import Done
from experiments.joining import Gain, Joining
from experiments.simulate.result import Final, Result, RoundResult, SiteResult
from tasks.metrics import Metrics
from tasks.per_output import Bucket

NOTHING = dict.fromkeys(Final.model_fields)


def result(score: float, *, sites: int = 2, rounds: tuple[float, ...] = (), **changes: Any):
    final = Final(**NOTHING | {"micro_f1": score, "auroc_macro": score, "auprc_macro": score})
    table: dict[str, Any] = {
        "study": "x",
        "digest": "d",
        "engine": "in-process",
        "privacy": "off",
        "sites": tuple(
            SiteResult(
                name=f"s{number}",
                declared_patients=10 * (number + 1),
                local=Metrics(micro_f1=score - 0.1),
                federated=Metrics(micro_f1=score),
            )
            for number in range(sites)
        ),
        "rounds": tuple(
            RoundResult(
                number=number,
                metrics=Metrics(micro_f1=value),
                epsilon=None,
                bytes_down=1,
                bytes_up=1,
                seconds=1,
            )
            for number, value in enumerate(rounds, 1)
        ),
        "untrained": Metrics(),
        "final": final,
        "detail": Detail(
            buckets=(
                Bucket(seen=(0, 0), outputs=1, present=1, macro_f1=0.1),
                Bucket(
                    seen=(1, 10),
                    outputs=1,
                    present=1,
                    macro_f1=score,
                    intervals={"macro_f1": (score - 0.1, score + 0.1)},
                ),
                Bucket(seen=(501, None), outputs=0, present=0),
            )
        ),
        "intervals": {"federated": {"micro_f1": (score - 0.2, score + 0.1)}},
        "weights": "",
        "seconds": 1,
    }
    return Result(**table | changes)


@pytest.fixture
def grid(tmp_path) -> Grid:
    """Two sample rates, and the epsilons 1 and none, twice each."""
    rates = [{"name": str(rate), "set": {"sample_rate": rate}} for rate in (0.1, 0.2)]
    epsilons = [
        {"name": "one", "set": {"privacy": {"kind": "dp-sgd", "epsilon": 1.0, "clip": 0.5}}},
        {"name": "none"},
    ]
    policy = policy_table(lifetime={"epsilon": float("inf")}, mechanisms=["off", "dp-sgd"])
    table = study_table(privacy={"kind": "off"}) | {
        "simulation": simulation_table(policy=policy | {"least_noise": 0.0}),
        "compare": {
            "axis": [
                {"name": "rate", "value": rates[:1]},
                {"name": "privacy", "value": epsilons},
                {"name": "seed", "seeds": [1, 2]},
            ]
        },
    }
    path = tmp_path / "grid.toml"
    path.write_text(tomli_w.dumps(table), "utf-8")
    return Grid.read(path, data=tmp_path)


def found(grid: Grid, *results: Result) -> dict[str, Done]:
    pairs = zip(grid.cells, results, strict=False)
    return {
        cell.digest: Done(values=dict(cell.values), code="c", run="r", result=one)
        for cell, one in pairs
    }


@pytest.fixture
def whole(grid) -> dict[str, Done]:
    rounds = (0.1, 0.38, 0.4)
    return found(grid, *(result(score, rounds=rounds) for score in (0.3, 0.5, 0.6, 0.7)))


def size(path: str) -> tuple[int, int]:
    """Width and height of a PNG."""
    return struct.unpack(">II", Path(path).read_bytes()[16:24])


def test_every_figure_is_drawn_where_the_grid_has_what_it_shows(grid, whole, tmp_path):
    drawn = figures.draw_all(grid, whole, tmp_path)
    assert set(drawn) == {"epsilon", "buckets", "gain", "rounds"}
    for path in drawn.values():
        assert size(path)[0] >= 1100


def test_a_figure_without_what_it_needs_is_not_drawn_and_an_old_one_is_gone(grid, whole, tmp_path):
    figures.draw_all(grid, whole, tmp_path)
    bare = result(0.5, sites=1, detail=Detail())
    assert figures.draw_all(grid, found(grid, bare), tmp_path) == {}
    assert not list(tmp_path.glob("*.png"))
    assert figures.draw_all(grid, {}, tmp_path) == {}


def test_a_series_is_all_cells_but_for_epsilon_and_seeds(grid, whole):
    [series] = figures._series(grid, whole)
    assert series.name == "rate 0.1"
    assert {epsilon: len(of) for epsilon, of in series.at.items()} == {1.0: 2, drawing.OFF: 2}


@pytest.mark.parametrize(
    ("scores", "number"),
    [((0.1, 0.38, 0.4), 2), ((0.4, 0.1), 1), ((0.1, 0.2, 0.3), 3), ((), None), ((0.0, 0.0), None)],
)
def test_rounds_to_the_best(scores, number):
    assert figures.rounds_to_best(result(0.5, rounds=scores)) == number


def test_rows_average_over_seeds(grid, whole):
    first, second = (row for row in summary.rows(grid, whole) if row.trained == "federated")
    score = first.metrics["micro-F1"]
    assert (first.values, first.epsilon, first.repeats) == (
        {"rate": "0.1", "privacy": "one"},
        1.0,
        2,
    )
    assert score.mean == pytest.approx(0.4)
    assert score.sd == pytest.approx(0.02**0.5)
    assert score.interval == pytest.approx((0.2, 0.5))
    assert second.epsilon is None
    assert second.metrics["AUROC"].mean == pytest.approx(0.65)
    assert "MAP" not in second.metrics


def test_one_repeat_has_no_deviation(grid, whole):
    one = {grid.cells[0].digest: whole[grid.cells[0].digest]}
    [row] = summary.rows(grid, one)
    assert (row.repeats, row.metrics["micro-F1"].sd) == (1, None)


def test_the_csv_has_a_line_for_all_sites_and_one_for_each(grid, whole, tmp_path):
    path = tmp_path / "compare.csv"
    summary.write_csv(grid, whole, path)
    head, first, *others = path.read_text("utf-8").splitlines()
    assert head.startswith("compare.rate,compare.privacy,compare.seed,cell,trained,site,")
    assert first.split(",")[:3] == ["0.1", "one", "1"]
    # Of each cell: all sites federated; each of two sites federated and alone.
    assert len(others) + 1 == 4 * (1 + 2 * 2)


def test_the_csv_says_of_each_federated_site_what_joining_is_worth(grid, whole, tmp_path):
    gains = {
        "federated": Gain(difference=0.5, interval=(0.25, 0.75), verdict="better off"),
        "fine_tuned": Gain(),
    }
    joinings = [
        Joining(metric="micro_f1", tune={"federated": 1.0}, taken=taken, gains=gains)
        for taken in gains
    ]
    cell = grid.cells[0].digest
    sites = zip(whole[cell].result.sites, joinings, strict=True)
    told = tuple(site.model_copy(update={"joining": joining}) for site, joining in sites)
    changed = whole[cell].result.model_copy(update={"sites": told})
    done = {cell: whole[cell].model_copy(update={"result": changed})}
    summary.write_csv(grid, done, tmp_path / "c.csv")
    with (tmp_path / "c.csv").open(encoding="utf-8", newline="") as file:
        lines = [tuple(line[key] for key in summary.WORTH) for line in csv.DictReader(file)]
    nothing = ("",) * len(summary.WORTH)
    assert lines == [
        nothing,
        ("federated", "micro_f1", "0.5", "0.25", "0.75", "better off"),
        nothing,
        ("fine_tuned", "micro_f1", "", "", "", ""),
        nothing,
    ]
