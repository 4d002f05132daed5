"""Each output by itself at each site, where there are few.

Hundreds of codes at ten sites by eight ways of training would be most of a result; those are told
over all sites together (`experiments.baselines.Detail`), and by how often they were seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from tasks.per_output import OutputMetrics

MOST = 31
"""Outputs up to which sites have theirs told: as many as are binned at least as finely as all pairs
together (`tasks.binning`), so that the bounds of a small site's figures stay small too."""

MEANS = ("precision", "recall", "f1", "auroc", "auprc", "auroc_bound", "auprc_bound")

Outputs = tuple[OutputMetrics, ...]


def mean(sites: Iterable[tuple[int, Outputs]]) -> Outputs:
    """The sites' figures averaged by held-out patients, as `baselines.mean` does with metrics.

    A site counts for an output only where a held-out stay has it: F1 is 0 by convention elsewhere.
    Each head has a threshold of its own, so the mean has none.

    Args:
        sites: Held-out patients of each site, and its figures: of the same outputs, or none where
            nobody is held out.
    """
    known = [(weight, of) for weight, of in sites if of]
    if not known:
        return ()
    weights, rows = zip(*known, strict=True)
    return tuple(_mean(weights, each) for each in zip(*rows, strict=True))


def _mean(weights: Iterable[int], of: Outputs) -> OutputMetrics:
    found: dict[str, object] = {"output": of[0].output, "support": sum(one.support for one in of)}
    here = [(one, weight) for one, weight in zip(of, weights, strict=True) if one.support]
    for name in MEANS:
        known = [(getattr(o, name), w) for o, w in here if getattr(o, name) is not None]
        total = sum(weight for _, weight in known)
        found[name] = sum(value * w for value, w in known) / total if total else None
    return OutputMetrics.model_validate(found)
