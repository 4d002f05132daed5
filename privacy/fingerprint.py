"""The fingerprint of the code that runs at a site."""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import chain
from pathlib import Path

FLOORS = ("privacy", "embeddings", "tasks", "client")
DATA = "embeddings/references/*.json"


@cache
def code_fingerprint() -> str:
    """SHA-256 over the sorted Python sources of the floors that run at a site, and their data.

    The two sides compare it: Flower's simulation can otherwise run another checkout's client
    without a word, and a site with another version would count or clip differently.
    The data are the encoders' reference vectors: a site that has others lets other encoders in.

    The folders are found beside this one, so that the server need not import the client.
    """
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    sources = [sorted((root / floor).rglob("*.py")) for floor in FLOORS]
    for path in [*chain(*sources), *sorted(root.glob(DATA))]:
        name = path.relative_to(root).as_posix()
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
