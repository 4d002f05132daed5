"""How a grid's figures look: colours, lines with bars, axes, and a legend that covers no data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from experiments.compare.summary import Spread

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow, which is faint on white: told apart with every kind
# of colour vision. Markers and dashes go on where it ends.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", ":", "-.")

OFF = math.inf
"""Where no privacy stands among epsilons."""


def where(epsilon: float, epsilons: Sequence[float]) -> float:
    """On a logarithmic axis; no privacy stands apart on the right."""
    finite = [e for e in epsilons if e != OFF]
    if epsilon != OFF:
        return math.log2(epsilon)
    if not finite:
        return 0.0
    wide = math.log2(finite[-1] / finite[0])
    return math.log2(finite[-1]) + max(1.0, 0.35 * wide)


def ticks(axes: Axes, epsilons: Sequence[float]) -> None:
    """Ticks of an axis of epsilons, in order."""
    places = [where(epsilon, epsilons) for epsilon in epsilons]
    axes.set_xticks(places, ["none" if e == OFF else f"{e:g}" for e in epsilons])
    axes.margins(x=0.12)
    axes.set_xlabel("epsilon (none: no privacy)" if OFF in epsilons else "epsilon")


def line(
    axes: Axes,
    points: Sequence[tuple[float, Spread]],
    number: int,
    label: str,
    of: int,
    *,
    joined: bool = True,
) -> None:
    """One line with its bars, a little beside those of the others.

    Args:
        axes: Gets it.
        points: Place and value, in order of place.
        number: Which line, from 0; chooses colour, marker and dashes.
        label: In the legend.
        of: How many lines there are; 1 moves none aside.
        joined: Whether the points are joined.
    """
    if not points:
        return
    beside = (number - (of - 1) / 2) * 0.05 if of > 1 else 0.0
    ends = [value.interval or (value.mean, value.mean) for _, value in points]
    axes.errorbar(
        [x + beside for x, _ in points],
        [value.mean for _, value in points],
        # A mean of percentiles may lie on the other side of the mean of few repeats.
        yerr=[
            [max(0.0, v.mean - low) for (_, v), (low, _) in zip(points, ends, strict=True)],
            [max(0.0, high - v.mean) for (_, v), (_, high) in zip(points, ends, strict=True)],
        ],
        color=PALETTE[number % len(PALETTE)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=DASHES[number // len(PALETTE) % len(DASHES)] if joined else "none",
        linewidth=1.6,
        elinewidth=1.0,
        capsize=3,
        markersize=5,
        label=label,
    )


def panels_for(
    panels: int, series: Sequence[object], *, wide: float, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, four in a row.

    Args:
        panels: How many.
        series: What its legend has room for.
        wide: Inches of a panel.
        share_y: Whether the panels have one scale.
    """
    from matplotlib.figure import Figure

    across = min(panels, 4)
    down = math.ceil(panels / across)
    below = 0.25 * math.ceil(len(series) / 4)
    size = (max(8.0, wide * across), 1.3 + 3.2 * down + below)
    figure = Figure(figsize=size, layout="constrained", dpi=140)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[call-arg, union-attr]  # of `constrained`
    grid = figure.subplots(down, across, squeeze=False, sharey=share_y)
    found = list(grid.flat)
    for spare in found[panels:]:
        spare.set_visible(False)
    for axes in found[:panels]:
        bare(axes, "y")
    return figure, found[:panels]


def legend(figure: Figure, note: str | None) -> None:
    """Below the panels, so that it covers no data; each name once."""
    found: dict[str, Artist] = {}
    for other in figure.axes:
        for handle, label in zip(*other.get_legend_handles_labels(), strict=True):
            found.setdefault(str(label), handle)
    figure.legend(
        list(found.values()),
        list(found),
        loc="outside lower center",
        ncols=min(len(found), 4),
        frameon=False,
        title=note,
        title_fontproperties={"size": 9},
    )


def plain_log(axes: Axes, sizes: Sequence[float]) -> None:
    """Ticks at sizes that are there, as plain numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    kept: list[float] = []
    for size in sizes:
        if not kept or size > 1.35 * kept[-1]:
            kept.append(size)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())


def bare(axes: Axes, grid: Literal["x", "y"]) -> None:
    """No frame where there is no scale, and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)
    axes.set_axisbelow(True)
