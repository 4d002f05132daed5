"""Tallies: counts that add up over sites, from which pooled metrics follow.

Four exact tallies, for L outputs (`tasks.noised` has those with noise):

| name | dtype, shape | what |
| --- | --- | --- |
| `tune/scores` | int64 (2, F) | all (stay, output) pairs of the tune patients by score |
| `heldout/scores` | int64 (2, F) | the same of the held-out patients |
| `heldout/labels` | int64 (2, L, B) | the held-out pairs by output and score |
| `heldout/ranks` | float64 (4,) | sums of average precision, coded stays, P@8, stays |

Row 0 counts pairs whose output is false, row 1 those whose output is true. Scores are logits,
binned at fixed edges: `EDGES` (B bins, a quarter logit apart from -8 to 8) for outputs, `FINE`
(F bins, 1/128 apart from -16 to 16) for all together. Every edge of `EDGES` is one of `FINE`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.release import Tally

EDGES = np.linspace(-8, 8, 65)
FINE = np.linspace(-16, 16, 4097)
AT = 8

TUNE, SCORES, LABELS, RANKS = "tune/scores", "heldout/scores", "heldout/labels", "heldout/ranks"


def shapes(outputs: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every tally of a study with L = `outputs`."""
    return {
        TUNE: ((2, len(FINE) + 1), "int64"),
        SCORES: ((2, len(FINE) + 1), "int64"),
        LABELS: ((2, outputs, len(EDGES) + 1), "int64"),
        RANKS: ((4,), "float64"),
    }


def tune_tallies(
    logits: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    patients: int,
    shown: NDArray[np.bool_] | None = None,
) -> list[Tally]:
    """What the tune patients give: enough to choose a threshold.

    Args:
        logits: (N, L) over N stays.
        truth: (N, L).
        patients: How many patients the stays are of.
        shown: Which outputs are counted, (L,); None counts all. The others are in no number.
    """
    some, true, _ = _shown(logits, truth, shown)
    return [Tally(TUNE, _scores(some, true), patients)]


def heldout_tallies(
    logits: NDArray[np.float32],
    truth: NDArray[np.bool_],
    *,
    patients: int,
    shown: NDArray[np.bool_] | None = None,
) -> list[Tally]:
    """What the held-out patients give. Arguments as in `tune_tallies`."""
    some, true, which = _shown(logits, truth, shown)
    labels = np.zeros((2, logits.shape[1], len(EDGES) + 1), np.int64)
    labels[:, which] = _labels(some, true)
    return [
        Tally(SCORES, _scores(some, true), patients),
        Tally(LABELS, labels, patients),
        Tally(RANKS, stay_ranks(some, true).sum(0), patients),
    ]


def implausible(found: Mapping[str, Tally]) -> str | None:
    """What cannot be true of tallies that are well formed otherwise; None where all may be."""
    if RANKS in found:
        average, coded, first, stays = (float(value) for value in found[RANKS].sums)
        if not (average <= coded + 1e-6 and coded <= stays and first <= stays + 1e-6):
            return f"{RANKS}: more hits than stays"
    both = LABELS in found and SCORES in found
    if both and found[LABELS].sums.sum() != found[SCORES].sums.sum():
        return f"{LABELS}: other pairs than {SCORES}"
    return None


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


def _shown(
    logits: NDArray[np.float32], truth: NDArray[np.bool_], shown: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    which = np.ones(logits.shape[1], np.bool_) if shown is None else shown
    return logits[:, which], truth[:, which], which


def _scores(logits: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    bins = np.searchsorted(FINE, logits.astype(np.float64), side="right")
    width = len(FINE) + 1
    return np.stack([np.bincount(bins[truth == row], minlength=width) for row in (False, True)])


def _labels(logits: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.int64]:
    outputs, width = logits.shape[1], len(EDGES) + 1
    bins = np.searchsorted(EDGES, logits.astype(np.float64), side="right")
    flat = bins + width * np.arange(outputs)
    counts = [np.bincount(flat[truth == row], minlength=width * outputs) for row in (False, True)]
    return np.stack(counts).reshape(2, outputs, width)


def stay_ranks(logits: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Per stay, (N, 4): average precision of the ranking, whether any output is true, precision
    among the first eight, and 1.

    Ties are broken by the order of the outputs, on every site alike. Average precision is the
    mean over true outputs of the precision at their rank; a stay without any has none.
    """
    order = np.argsort(-logits.astype(np.float64), axis=1, kind="stable")
    hits = np.take_along_axis(truth, order, axis=1).astype(np.float64)
    found = hits.cumsum(1)
    positives = hits.sum(1)
    precision = found / np.arange(1, logits.shape[1] + 1)
    average = (precision * hits).sum(1) / np.maximum(positives, 1)
    return np.stack([average, positives > 0, hits[:, :AT].sum(1) / AT, np.ones(len(hits))], axis=1)
