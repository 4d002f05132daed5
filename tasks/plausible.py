"""What cannot be true of tallies that are well formed otherwise.

Names, shapes, types and signs are checked at the door (`privacy.wire`); here the numbers are held
against each other, because one made-up tally would spoil the pooled metrics of everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from privacy.release import Tally
from tasks.binning import folded
from tasks.stays import FIRST
from tasks.tallies import CONFUSION, HELDOUT, LABELS, RANKS, TUNE, TUNE_LABELS

# Sums of shares over stays may differ in their last bits.
NEARLY = 1e-6


def implausible(found: Mapping[str, Tally]) -> str | None:
    """The first thing that cannot be true of one site's tallies; None where all may be."""
    return next(_found(found), None)


def _found(found: Mapping[str, Tally]) -> Iterator[str]:
    yield from _pairs(found, TUNE, TUNE_LABELS)
    for prefix in _prefixes(found):
        yield from _pairs(found, f"{prefix}/scores", f"{prefix}/labels")
        ranks = found.get(f"{prefix}/ranks")
        if ranks is None:
            continue
        yield from _ranks(f"{prefix}/ranks", ranks.sums)
        stays, coded = float(ranks.sums[3]), float(ranks.sums[1])
        if f"{prefix}/tops" in found:
            tops = found[f"{prefix}/tops"].sums
            yield from _tops(f"{prefix}/tops", tops, first=float(ranks.sums[2]), coded=coded)
        if f"{prefix}/sets" in found and (found[f"{prefix}/sets"].sums > stays + NEARLY).any():
            yield f"{prefix}/sets: more stays than there are"
        if f"{prefix}/labels" in found:
            yield from _rows(f"{prefix}/labels", found[f"{prefix}/labels"].sums, stays)
    if CONFUSION in found:
        yield from _confusion(found)


def _prefixes(found: Mapping[str, Tally]) -> list[str]:
    """`heldout`, and `heldout/LEVEL` of each level."""
    ours = (name.rpartition("/")[0] for name in found if name.startswith(f"{HELDOUT}/"))
    return sorted({HELDOUT, *ours})


def _pairs(found: Mapping[str, Tally], scores: str, labels: str) -> Iterator[str]:
    """The same pairs stand in both tallies, by score and by whether they are true."""
    if scores not in found or labels not in found:
        return
    by_score, by_label = found[scores].sums, found[labels].sums.sum(1)
    if not np.array_equal(_coarse(by_score), _coarse(by_label)):
        yield f"{labels}: other pairs than {scores}"


def _coarse(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    return folded(counts.astype(np.float64))


def _ranks(name: str, sums: NDArray[np.float64] | NDArray[np.int64]) -> Iterator[str]:
    average, coded, first, stays = (float(value) for value in sums)
    if not (average <= coded + NEARLY and coded <= stays and first <= stays + NEARLY):
        yield f"{name}: more hits than stays"


def _tops(
    name: str,
    sums: NDArray[np.float64] | NDArray[np.int64],
    *,
    first: float,
    coded: float,
) -> Iterator[str]:
    five, fifteen, *recalled, precise = (float(value) for value in sums)
    hits = [at * share for at, share in zip(FIRST, (five, first, fifteen), strict=True)]
    grows = all(early <= late + NEARLY for of in (hits, recalled) for early, late in pairwise(of))
    if not grows or max(*recalled, precise) > coded + NEARLY:
        yield f"{name}: more hits than coded stays, or fewer among more outputs"


def _rows(name: str, sums: NDArray[np.int64] | NDArray[np.float64], stays: float) -> Iterator[str]:
    each = sums.sum((0, 2))
    if not ((each == 0) | (each == stays)).all():
        yield f"{name}: an output has other stays than the rest"


def _confusion(found: Mapping[str, Tally]) -> Iterator[str]:
    matrix = found[CONFUSION].sums
    if LABELS in found and not np.array_equal(matrix.sum(1), found[LABELS].sums[1].sum(-1)):
        yield f"{CONFUSION}: other true classes than {LABELS}"
    elif RANKS in found and matrix.sum() > found[RANKS].sums[3]:
        yield f"{CONFUSION}: more stays than there are"
