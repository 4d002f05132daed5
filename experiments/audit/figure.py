"""The figure of a gradient inversion: what one update gives away, with privacy off and on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.audit.inversion import Inversion, Recovered
from tasks.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart with every kind of colour vision.
OFF = "#D55E00"
ON = "#0072B2"
CHANCE = "#7F7F7F"

BINS = 45
SUFFIXES = (".png", ".svg", ".pdf")


def draw(inversion: Inversion, study: Study, site: str, path: Path) -> None:
    """Writes the figure: cosines on the left, shares of notes found on the right.

    Args:
        inversion: What to show.
        study: Gives name, epsilon and delta.
        site: Name of the site.
        path: Its suffix chooses the format, one of `SUFFIXES`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = [("privacy off", OFF, inversion.off)]
    promise = study.privacy.promise
    if inversion.on is not None:
        name = study.privacy.kind
        label = f"{name}, ε = {promise.epsilon:g}" if promise else name
        shown.append((label, ON, inversion.on))
    with rc_context({"font.size": 12, "svg.fonttype": "none"}):
        figure = Figure(figsize=(10.5, 4.8), layout="constrained", dpi=200)
        # Inches around each of the two: labels do not touch, the title has room.
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[call-arg, union-attr]  # of `constrained`
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        figure.suptitle(_title(inversion, study, site), fontsize=14)
        _cosines(left, shown)
        _shares(right, shown, inversion.chance, inversion.notes)
        figure.savefig(path)


def _title(inversion: Inversion, study: Study, site: str) -> str:
    head = f"{inversion.head} head"
    if inversion.head != study.head.kind:
        head += f" in place of {study.head.kind}"
    promise = study.privacy.promise
    privacy = f"privacy {study.privacy.kind}"
    if promise is not None:
        privacy = f"patient-level ε = {promise.epsilon:g}, δ = {promise.delta:g}"
    return (
        "Recovering the embedding of a note from one patient's update\n"
        f"study {study.name}, site {site}, {head}, {privacy}"
    )


def _cosines(axes: Axes, shown: list[tuple[str, str, Recovered]]) -> None:
    edges = np.linspace(min(-0.3, *(float(r.cosines.min()) for _, _, r in shown)), 1.0, BINS + 1)
    for label, colour, found in shown:
        share = np.full(len(found.cosines), 100 / len(found.cosines))
        # Rounding may leave an exact recovery a hair above 1, outside the last bin.
        cosines = found.cosines.clip(max=1.0)
        axes.hist(cosines, edges.tolist(), weights=share, color=colour, alpha=0.85, label=label)
    axes.set_xlabel("cosine similarity, recovered and true embedding")
    axes.set_ylabel(f"patients (% of {len(shown[0][2].cosines)})")
    axes.legend(frameon=False, loc="upper center")
    _bare(axes)


def _shares(axes: Axes, shown: list[tuple[str, str, Recovered]], chance: float, notes: int) -> None:
    bars = [(label, 100 * found.share, colour) for label, colour, found in shown]
    bars.append(("chance", 100 * chance, CHANCE))
    drawn = axes.bar(
        [label for label, _, _ in bars],
        [share for _, share, _ in bars],
        width=0.6,
        color=[colour for _, _, colour in bars],
    )
    axes.bar_label(drawn, [_percent(share) for _, share, _ in bars], padding=4)
    axes.set_ylim(0, 108)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(f"right note of {notes:,} found (% of patients)")
    _bare(axes)


def _percent(share: float) -> str:
    return f"{share:.2f}%" if 0 < share < 1 else f"{share:.0f}%"


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
