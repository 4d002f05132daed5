"""The fingerprint of the code that runs at a site."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
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
    sources = [sorted((root / floor).rglob("*.py")) for floor in FLOORS]
    return fingerprint([*chain(*sources), *sorted(root.glob(DATA))], root=root)


def fingerprint(paths: Iterable[Path], *, root: Path, after: str = "") -> str:
    """SHA-256 over files in the order given, with their names and lengths.

    Args:
        paths: The files.
        root: Where their names start.
        after: Is hashed before them.
    """
    digest = hashlib.sha256(after.encode())
    for path in paths:
        name = path.relative_to(root).as_posix()
        content = path.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
