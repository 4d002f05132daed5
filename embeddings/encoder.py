"""Encoder, which turns text into vectors, and EncoderSpec, the public value that names one."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from embeddings.chunker import Chunker
from privacy.spec import Kind

Precision = Literal["auto", "float32", "bfloat16"]

Vectors = NDArray[np.float32]


class Encoder(Protocol):
    """A frozen text encoder, loaded.

    Attributes:
        dim: Width of its vectors.
        fingerprint: SHA-256 in hex of everything that the encoder *is*: weights, tokenizer,
            pooling, normalisation. Not of the device or number format it runs in.
        weights: SHA-256 in hex of the weights alone; names its conformance references.
        max_tokens: Longest text it reads, in its own tokens without special ones.
        device: Where it computes, as torch calls it.
    """

    dim: int
    fingerprint: str
    weights: str
    max_tokens: int
    device: str

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token of the text."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One vector of unit length per text, float32, shape (N, D)."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What a site knows of encoders and a study does not: private, never sent.

    Attributes:
        paths: Folder of a model by the name that studies call it.
        folders: Whether a study may name a folder of this machine. Off at real sites: whether a
            folder is there would be told to whoever asks.
        hub: Whether the Hugging Face hub may be asked for a model that is not here.
        device: `auto`, `cpu`, `cuda`, ...; `auto` takes a GPU where there is one.
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 where the device computes in it.
            The conformance probe holds either way.
        batch: Texts encoded at a time.
    """

    paths: Mapping[str, Path] = field(default_factory=dict)
    folders: bool = False
    hub: bool = False
    device: str = "auto"
    precision: Precision = "auto"
    batch: int = 16


class EncoderSpec(Kind):
    """Names an encoder in a study. Other packages add kinds under `fedward.encoders`.

    Attributes:
        dim: Width of its vectors; public, so that a plan needs no weights. Checked on loading.
    """

    dim: Annotated[int, Field(ge=1, le=16384)]

    @abstractmethod
    def fingerprint(self, settings: EncoderSettings) -> str:
        """The fingerprint of what `load` would give, from files alone: no model is loaded.

        Raises:
            EncoderDiffers: It cannot be found here, or is not what the study names.
        """

    @abstractmethod
    def load(self, settings: EncoderSettings) -> Encoder:
        """The encoder, ready to use.

        Raises:
            EncoderDiffers: It cannot be found here, or is not what the study names.
        """


def identity(fingerprint: str, chunker: Chunker) -> str:
    """What vectors of this encoder and chunking are filed under: SHA-256 in hex.

    Two sites train together only where this is the same.
    """
    return hashlib.sha256(f"{fingerprint}/{chunker.content_hash()}".encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
