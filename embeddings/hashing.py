"""hashing: an encoder without weights, for tests and for trying things out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from embeddings.encoder import Encoder, EncoderSettings, EncoderSpec, Vectors

_WORD = re.compile(r"\w+", re.UNICODE)


class HashingEncoder:
    """Signed feature hashing of lower-case words and word pairs (Weinberger et al. 2009,
    arXiv:0902.2206), square-rooted counts, unit length. See `Encoder`.
    """

    max_tokens = 100_000
    device = "cpu"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.fingerprint = hashlib.sha256(f"hashing/1/{dim}".encode()).hexdigest()
        self.weights = self.fingerprint

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Encoder.spans`: words."""
        return [match.span() for match in _WORD.finditer(text)]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode`. A text without words gives the first unit vector."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            words = [match.group().lower() for match in _WORD.finditer(text)]
            for feature in [*words, *map(" ".join, pairwise(words))]:
                number = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest())
                row[(number >> 1) % self.dim] += 1 if number & 1 else -1
            if not row.any():
                row[0] = 1
        vectors = np.sign(vectors) * np.sqrt(np.abs(vectors))
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / norms, dtype=np.float32)


class Hashing(EncoderSpec):
    """Names the hashing encoder of a width."""

    kind: ClassVar[str] = "hashing"
    dim: Annotated[int, Field(ge=1, le=16384)] = 256

    def fingerprint(self, settings: EncoderSettings) -> str:
        """See `EncoderSpec.fingerprint`."""
        del settings
        return HashingEncoder(self.dim).fingerprint

    def load(self, settings: EncoderSettings) -> Encoder:
        """See `EncoderSpec.load`: nothing to find."""
        del settings
        return HashingEncoder(self.dim)
