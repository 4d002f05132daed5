"""Metrics of each output by itself, thresholds of its own, and groups of outputs.

All from `heldout/labels` and `tune/labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privacy.release import Tally
from privacy.spec import Spec
from tasks import curves
from tasks.binning import EDGES, Counts, at_least, edges_of
from tasks.tallies import LABELS, TUNE_LABELS

FEWEST = 10
"""True pairs on the tune patients without which an output has no threshold of its own: the best
edge for fewer says more of chance than of the output."""

BUCKETS = (0, 10, 50, 100, 500)
"""The last number of training stays of each bucket but the last (Edin et al. 2023,
arXiv:2304.10909, report by how often a code was seen)."""

Edge = NDArray[np.int64]
Share = Annotated[float, Field(ge=0, le=1)]


class OutputMetrics(Spec):
    """One output, over all held-out stays.

    Attributes:
        output: Its name.
        support: Stays of which it is true.
        threshold: At or above which it is predicted.
        precision: Share of right ones among its predictions; 0 without predictions.
        recall: Share of its true stays that are predicted; None where there are none.
        f1: 0 where it is neither true nor predicted, as scikit-learn counts.
        auroc: None without a true or without a false stay.
        auprc: None without a true stay.
        auroc_bound: How far the AUROC of unbinned scores may be.
        auprc_bound: The same of AUPRC.
    """

    output: str
    support: Annotated[int, Field(ge=0)]
    threshold: float | None = None
    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None
    auroc: Share | None = None
    auprc: Share | None = None
    auroc_bound: Share | None = None
    auprc_bound: Share | None = None


class Bucket(Spec):
    """The outputs that were seen about as often in training.

    Attributes:
        seen: Least and most training stays; None is no end.
        outputs: How many there are.
        present: Of how many a held-out stay is true.
        micro_f1: Over all pairs of these outputs.
        macro_f1: Mean over those that are present.
        macro_f1_all: Mean over all of them.
        intervals: 95% intervals of these over held-out patients, where they were asked for.
    """

    seen: tuple[int, int | None]
    outputs: int
    present: int
    micro_f1: Share | None = None
    macro_f1: Share | None = None
    macro_f1_all: Share | None = None
    intervals: dict[str, tuple[float, float]] = {}


def edge_of(threshold: float) -> int:
    """The number of an edge of `EDGES`.

    Raises:
        ValueError: The threshold is not an edge.
    """
    edge = int(np.searchsorted(EDGES, threshold))
    if edge == len(EDGES) or EDGES[edge] != threshold:
        raise ValueError(f"threshold {threshold} is not one of the edges")
    return edge


def own_edges(tallies: Mapping[str, Tally], *, otherwise: float | None) -> Edge | None:
    """For each output the lowest edge of its best F1 on the tune patients, (L,).

    Args:
        tallies: With `tune/labels`; None comes of none.
        otherwise: The threshold of an output with fewer than `FEWEST` true pairs there; None
            comes of none.
    """
    if TUNE_LABELS not in tallies or otherwise is None:
        return None
    found = _counts(tallies[TUNE_LABELS])
    tp, fp = at_least(found[1]), at_least(found[0])
    positives = found[1].sum(-1)
    f1 = _f1(tp, fp, positives[:, None])
    return np.where(positives >= FEWEST, f1.argmax(-1), edge_of(otherwise)).astype(np.int64)


def at_edges(tally: Tally, edges: Edge | int) -> tuple[Counts, Counts, Counts]:
    """True and false predictions, and true stays, of each output, (L,) each.

    Args:
        tally: `heldout/labels`, or that of a coarser level.
        edges: Of each output, (L,), or of all.
    """
    counts = _counts(tally)
    # Which of the finer edges each edge is.
    at = np.searchsorted(edges_of(counts.shape[-1]), EDGES)[edges]
    where = np.broadcast_to(at, counts.shape[1])[:, None]
    false, true = (np.take_along_axis(at_least(of), where, axis=-1)[:, 0] for of in counts)
    return true, false, counts[1].sum(-1)


def f1_scores(tally: Tally, edges: Edge | int) -> dict[str, float | None]:
    """Micro-F1, and macro-F1 over present and over all outputs; arguments as in `at_edges`."""
    return _summary(*at_edges(tally, edges))


def table(
    tallies: Mapping[str, Tally], outputs: Sequence[str], *, edges: Edge | int | None
) -> tuple[OutputMetrics, ...]:
    """Every output by itself, in order; empty without `heldout/labels`.

    Args:
        tallies: By name.
        outputs: Names of the L outputs.
        edges: See `at_edges`; without, nothing that needs a threshold is told.
    """
    if LABELS not in tallies:
        return ()
    counts = _counts(tallies[LABELS])
    columns: dict[str, NDArray[np.float64]] = {
        "auroc": curves.auroc(counts),
        "auprc": curves.auprc(counts),
        "auroc_bound": curves.auroc_bound(counts),
        "auprc_bound": curves.auprc_bound(counts),
    }
    if edges is not None:
        tp, fp, positives = at_edges(tallies[LABELS], edges)
        columns |= {
            "threshold": np.broadcast_to(EDGES[edges], len(outputs)),
            "precision": tp / np.maximum(tp + fp, 1),
            "recall": np.where(positives > 0, tp / np.maximum(positives, 1), np.nan),
            "f1": _f1(tp, fp, positives),
        }
    support = counts[1].sum(-1)
    return tuple(
        OutputMetrics.model_validate(
            {"output": name, "support": int(support[n])}
            | {key: float(of[n]) for key, of in columns.items() if np.isfinite(of[n])}
        )
        for n, name in enumerate(outputs)
    )


def buckets(tally: Tally, seen: NDArray[np.int64], *, edges: Edge | int) -> tuple[Bucket, ...]:
    """F1 by how often an output was seen in training.

    Training counts are private. Only where they are at hand anyway, as in a simulation, can this
    be asked; nothing of a real site's training patients leaves it for this.

    Args:
        tally: `heldout/labels`.
        seen: Training stays of which each output is true, (L,).
        edges: See `at_edges`.
    """
    found = at_edges(tally, edges)
    number = bucket_of(seen)
    lows = (0, *(last + 1 for last in BUCKETS))
    highs = (*BUCKETS, None)
    made = []
    for n, between in enumerate(zip(lows, highs, strict=True)):
        tp, fp, positives = (of[number == n] for of in found)
        row = {"seen": between, "outputs": len(tp), "present": int((positives > 0).sum())}
        made.append(Bucket.model_validate(row | _summary(tp, fp, positives)))
    return tuple(made)


def bucket_of(seen: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each output's bucket, from how often it was seen, (L,)."""
    return np.searchsorted(BUCKETS, seen).astype(np.int64)


def _summary(tp: Counts, fp: Counts, positives: Counts) -> dict[str, float | None]:
    f1, present = _f1(tp, fp, positives), positives > 0
    pairs = int(tp.sum() + fp.sum() + positives.sum())
    some = bool(present.any())
    return {
        "micro_f1": float(2 * tp.sum() / pairs) if pairs else None,
        "macro_f1": float(f1[present].mean()) if some else None,
        "macro_f1_all": float(f1.mean()) if some else None,
    }


def _f1(tp: Counts, fp: Counts, positives: Counts) -> NDArray[np.float64]:
    below = tp + fp + positives
    made: NDArray[np.float64] = np.divide(2 * tp, below, out=np.zeros(below.shape), where=below > 0)
    return made


def _counts(tally: Tally) -> Counts:
    return tally.sums.astype(np.int64)
