"""Tallies with noise: what a site whose policy says `metrics = "noised"` lets out.

| name | dtype, shape | what |
| --- | --- | --- |
| `tune/noised` | float64 (2, B) | (stay, output) pairs of the tune patients by score |
| `heldout/noised` | float64 (2, B) | the same of the held-out patients |
| `heldout/noised-ranks` | float64 (4,) | sums as in `heldout/ranks` |

Row 0 counts false pairs, those below `LOWEST` left out; row 1 true ones. Bins are those of
`tasks.binning.EDGES`. Numbers may be negative: noise is not cut off, so that sums over bins and
sites stay unbiased.

Guarantees:
    Unit: one patient with all stays. Neighbours: one patient added or removed. Each patient is
    one row, made of parts that are each cut to a public norm and scaled so that the whole row's
    norm is at most 1; `privacy.gaussian_sums` adds the noise. Tune and held-out patients are
    different people, so one charge covers both. How many patients there are is not said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.gaussian_sums import clipped, noisy_sum
from privacy.randomness import Stream
from privacy.release import Tally
from tasks.binning import EDGES
from tasks.stays import stay_ranks

TUNE, SCORES, RANKS = "tune/noised", "heldout/noised", "heldout/noised-ranks"

# Below this logit (a chance of 2%) no threshold is sought, and most false pairs lie.
LOWEST = -4.0
# Norms that few patients reach: true pairs, false pairs above LOWEST, sums of ranks.
TRUE_CLIP, FALSE_CLIP, RANKS_CLIP = 8.0, 16.0, 4.0

Rows = NDArray[np.float64]


def shapes() -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every noised tally."""
    pairs = (2, len(EDGES) + 1)
    return {TUNE: (pairs, "float64"), SCORES: (pairs, "float64"), RANKS: ((4,), "float64")}


def tune_tallies(
    logits: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    owners: NDArray[np.int64],
    patients: int,
    noise_multiplier: float,
    stream: Stream,
) -> list[Tally]:
    """What the tune patients give.

    Args:
        logits: (N, L) over N stays.
        truth: (N, L).
        owners: Whose each stay is, (N,), from 0.
        patients: How many patients there are.
        noise_multiplier: As charged.
        stream: Source of the noise.
    """
    parts = _pairs(logits, truth, owners, patients)
    false, true = _noisy(parts, (FALSE_CLIP, TRUE_CLIP), noise_multiplier, stream)
    return [Tally(TUNE, np.stack([false, true]), 0)]


def heldout_tallies(
    logits: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    owners: NDArray[np.int64],
    patients: int,
    noise_multiplier: float,
    stream: Stream,
) -> list[Tally]:
    """What the held-out patients give. Arguments as in `tune_tallies`."""
    ranks = _by_patient(stay_ranks(logits, truth), owners, patients)
    parts = [*_pairs(logits, truth, owners, patients), ranks]
    clips = (FALSE_CLIP, TRUE_CLIP, RANKS_CLIP)
    false, true, sums = _noisy(parts, clips, noise_multiplier, stream)
    return [Tally(SCORES, np.stack([false, true]), 0), Tally(RANKS, sums, 0)]


def _pairs(
    logits: NDArray[np.float32],
    truth: NDArray[np.bool_],
    owners: NDArray[np.int64],
    patients: int,
) -> list[Rows]:
    """For each patient how many false, and how many true, pairs lie in each bin; (P, B) each."""
    bins = np.searchsorted(EDGES, logits.astype(np.float64), side="right")
    lowest = int(np.searchsorted(EDGES, LOWEST, side="right"))
    width = len(EDGES) + 1
    found = []
    for counted in (~truth & (bins >= lowest), truth):
        stays = np.zeros((len(logits), width))
        np.add.at(stays, (np.nonzero(counted)[0], bins[counted]), 1)
        found.append(_by_patient(stays, owners, patients))
    return found


def _by_patient(stays: Rows, owners: NDArray[np.int64], patients: int) -> Rows:
    rows = np.zeros((patients, stays.shape[1]))
    np.add.at(rows, owners, stays)
    return rows


def _noisy(
    parts: Sequence[Rows], clips: Sequence[float], noise_multiplier: float, stream: Stream
) -> list[NDArray[np.float64]]:
    """Sums over patients of several statistics as one noisy sum of rows with norm at most 1."""
    share = math.sqrt(len(parts))
    rows = np.concatenate(
        [clipped(part, clip) / (clip * share) for part, clip in zip(parts, clips, strict=True)],
        axis=1,
    )
    total = noisy_sum(rows, clip=1.0, noise_multiplier=noise_multiplier, stream=stream)
    ends = np.cumsum([part.shape[1] for part in parts])[:-1]
    return [piece * clip * share for piece, clip in zip(np.split(total, ends), clips, strict=True)]
