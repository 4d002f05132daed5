"""A grid's figures, each where the grid has what it shows.

| file | shows | needs |
| --- | --- | --- |
| `epsilon.png` | metrics against epsilon | two epsilons, or one and none |
| `buckets.png` | macro-F1 by how often an output was seen in training | frequency buckets |
| `gain.png` | federated minus alone, for each site, against its size | baselines, two sites |
| `rounds.png` | rounds until 95% of the best round's micro-F1 | three rounds |
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.compare.drawing import (
    DASHES,
    MARKERS,
    OFF,
    PALETTE,
    bare,
    legend,
    line,
    panels_for,
    plain_log,
    ticks,
    where,
)
from experiments.compare.grid import Cell, Grid
from experiments.compare.kept import Done
from experiments.compare.summary import Spread, keys_of, spread
from experiments.simulate.result import Result, SiteResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = len(PALETTE) * len(DASHES)
MOST_PANELS = 12
SHARE_OF_BEST = 0.95


@dataclass(frozen=True, slots=True)
class Series:
    """Cells that differ in epsilon and seeds alone.

    Attributes:
        name: The values of the axes that tell it from the others.
        at: For each epsilon the cells' results, one for each repeat.
        cells: A cell of each epsilon.
    """

    name: str
    at: Mapping[float, Sequence[Result]]
    cells: Mapping[float, Cell]


def draw_all(grid: Grid, found: Mapping[str, Done], folder: Path) -> dict[str, str]:
    """Draws what can be drawn.

    Returns:
        The files, by what they show.
    """
    from matplotlib import rc_context

    series = list(_series(grid, found))
    drawn: dict[str, str] = {}
    kinds: dict[str, Callable[[str, Sequence[Series]], Figure | None]] = {
        "epsilon": _epsilon,
        "buckets": _buckets,
        "gain": _gain,
        "rounds": _rounds,
    }
    for name, draw in kinds.items():
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)  # that of a grid as it was before
        with rc_context({"font.size": 11, "axes.titlesize": 11}):
            figure = draw(grid.name, series[:MOST_LINES]) if series else None
            if figure is not None:
                if len(series) > MOST_LINES:
                    figure.text(
                        0, 0, f" the first {MOST_LINES} of {len(series)} series", fontsize=9
                    )
                figure.savefig(path)
                drawn[name] = str(path)
    return drawn


def _series(grid: Grid, found: Mapping[str, Done]) -> Iterator[Series]:
    """The grid's cells without the axes that repeat, and without those that set the epsilon."""
    shown = [axis.name for axis in grid.axes if not axis.repeats]
    told = [name for name in shown if not _sets_epsilon(grid, name)]
    groups: dict[str, list[Cell]] = {}
    for cell in grid.cells:
        if cell.digest in found:
            name = ", ".join(_worded(name, cell.values[name]) for name in told)
            groups.setdefault(name or grid.name, []).append(cell)
    for name, cells in groups.items():
        at: dict[float, list[Result]] = {}
        one: dict[float, Cell] = {}
        for cell in cells:
            epsilon = OFF if cell.epsilon is None else cell.epsilon
            at.setdefault(epsilon, []).append(found[cell.digest].result)
            one[epsilon] = cell
        yield Series(name, dict(sorted(at.items())), one)


def _sets_epsilon(grid: Grid, name: str) -> bool:
    """Whether an axis says nothing but what the epsilon is."""
    by_value: dict[str, set[float | None]] = {}
    for cell in grid.cells:
        by_value.setdefault(cell.values[name], set()).add(cell.epsilon)
    own = [next(iter(epsilons)) for epsilons in by_value.values() if len(epsilons) == 1]
    return len(own) == len(by_value) > 1 and len(set(own)) == len(own)


def _worded(axis: str, value: str) -> str:
    return f"{axis} {value}" if value.replace(".", "", 1).isdigit() else value


def _epsilon(title: str, series: Sequence[Series]) -> Figure | None:
    epsilons = _epsilons(series)
    if len(epsilons) < 2:
        return None
    names = [name for name, _ in keys_of(next(iter(series[0].cells.values())))]
    shown = [name for name in names if name in ("micro-F1", "macro-F1", "MAP")]
    if any(key == "auroc_macro" for _, key in keys_of(next(iter(series[0].cells.values())))):
        shown = ["micro-F1", "AUROC", "AUPRC"]
    figure, panels = panels_for(len(shown), series, wide=4.0)
    figure.suptitle(f"{title}: utility against epsilon, for each patient at each site", fontsize=13)
    for axes, name in zip(panels, shown, strict=True):
        ticks(axes, epsilons)
        axes.set_ylabel(name)
        for number, one in enumerate(series):
            points = [(where(e, epsilons), _of(one, e, name)) for e in one.at]
            line(axes, [(x, y) for x, y in points if y is not None], number, one.name, len(series))
    legend(figure, "bars: 95% bootstrap interval over held-out patients, mean of repeats")
    return figure


def _of(series: Series, epsilon: float, name: str) -> Spread | None:
    key = dict(keys_of(series.cells[epsilon]))[name]
    values, intervals = [], []
    for result in series.at[epsilon]:
        value = getattr(result.final, key)
        if value is not None:
            values.append(value)
            between = result.intervals.get("federated", {}).get(key)
            intervals += [between] if between else []
    return spread(values, intervals) if values else None


def _buckets(title: str, series: Sequence[Series]) -> Figure | None:
    if not any(_bucket_names(one) for one in series):
        return None
    series = series[:MOST_PANELS]
    epsilons = _epsilons(series)
    names = _all_buckets(series)
    figure, panels = panels_for(len(series), series, wide=max(3.2, 0.9 * len(names)), share_y=True)
    figure.suptitle(f"{title}: macro-F1 by how often an output was seen in training", fontsize=13)
    for axes, one in zip(panels, series, strict=True):
        axes.set_title(one.name)
        axes.set_xlabel("training stays of an output, all sites")
        axes.set_xticks(range(len(names)), names)
        for number, epsilon in enumerate(epsilons):
            points = [
                (x + (number - (len(epsilons) - 1) / 2) * 0.12, value)
                for x, name in enumerate(names)
                if (value := _bucket(one, epsilon, name)) is not None
            ]
            line(axes, points, number, _epsilon_name(epsilon), 1)
    panels[0].set_ylabel("macro-F1, of outputs that occur")
    panels[0].set_ylim(bottom=0)
    legend(figure, "bars: 95% bootstrap interval over held-out patients, mean of repeats")
    return figure


def _bucket(series: Series, epsilon: float, name: str) -> Spread | None:
    values, intervals = [], []
    for result in series.at.get(epsilon, ()):
        for bucket in result.detail.buckets:
            if _seen(bucket.seen) == name and bucket.macro_f1 is not None:
                values.append(bucket.macro_f1)
                between = bucket.intervals.get("macro_f1")
                intervals += [between] if between else []
    return spread(values, intervals) if values else None


def _bucket_names(series: Series) -> set[str]:
    results = (result for found in series.at.values() for result in found)
    return {
        _seen(bucket.seen)
        for result in results
        for bucket in result.detail.buckets
        if bucket.macro_f1 is not None
    }


def _all_buckets(series: Sequence[Series]) -> list[str]:
    found = set().union(*(_bucket_names(one) for one in series))
    return sorted(found, key=lambda name: float(name.strip(">").split("-")[0]) + (">" in name))


def _seen(between: tuple[int, int | None]) -> str:
    low, high = between
    if high is None:
        return f">{low - 1}"
    return str(low) if low == high else f"{low}-{high}"


def _gain(title: str, series: Sequence[Series]) -> Figure | None:
    lines = [(one, epsilon) for one in series for epsilon in one.at]
    points = [list(_gains(one.at[epsilon])) for one, epsilon in lines]
    if not any(len(found) > 1 for found in points):
        return None
    several = len(_epsilons(series)) > 1
    panels_of = _epsilons(series) if several else [lines[0][1]]
    figure, panels = panels_for(len(panels_of), series, wide=3.6, share_y=True)
    figure.suptitle(f"{title}: what joining is worth to each site", fontsize=13)
    for axes, epsilon in zip(panels, panels_of, strict=True):
        axes.axhline(0, color="#7F7F7F", linewidth=1)
        axes.set_xscale("log")
        axes.set_xlabel("declared training patients")
        if several:
            axes.set_title(_epsilon_name(epsilon))
        for number, one in enumerate(series):
            # A little beside each other: sites have the same size in all series.
            beside = 1.04 ** (number - (len(series) - 1) / 2)
            found = [(size * beside, gain) for size, gain in _gains(one.at.get(epsilon, ()))]
            line(axes, found, number, one.name, 1, joined=False)
        plain_log(axes, sorted({x for found in points for x, _ in found}))
    panels[0].set_ylabel("micro-F1, federated minus alone")
    legend(figure, "bars: standard deviation over repeats; alone trains without privacy")
    return figure


def _gains(results: Sequence[Result]) -> Iterator[tuple[float, Spread]]:
    """Of each site: its size, and what it gains over the repeats."""
    names = sorted({site.name for result in results for site in result.sites})
    for name in names:
        sites = [site for result in results for site in result.sites if site.name == name]
        gains = [gain for site in sites if (gain := _one_gain(site)) is not None]
        if gains:
            yield statistics.fmean(site.declared_patients for site in sites), _with_sd(gains)


def _one_gain(site: SiteResult) -> float | None:
    if site.federated is None or site.local is None:
        return None
    joined, alone = site.federated.micro_f1, site.local.micro_f1
    return None if joined is None or alone is None else joined - alone


def _with_sd(values: Sequence[float]) -> Spread:
    made = spread(values)
    if made.sd is None:
        return made
    return made.model_copy(update={"interval": (made.mean - made.sd, made.mean + made.sd)})


def _rounds(title: str, series: Sequence[Series]) -> Figure | None:
    lines = [
        (one.name, epsilon, found)
        for one in series
        for epsilon in one.at
        if (found := [r for result in one.at[epsilon] if (r := rounds_to_best(result))])
    ]
    if not any(len(result.rounds) > 2 for one in series for at in one.at.values() for result in at):
        return None
    from matplotlib.figure import Figure

    epsilons = _epsilons(series)
    names = list(dict.fromkeys(name for name, _, _ in lines))
    figure = Figure(figsize=(9, 1.6 + 0.32 * len(lines)), layout="constrained", dpi=140)
    axes = figure.subplots()
    figure.suptitle(f"{title}: rounds to {SHARE_OF_BEST:.0%} of the best micro-F1", fontsize=13)
    step = 0.8 / len(epsilons)
    for name, epsilon, found in lines:
        number = epsilons.index(epsilon)
        y = names.index(name) + (number - (len(epsilons) - 1) / 2) * step
        middle = statistics.fmean(found)
        axes.errorbar(
            middle, y, xerr=[[middle - min(found)], [max(found) - middle]],
            color=PALETTE[number % len(PALETTE)], marker=MARKERS[number % len(MARKERS)],
            capsize=3, linestyle="none", label=_epsilon_name(epsilon),
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("rounds (mean; bars from least to most over repeats)")
    bare(axes, "x")
    legend(figure, None)
    return figure


def rounds_to_best(result: Result) -> int | None:
    """The first round with 95% of the best round's micro-F1, from what left the sites; None where
    no round has one.
    """
    scores = [(r.number, r.metrics.micro_f1) for r in result.rounds if r.metrics.micro_f1]
    if not scores:
        return None
    best = max(score for _, score in scores)
    return next(number for number, score in scores if score >= SHARE_OF_BEST * best)


def _epsilons(series: Sequence[Series]) -> list[float]:
    return sorted({epsilon for one in series for epsilon in one.at})


def _epsilon_name(epsilon: float) -> str:
    return "no privacy" if epsilon == OFF else f"ε = {epsilon:g}"
