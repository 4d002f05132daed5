"""The encoders that a study may name."""

from __future__ import annotations

from typing import Annotated

from embeddings.encoder import EncoderSpec
from embeddings.hashing import Hashing
from embeddings.sentence_transformer import SentenceTransformerSpec
from privacy.spec import Registry

ENCODERS: Registry[EncoderSpec] = Registry(
    "fedward.encoders",
    EncoderSpec,  # type: ignore[type-abstract]  # mypy asks for a concrete one
    Hashing,
    SentenceTransformerSpec,
)

AnyEncoder = Annotated[EncoderSpec, ENCODERS]
