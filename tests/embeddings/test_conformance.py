"""Conformance: a model that gives other vectors than elsewhere is refused, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from minilm import CPU, SENTENCE, SPEC, Variant, at, read

from embeddings import conformance
from embeddings.encoder import Encoder
from embeddings.hashing import HashingEncoder
from embeddings.presets import MINILM_SHA256
from embeddings.sentence_transformer import LoadedSentenceTransformer
from privacy.errors import EncoderDiffers


class Altered:
    """An encoder whose vectors are altered on the way out."""

    def __init__(self, encoder: Encoder, alter: Callable[[np.ndarray], np.ndarray]) -> None:
        self.dim, self.weights = encoder.dim, encoder.weights
        self.fingerprint, self.max_tokens = encoder.fingerprint, encoder.max_tokens
        self.spans = encoder.spans
        self._encode, self._alter = encoder.encode, alter

    def encode(self, texts: Any) -> np.ndarray:
        return self._alter(self._encode(texts))


def test_it_conforms_in_float32(encoder: Encoder):
    cosine = conformance.check(encoder)
    assert cosine is not None
    assert 0.99999 < cosine <= 1 + 1e-6


def test_it_conforms_in_bfloat16():
    half = SPEC.load(replace(CPU, precision="bfloat16"))
    assert isinstance(half, LoadedSentenceTransformer)
    assert {str(value.dtype) for value in half.model.parameters()} == {"torch.bfloat16"}
    assert half.encode([SENTENCE]).dtype == np.float32
    cosine = conformance.check(half)
    assert cosine is not None
    assert 0.999 <= cosine < 0.999999


def test_pooling_the_first_token_does_not_conform(variant: Variant, packaged: Path):
    pooling = read(packaged, "1_Pooling/config.json")
    pooling |= {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    first = SPEC.load(at(variant({"1_Pooling/config.json": pooling})))
    with pytest.raises(EncoderDiffers, match=r"cosine 0\.\d{4}, at least 0\.999 needed"):
        conformance.check(first)


def one_wrong(vectors: np.ndarray) -> np.ndarray:
    vectors[7] = vectors[6]
    return vectors


def nan_somewhere(vectors: np.ndarray) -> np.ndarray:
    vectors[3, 5] = np.nan
    return vectors


@pytest.mark.parametrize(
    "alter",
    [lambda v: np.roll(v, 1, axis=1), lambda v: -v, one_wrong, nan_somewhere],
    ids=["permuted", "negated", "one-sentence", "nan"],
)
def test_altered_vectors_do_not_conform(
    encoder: Encoder, alter: Callable[[np.ndarray], np.ndarray]
):
    with pytest.raises(EncoderDiffers, match="the encoder's vectors of the test sentences"):
        conformance.check(Altered(encoder, alter))


def test_the_least_cosine_is_that_of_the_worst_sentence(encoder: Encoder):
    reference = conformance.references(MINILM_SHA256)
    assert reference is not None
    assert reference.shape == (len(conformance.SENTENCES), 384)
    expected = float(reference[7] @ reference[6])
    found = conformance.least_cosine(Altered(encoder, one_wrong), reference)
    assert found == pytest.approx(expected, abs=1e-4)


def test_weights_without_references_are_not_judged():
    assert conformance.references("0" * 64) is None
    assert conformance.check(HashingEncoder(8)) is None
