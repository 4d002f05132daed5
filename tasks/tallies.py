"""Tallies: counts that add up over sites, from which pooled metrics follow.

Exact tallies, for L outputs (`tasks.noised` has those with noise):

| name | dtype, shape | what |
| --- | --- | --- |
| `tune/scores` | int64 (2, F) | all (stay, output) pairs of the tune patients by score |
| `tune/labels` | int64 (2, L, B) | the same by output and score: thresholds for each output |
| `heldout/scores` | int64 (2, F) | as `tune/scores`, of the held-out patients |
| `heldout/labels` | int64 (2, L, W) | the held-out pairs by output and score |
| `heldout/ranks` | float64 (4,) | sums of average precision, coded stays, P@8, stays |
| `heldout/tops` | float64 (6,) | sums of P@5, P@15, R@5, R@8, R@15, R-precision |
| `heldout/sets` | float64 (2, E) | stays predicted exactly, and sums of Jaccard, at each edge |
| `heldout/confusion` | int64 (L, L) | where one output is true of each stay: true and predicted |

For each coarser level of the task (`Task.rollups`), `heldout/LEVEL/scores`, `.../labels`,
`.../ranks`, `.../tops` and `.../sets` count the same of its groups. They are tallies of their own
because two codes of one category may stand at one stay: no sum over codes tells of that.

Row 0 counts pairs whose output is false, row 1 those whose output is true. Scores are logits,
binned at fixed edges (`tasks.binning`): B bins at the E `EDGES`, F at `FINE`, W at
`output_edges(L)`. All shapes follow from the study alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.release import Tally
from tasks.binning import (
    EDGES,
    FINE,
    FINEST,
    Bins,
    Counts,
    Scores,
    Truth,
    by_output,
    coarser,
    finest_bins,
    folded,
    histogram,
    output_edges,
)
from tasks.rollup import Rollup
from tasks.stays import AT, confusion, set_sums, stay_ranks, stay_sums

__all__ = [
    "AT",
    "CONFUSION",
    "EDGES",
    "FINE",
    "HELDOUT",
    "LABELS",
    "RANKS",
    "SCORES",
    "SETS",
    "TOPS",
    "TUNE",
    "TUNE_LABELS",
    "added",
    "by_name",
    "heldout_tallies",
    "of_level",
    "shapes",
    "stay_ranks",
    "tune_tallies",
]

TUNE, TUNE_LABELS = "tune/scores", "tune/labels"
HELDOUT = "heldout"
SCORES, LABELS, RANKS = "heldout/scores", "heldout/labels", "heldout/ranks"
TOPS, SETS, CONFUSION = "heldout/tops", "heldout/sets", "heldout/confusion"

PAIRS_AT_A_TIME = 2**21
"""(stay, output) pairs that are counted in one go; bounds what counting takes beside the scores."""

Shapes = dict[str, tuple[tuple[int, ...], str]]
Levels = Sequence[tuple[Rollup, NDArray[np.bool_]]]
"""Coarser levels, each with which of its groups are counted, (G,)."""


def shapes(outputs: int, *, exclusive: bool = False, rollups: Iterable[Rollup] = ()) -> Shapes:
    """Shape and dtype of every tally of a study.

    Args:
        outputs: L.
        exclusive: Whether exactly one output is true of each stay.
        rollups: The coarser levels.
    """
    found: Shapes = {
        TUNE: ((2, len(FINE) + 1), "int64"),
        TUNE_LABELS: ((2, outputs, len(EDGES) + 1), "int64"),
        **_level_shapes(HELDOUT, outputs),
    }
    for rollup in rollups:
        found |= _level_shapes(f"{HELDOUT}/{rollup.level}", len(rollup.groups))
    if exclusive:
        found[CONFUSION] = ((outputs, outputs), "int64")
    return found


def _level_shapes(prefix: str, outputs: int) -> Shapes:
    return {
        f"{prefix}/scores": ((2, len(FINE) + 1), "int64"),
        f"{prefix}/labels": ((2, outputs, len(output_edges(outputs)) + 1), "int64"),
        f"{prefix}/ranks": ((4,), "float64"),
        f"{prefix}/tops": ((6,), "float64"),
        f"{prefix}/sets": ((2, len(EDGES)), "float64"),
    }


def tune_tallies(
    logits: Scores,
    truth: Truth,
    *,
    patients: int,
    shown: NDArray[np.bool_] | None = None,
) -> list[Tally]:
    """What the tune patients give: enough to choose thresholds.

    Args:
        logits: (N, L) over N stays.
        truth: (N, L).
        patients: How many patients the stays are of.
        shown: Which outputs are counted, (L,); None counts all. The others are in no number.
    """
    which = _which(logits, shown)
    sums = {name: np.zeros(*shape) for name, shape in shapes(len(which)).items() if _tunes(name)}
    for some, true in _blocks(logits, truth, which):
        bins = finest_bins(some)
        sums[TUNE] += _scores(bins, true)
        sums[TUNE_LABELS][:, which] += _by_output(bins, true, EDGES)
    return [Tally(name, found, patients) for name, found in sums.items()]


def heldout_tallies(
    logits: Scores,
    truth: Truth,
    *,
    patients: int,
    shown: NDArray[np.bool_] | None = None,
    exclusive: bool = False,
    levels: Levels = (),
) -> list[Tally]:
    """What the held-out patients give.

    Args:
        logits: See `tune_tallies`, as the others.
        truth: (N, L).
        patients: Number of patients.
        shown: Which outputs are counted.
        exclusive: Whether exactly one output is true of each stay.
        levels: The coarser levels; a group is made of the outputs that are shown, and one
            without any such is not counted.
    """
    which = _which(logits, shown)
    wanted = shapes(len(which), exclusive=exclusive, rollups=[rollup for rollup, _ in levels])
    sums = {name: np.zeros(*shape) for name, shape in wanted.items() if not _tunes(name)}
    for some, true in _blocks(logits, truth, which):
        _count_level(sums, HELDOUT, some, true, which)
        if exclusive:
            sums[CONFUSION][np.ix_(which, which)] += confusion(some, true)
        for rollup, groups in levels:
            high, any_true = rollup.rolled(some, true, shown=which)
            known = rollup.members(which)
            kept = groups[known]
            prefix = f"{HELDOUT}/{rollup.level}"
            _count_level(sums, prefix, high[:, kept], any_true[:, kept], known & groups)
    return [Tally(name, found, patients) for name, found in sums.items()]


def of_level(tallies: Mapping[str, Tally], level: str) -> dict[str, Tally]:
    """The tallies of a coarser level, named as those of the outputs are."""
    prefix = f"{HELDOUT}/{level}/"
    return {
        f"{HELDOUT}/{name.removeprefix(prefix)}": Tally(
            f"{HELDOUT}/{name.removeprefix(prefix)}", tally.sums, tally.patients
        )
        for name, tally in tallies.items()
        if name.startswith(prefix)
    }


def added(releases: Sequence[Sequence[Tally]]) -> dict[str, Tally]:
    """The pooled tallies of several sites, in the order given; a site may lack some."""
    total: dict[str, Tally] = {}
    for tallies in releases:
        for tally in tallies:
            total[tally.name] = total[tally.name] + tally if tally.name in total else tally
    return total


def by_name(tallies: Sequence[Tally]) -> Mapping[str, Tally]:
    """One site's tallies by name."""
    return added([tallies])


def _tunes(name: str) -> bool:
    return name in {TUNE, TUNE_LABELS}


def _which(logits: Scores, shown: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return np.ones(logits.shape[1], np.bool_) if shown is None else shown


def _blocks(
    logits: Scores, truth: Truth, which: NDArray[np.bool_]
) -> Iterator[tuple[Scores, Truth]]:
    """Some stays at a time, of the outputs that are shown."""
    step = max(1, PAIRS_AT_A_TIME // max(logits.shape[1], 1))
    for start in range(0, len(logits), step):
        part = slice(start, start + step)
        yield logits[part, which], truth[part, which]


def _count_level(
    sums: dict[str, NDArray[Any]],
    prefix: str,
    logits: Scores,
    truth: Truth,
    which: NDArray[np.bool_],
) -> None:
    """Adds some stays to the tallies of one level; `which` of its outputs these scores are of."""
    if not logits.shape[1]:
        return
    bins = finest_bins(logits)
    sums[f"{prefix}/scores"] += _scores(bins, truth)
    sums[f"{prefix}/labels"][:, which] += _by_output(bins, truth, output_edges(len(which)))
    sums[f"{prefix}/sets"] += set_sums(coarser(EDGES)[bins], truth)
    ranks = stay_sums(logits, truth).sum(0)
    sums[f"{prefix}/ranks"] += ranks[:4]
    sums[f"{prefix}/tops"] += ranks[4:]


def _scores(bins: Bins, truth: Truth) -> Counts:
    return folded(histogram(bins, truth, width=len(FINEST) + 1), FINE)


def _by_output(bins: Bins, truth: Truth, edges: NDArray[np.float64]) -> Counts:
    return by_output(coarser(edges)[bins], truth, width=len(edges) + 1)
