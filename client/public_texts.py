"""Vectors of public texts, kept in this process: what a study's outputs mean is the same at each
simulated site, and there may be thousands of them. A deployed site is alone in its process.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from embeddings.store import Key, VectorStore

MOST = 100_000
"""Texts that are kept; beyond, they are embedded again."""

_KEPT: dict[tuple[str, int, str], NDArray[np.float32]] = {}


def give(texts: Iterable[str], store: VectorStore, *, missing: set[Key]) -> set[Key]:
    """Puts the texts that this process knows into a store.

    Args:
        texts: Public ones.
        store: Of the same encoder and chunker as they were kept from, or it gets none.
        missing: What the store lacks.

    Returns:
        What it still lacks.
    """
    found = {
        key: _KEPT[_name(store, text)]
        for text in texts
        if (key := store.key(text)) in missing and _name(store, text) in _KEPT
    }
    if found:
        store.put(found)
    return missing - found.keys()


def keep(texts: Iterable[str], store: VectorStore) -> None:
    """Keeps the vectors of public texts that are in a store."""
    for text in texts:
        if len(_KEPT) >= MOST:
            return
        if _name(store, text) not in _KEPT and (key := store.key(text)) in store:
            _KEPT[_name(store, text)] = store.get(key)


def _name(store: VectorStore, text: str) -> tuple[str, int, str]:
    return store.identity, store.dim, text
