"""Small counts stay home.

Guarantees:
    With a smallest count k, an output (a code) that between 1 and k-1 patients of a group carry
    is in no tally of that group, totals included: the coordinator chooses the weights that are
    scored, so it could make any total show it. A group of fewer than k patients has no tallies.
Not guaranteed:
    This is not differential privacy, and it protects within one release only. Which outputs
    are missing, bins inside a row that leaves, and the difference between two studies that
    ask almost the same can tell of a single patient. A site that minds sets
    `metrics = "withheld"`.

| k | effect |
| --- | --- |
| 0 or 1 | nothing is hidden |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hidden_labels(carriers: NDArray[np.int64], *, smallest: int) -> NDArray[np.bool_]:
    """Which outputs, (L,), must not be counted when `carriers` patients carry each of them."""
    return (carriers > 0) & (carriers < smallest)
