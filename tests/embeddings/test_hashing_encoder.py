"""hashing: the encoder without weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from embeddings.encoder import EncoderSettings
from embeddings.encoders import ENCODERS
from embeddings.hashing import Hashing, HashingEncoder

ROOT = Path(__file__).parents[2]
PHRASE = "Acute kidney failure, kidney failure."


@given(st.lists(st.text(max_size=40), max_size=5), st.integers(1, 40))
def test_every_vector_has_unit_length_and_the_named_width(texts: list[str], dim: int):
    vectors = HashingEncoder(dim).encode(texts)
    assert vectors.shape == (len(texts), dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_golden_vector():
    # Signed counts 3, 1 and -1 of words and pairs; square-rooted, then of unit length.
    expected = [0.7745966, 0.4472136, 0, 0, 0, 0, 0, -0.4472136]
    np.testing.assert_allclose(HashingEncoder(8).encode([PHRASE])[0], expected, atol=1e-6)


def test_it_is_the_same_in_another_process_with_another_hash_seed():
    code = (
        "from embeddings.hashing import HashingEncoder as E;"
        f"print(E(64).encode([{PHRASE!r}]).tobytes().hex())"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == HashingEncoder(64).encode([PHRASE]).tobytes().hex()


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_a_text_is_encoded_alone_as_among_others(texts: list[str]):
    encoder = HashingEncoder(16)
    together = encoder.encode(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(encoder.encode([text])[0], vector)


@pytest.mark.parametrize("text", ["", " ", "...!"])
def test_a_text_without_words_is_the_first_unit_vector(text: str):
    assert HashingEncoder(4).encode([text]).tolist() == [[1, 0, 0, 0]]
    assert HashingEncoder(4).spans(text) == []


def test_no_texts_give_no_vectors():
    assert HashingEncoder(4).encode([]).shape == (0, 4)


def test_case_and_punctuation_do_not_matter_and_order_does():
    encoder = HashingEncoder(64)
    a, b, c = encoder.encode(["Chest pain", "CHEST, pain!", "pain chest"])
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_spans_are_the_words():
    assert HashingEncoder(4).spans("A1c 9.8%, Müller") == [(0, 3), (4, 5), (6, 7), (10, 16)]


def test_the_fingerprint_follows_the_width_and_is_known_without_loading():
    settings = EncoderSettings()
    small, large = Hashing(dim=8), Hashing(dim=9)
    assert small.fingerprint(settings) == small.load(settings).fingerprint
    assert small.fingerprint(settings) != large.fingerprint(settings)
    assert small.fingerprint(settings) == (
        "53fc062787621634188daefb2564f93d1912ea94bfbdbdbba90128e121a6f0f5"
    )
    assert small.load(settings).dim == 8


@pytest.mark.parametrize("dim", [0, -1, 16385])
def test_a_width_out_of_range_is_refused(dim: int):
    with pytest.raises(ValidationError, match="dim"):
        Hashing(dim=dim)


def test_a_study_may_name_it():
    assert ENCODERS.parse({"kind": "hashing", "dim": 8}) == Hashing(dim=8)
