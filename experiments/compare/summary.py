"""What a grid found: a mean over its repeats for each cell, and every number as CSV."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from experiments.baselines import Intervals
from experiments.columns import FEW
from experiments.compare.grid import Cell, Grid
from experiments.compare.kept import Done
from experiments.joining import Joining
from experiments.simulate.result import Final, Result
from privacy.spec import Spec
from tasks.metrics import Metrics

Trained = Literal["federated", "pooled", "alone"]
TRAINED: tuple[Trained, ...] = ("federated", "pooled", "alone")

Columns = tuple[tuple[str, str], ...]
NAMES = ("micro-F1", "macro-F1", "MAP", "AUROC", "AUPRC")
RANKED = ("micro_f1", "macro_f1", "map", "auroc", "auprc")
CURVES = ("micro_f1", "macro_f1", "map", "auroc_macro", "auprc_macro")
AXIS = "compare."
"""Stands before an axis in CSV, as in MLflow: one may be called `epsilon` or `site`."""
WORTH = ("joined", "gain_of", "gain", "gain_low", "gain_high", "verdict")
"""What joining is worth to a site (`experiments.joining`), on the line of the federation there."""
SPELLED = ("p_at_8", "accuracy", "balanced_accuracy")


class Spread(Spec):
    """A metric over the repeats of a cell.

    Attributes:
        mean: Of the repeats.
        sd: Sample standard deviation; None of one repeat.
        interval: Mean bounds of the repeats' 95% bootstrap intervals over held-out patients.
    """

    mean: float
    sd: float | None = None
    interval: tuple[float, float] | None = None


class Row(Spec):
    """A cell and all its repeats, trained in one way.

    Attributes:
        values: Of the axes that do not repeat.
        trained: `federated`; `pooled`, all records in one place; `alone`, the mean of sites that
            train by themselves. The latter two without privacy.
        epsilon: What the federation promised; None without privacy.
        repeats: How many are done.
        metrics: By name, of those that are defined.
    """

    values: dict[str, str]
    trained: Trained
    epsilon: float | None
    repeats: int
    metrics: dict[str, Spread]


class Summary(Spec):
    """A grid's outcome.

    Attributes:
        name: Of the grid.
        cells: How many it has.
        done: How many of them are done.
        failed: For each cell that failed, in words, why.
        rows: In the order of the grid.
        other_code: How many of the done cells were run by other code than this.
        files: CSV and figures, by what they are.
    """

    name: str
    cells: int
    done: int
    failed: dict[str, str]
    rows: tuple[Row, ...]
    other_code: int
    files: dict[str, str]


def rows(grid: Grid, found: Mapping[str, Done]) -> Iterator[Row]:
    """A row for each cell and way of training, where at least one repeat is done."""
    axes = [axis.name for axis in grid.axes if not axis.repeats]
    for values, cells in grid.groups.items():
        done = [found[cell.digest].result for cell in cells if cell.digest in found]
        for trained in TRAINED:
            metrics = _metrics(done, trained, keys_of(cells[0]))
            if metrics:
                yield Row(
                    values=dict(zip(axes, values, strict=True)),
                    trained=trained,
                    epsilon=cells[0].epsilon,
                    repeats=len(done),
                    metrics=metrics,
                )


def keys_of(cell: Cell) -> Columns:
    """Name and field of the metrics of a cell's table; see `experiments.columns`."""
    keys = CURVES if len(cell.study.outputs) <= FEW else RANKED
    return tuple(zip(NAMES, keys, strict=True))


def of(result: Result, trained: Trained) -> Final | Metrics | None:
    """A result's headline for one way of training."""
    return {"federated": result.final, "pooled": result.pooled, "alone": result.local}[trained]


def spread(values: Sequence[float], intervals: Sequence[tuple[float, float]] = ()) -> Spread:
    """Of one or more repeats."""
    return Spread(
        mean=statistics.fmean(values),
        sd=statistics.stdev(values) if len(values) > 1 else None,
        interval=(
            (
                statistics.fmean(low for low, _ in intervals),
                statistics.fmean(h for _, h in intervals),
            )
            if intervals
            else None
        ),
    )


def _metrics(done: Sequence[Result], trained: Trained, keys: Columns) -> dict[str, Spread]:
    found = {}
    for name, key in keys:
        values, intervals = [], []
        for result in done:
            headline = of(result, trained)
            value = None if headline is None else getattr(headline, key)
            if value is not None:
                values.append(value)
                between = result.intervals.get(trained, {}).get(key)
                intervals += [between] if between else []
        if values:
            found[name] = spread(values, intervals if len(intervals) == len(values) else ())
    return found


def write_csv(grid: Grid, found: Mapping[str, Done], path: Path) -> None:
    """Writes every cell's numbers: a line for all sites (`site` is empty) and one for each."""
    axes = [f"{AXIS}{axis.name}" for axis in grid.axes]
    keys = tuple(dict.fromkeys((*RANKED, *CURVES, *SPELLED)))
    bounds = [f"{key}_{end}" for key in keys for end in ("low", "high")]
    header = [*axes, "cell", "trained", "site", "declared_patients", "patients", "epsilon"]
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*header, *keys, *bounds, *WORTH], restval="")
        writer.writeheader()
        for cell in grid.cells:
            if cell.digest in found:
                own = {f"{AXIS}{name}": value for name, value in cell.values.items()}
                own["cell"] = cell.digest[:16]
                for line in _lines(found[cell.digest].result, keys):
                    writer.writerow(own | line)
    draft.replace(path)


def _lines(result: Result, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    for trained in TRAINED:
        headline = of(result, trained)
        if headline is not None:
            epsilon = result.final.epsilon if trained == "federated" else None
            line = _line(headline, result.intervals.get(trained, {}), keys)
            yield line | {"trained": trained, "epsilon": _text(epsilon)}
    for site in result.sites:
        for trained, field in (
            ("federated", "federated"),
            ("pooled", "pooled"),
            ("alone", "local"),
        ):
            metrics = getattr(site, field)
            if metrics is not None:
                line = _line(metrics, site.intervals.get(field, {}), keys)
                line |= _worth(site.joining) if trained == "federated" else {}
                yield line | {
                    "trained": trained,
                    "site": site.name,
                    "declared_patients": site.declared_patients,
                    "epsilon": _text(site.epsilon if trained == "federated" else None),
                }


def _line(of: Final | Metrics, intervals: Intervals, keys: Sequence[str]) -> dict[str, Any]:
    line = {key: _text(getattr(of, key)) for key in keys}
    if isinstance(of, Metrics):
        line["patients"] = str(of.patients)
    for key in keys:
        if key in intervals:
            line |= {
                f"{key}_low": _text(intervals[key][0]),
                f"{key}_high": _text(intervals[key][1]),
            }
    return line


def _worth(joining: Joining | None) -> dict[str, Any]:
    if joining is None:
        return {}
    gain = joining.gain
    told = (_text(gain.difference), *(_text(value) for value in gain.interval or (None, None)))
    said = (joining.taken, joining.metric, *told, gain.verdict or "")
    return dict(zip(WORTH, said, strict=True))


def _text(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(float(value))
