"""Bins: where a score falls among fixed edges, and histograms of many scores.

| edges | apart by | from, to | bins | used for |
| --- | --- | --- | --- | --- |
| `EDGES` | 1/4 | -8, 8 | 66 | thresholds; noised tallies |
| `FINE` | 1/128 | -16, 16 | 4,098 | all outputs together |
| `FINEST` | 1/512 | -16, 16 | 16,386 | |
| `output_edges(L)` | 1/4 to 1/512 | | 66 to 16,386 | each output by itself |

Scores are logits. Bin 0 lies below the first edge, bin e+1 begins at edge e and holds it. Every
edge of `EDGES` is an edge of the others, so F1 at such an edge is exact whatever the bins.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

N = TypeVar("N", np.int64, np.float64)

Scores = NDArray[np.float32]
Bins = NDArray[np.int16]
Truth = NDArray[np.bool_]
Counts = NDArray[np.int64]

EDGES = np.linspace(-8, 8, 65)
FINE = np.linspace(-16, 16, 4097)
FINEST = np.linspace(-16, 16, 16385)

BUDGET = 2**18
"""Numbers that one tally by output may have, where the bins of `EDGES` are not too many already:
2 MiB, because each site sends it each round and each checkpoint keeps it."""

_REACH = 16
_COARSE_REACH = 8
_COARSE = 4
_FINEST = 512


def output_edges(outputs: int) -> NDArray[np.float64]:
    """The edges for each of L = `outputs` outputs: as fine as `BUDGET` allows, from L alone.

    >>> [len(output_edges(number)) + 1 for number in (7, 15, 31, 393, 8000)]
    [16386, 8194, 4098, 258, 66]
    """
    per_logit = _FINEST
    while per_logit > _COARSE:
        if 2 * outputs * (2 * _REACH * per_logit + 2) <= BUDGET:
            return FINEST[:: _FINEST // per_logit]
        per_logit //= 2
    return EDGES


def finest_bins(logits: Scores) -> Bins:
    """The bin of `FINEST` that each score lies in; one that is not a number lies in the last.

    Exact: `FINEST` lies on multiples of a power of two, and no float32 is rounded by that factor.
    """
    with np.errstate(over="ignore"):
        place = np.floor(logits * np.float32(_FINEST))
    low = -_REACH * _FINEST - 1
    np.clip(place, low, -low - 1, out=place)
    place[np.isnan(place)] = -low - 1
    place -= low
    bins: Bins = place.astype(np.int16)
    return bins


def coarser(edges: NDArray[np.float64], of: NDArray[np.float64] = FINEST) -> Bins:
    """For each bin of `of`, the bin of `edges` that it lies in.

    Args:
        edges: Each of them one of `of`.
        of: Finer edges.
    """
    return np.concatenate([[0], np.searchsorted(edges, of, side="right")]).astype(np.int16)


def folded(counts: NDArray[N], edges: NDArray[np.float64] = EDGES) -> NDArray[N]:
    """A histogram over finer bins of this module's as one over the bins of `edges`.

    Args:
        counts: (..., B); B tells its own edges.
        edges: Each of them an edge of the histogram.
    """
    starts = np.concatenate([[0], np.searchsorted(edges_of(counts.shape[-1]), edges) + 1])
    made: NDArray[N] = np.add.reduceat(counts, starts, axis=-1)
    return made


def edges_of(width: int) -> NDArray[np.float64]:
    """The edges of a histogram with `width` bins.

    Raises:
        ValueError: No edges of this module have so many.
    """
    if width == len(EDGES) + 1:
        return EDGES
    per_logit, rest = divmod(width - 2, 2 * _REACH)
    if rest or per_logit <= 0 or _FINEST % per_logit:
        raise ValueError(f"no histogram has {width} bins")
    return FINEST[:: _FINEST // per_logit]


def histogram(bins: Bins, truth: Truth, *, width: int) -> Counts:
    """False and true pairs by bin, (2, width)."""
    true = np.bincount(bins[truth], minlength=width)
    return np.stack([np.bincount(bins.ravel(), minlength=width) - true, true])


def by_output(bins: Bins, truth: Truth, *, width: int) -> Counts:
    """False and true pairs by output and bin, (2, L, width).

    Args:
        bins: (N, L).
        truth: (N, L).
        width: Number of bins.
    """
    outputs = bins.shape[1]
    starts = width * np.arange(outputs)
    _, columns = np.nonzero(truth)
    true = np.bincount(bins[truth] + starts[columns], minlength=width * outputs)
    every = np.bincount((bins + starts).ravel(), minlength=width * outputs)
    return np.stack([every - true, true]).reshape(2, outputs, width)


def at_least(counts: NDArray[N]) -> NDArray[N]:
    """For each edge, how many lie at or above it: the last axis becomes one shorter."""
    above: NDArray[N] = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    return above
