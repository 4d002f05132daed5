"""Stores of vectors, filled by an encoder that says what it was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.chunker import Chunker
from embeddings.hashing import HashingEncoder
from embeddings.store import VectorStore, embed

CHUNKER = Chunker(tokens=2, stride=2)
IDENTITY = "f" * 64
SECRET = b"s" * 32


class Counting(HashingEncoder):
    """The hashing encoder, with what it was asked for."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__(dim)
        self.asked: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        return super().encode(texts)

    @property
    def chunks(self) -> list[str]:
        return [chunk for texts in self.asked for chunk in texts]


def opened(
    folder: Path, *, identity: str = IDENTITY, dim: int = 8, secret: bytes = SECRET, **more: Any
):
    return VectorStore(
        folder / "vectors.sqlite",
        key_file=folder / "store.key",
        identity=identity,
        dim=dim,
        secret=secret,
        **more,
    )


def filled(store: VectorStore, texts: Sequence[str], *, batch: int = 256) -> tuple[int, Counting]:
    encoder = Counting()
    return embed(texts, store=store, encoder=encoder, chunker=CHUNKER, batch=batch), encoder


def right(store: VectorStore, text: str) -> bool:
    """Whether the store holds this text's vectors and no others."""
    encoder = HashingEncoder(8)
    expected = encoder.encode(CHUNKER.chunks(text, encoder.spans))
    return np.array_equal(store.get(store.key(text)), expected)
