"""Small counts stay home.

Guarantees:
    With a smallest count k, a tally with fewer than k patients behind it does not leave. In a
    per-label tally, a label that between 1 and k-1 patients carry is blanked (its row becomes
    zero), and where the blanked labels together have fewer than k patients' worth of
    positives, the next smallest labels are blanked too, so that no subtraction from a total
    gives one away (complementary suppression). Where even all labels together have fewer,
    every tally of that group (the part of the name before the slash) stays home.
Not guaranteed:
    This is not differential privacy. Bins inside a row that leaves may hold a single patient;
    a site that minds sets `metrics = "withheld"`.

| k | effect |
| --- | --- |
| 0 or 1 | nothing is hidden |
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from privacy.release import Tally


def suppress(
    tallies: Iterable[Tally], *, smallest: int, carriers: dict[str, NDArray[np.int64]]
) -> tuple[Tally, ...]:
    """The tallies that may leave under smallest count `smallest`.

    Args:
        tallies: As counted.
        smallest: k above.
        carriers: For each per-label tally by name, how many patients carry each label, (L,).
            Its rows are axis 1 of the tally's sums.
    """
    hidden = {name: hidden_labels(of, smallest=smallest) for name, of in carriers.items()}
    telling = {
        name.partition("/")[0]
        for name, rows in hidden.items()
        if 0 < carriers[name][rows].sum() < smallest
    }
    kept = []
    for tally in tallies:
        if tally.patients < smallest or tally.name.partition("/")[0] in telling:
            continue
        sums = tally.sums
        if tally.name in hidden:
            sums = sums.copy()
            sums[:, hidden[tally.name]] = 0
        kept.append(Tally(tally.name, sums, tally.patients))
    return tuple(kept)


def hidden_labels(carriers: NDArray[np.int64], *, smallest: int) -> NDArray[np.bool_]:
    """Which labels, (L,), must be blanked when `carriers` patients carry each of them."""
    hidden = (carriers > 0) & (carriers < smallest)
    if not hidden.any():
        return hidden
    for label in np.argsort(carriers, kind="stable"):
        if carriers[hidden].sum() >= smallest:
            break
        if carriers[label] >= smallest:
            hidden[label] = True
    return hidden
