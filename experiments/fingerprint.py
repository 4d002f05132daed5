"""The fingerprint of the code that makes a result."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from privacy.fingerprint import code_fingerprint


@cache
def results_fingerprint() -> str:
    """SHA-256 over `privacy.fingerprint` and the sources of this floor that train baselines, score
    and resample: those beside this file. What is kept of other code is not mixed with results of
    this one.
    """
    digest = hashlib.sha256(code_fingerprint().encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
