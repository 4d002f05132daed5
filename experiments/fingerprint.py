"""The fingerprint of the code that makes a result."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from privacy.fingerprint import code_fingerprint, fingerprint


@cache
def results_fingerprint() -> str:
    """SHA-256 over `privacy.fingerprint` and the sources of this floor that train baselines, score
    and resample: those beside this file. What is kept of other code is not mixed with results of
    this one.
    """
    here = Path(__file__).parent
    return fingerprint(sorted(here.glob("*.py")), root=here, after=code_fingerprint())
