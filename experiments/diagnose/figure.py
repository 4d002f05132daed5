"""The figure of a diagnosis: variance by component, and how alike sites are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.compare.drawing import DASHES, MARKERS, PALETTE, bare, legend
from experiments.diagnose.run import SHARES, Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")


def draw(found: Diagnosis, path: Path) -> None:
    """Writes the figure.

    Args:
        found: What to show.
        path: Its suffix chooses the format, one of `SUFFIXES`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 11, "svg.fonttype": "none"}):
        figure = Figure(figsize=(13.5, 5.0), layout="constrained", dpi=140)
        figure.suptitle(f"{found.study}: vectors of {found.encoder}")
        left, middle, right = figure.subplots(1, 3)
        _variance(left, found)
        names = [site.name for site in found.sites]
        scores = {(score.fitted, score.scored): score.auroc for score in found.probes}
        _matrix(middle, names, scores, "probe's AUROC", ("scored at", "fitted at"))
        alike = {(pair.one, pair.other): pair.covariance for pair in found.pairs}
        alike |= {(b, a): value for (a, b), value in alike.items()}
        _matrix(right, names, alike, "cosine of covariances", ("", ""))
        legend(figure, None)
        figure.savefig(path)


def _variance(axes: Axes, found: Diagnosis) -> None:
    bare(axes, "y")
    for number, site in enumerate(found.sites):
        if site.components is not None:
            axes.plot(
                SHARES,
                [site.components.shares[n] for n in SHARES],
                color=PALETTE[number % len(PALETTE)],
                marker=MARKERS[number % len(MARKERS)],
                linestyle=DASHES[number // len(PALETTE) % len(DASHES)],
                label=site.name,
            )
    axes.set_xscale("log")
    axes.set_xticks(SHARES, [str(n) for n in SHARES])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("components")
    axes.set_title("share of variance")


def _matrix(
    axes: Axes,
    names: list[str],
    values: dict[tuple[str, str], float | None] | dict[tuple[str, str], float],
    title: str,
    labels: tuple[str, str],
) -> None:
    got = [[values.get((a, b)) for b in names] for a in names]
    shown = np.array([[np.nan if v is None else v for v in row] for row in got])
    low = float(np.nanmin(shown)) if np.isfinite(shown).any() else 0.0
    axes.imshow(shown, cmap="Blues", vmin=min(0.5, low), vmax=1.0)
    for (a, b), value in np.ndenumerate(shown):
        if np.isfinite(value):
            said = f"{value:.2f}".removeprefix("0")
            axes.text(b, a, said, ha="center", va="center", fontsize=9,
                      color="white" if value > 0.85 else "black")  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title)
