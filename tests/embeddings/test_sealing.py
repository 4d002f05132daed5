"""A record opens as what it was sealed as, and as nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.sealing import Seal

KEY = b"k" * 32
IDENTITY = "f" * 64
VECTORS = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def seal(**changes: object) -> Seal:
    options = {"key": KEY, "identity": IDENTITY, "dim": 4} | changes
    return Seal(options.pop("key"), **options)


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_what_was_sealed_opens(chunks: int):
    record = seal().seal(b"note", VECTORS[:chunks])
    opened = seal().open(b"note", chunks, record)
    assert opened is not None
    assert opened.dtype == np.float32
    np.testing.assert_array_equal(opened, VECTORS[:chunks])
    assert VECTORS[0].tobytes() not in record


@given(place=st.integers(0, 12 + 48 + 15), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_found(place: int, bit: int):
    record = bytearray(seal().seal(b"note", VECTORS))
    record[place] ^= 1 << bit
    assert seal().open(b"note", 3, bytes(record)) is None


@pytest.mark.parametrize("cut", [0, 1, 12, 27, 28, 75, 77])
def test_a_record_of_another_length_is_found(cut: int):
    record = seal().seal(b"note", VECTORS) + b"\0"
    assert seal().open(b"note", 3, record[:cut]) is None


@pytest.mark.parametrize("chunks", [-1, 0, 1, 2, 4, 6, 2**40])
def test_another_number_of_chunks_is_found(chunks: int):
    assert seal().open(b"note", chunks, seal().seal(b"note", VECTORS)) is None


@pytest.mark.parametrize(
    "changes", [{"key": b"K" * 32}, {"identity": "e" * 64}, {"identity": "f" * 63}], ids=str
)
def test_another_key_or_identity_opens_nothing(changes: dict[str, object]):
    assert seal(**changes).open(b"note", 3, seal().seal(b"note", VECTORS)) is None


def test_another_width_of_the_same_size_opens_nothing():
    record = seal().seal(b"note", VECTORS)
    assert seal(dim=2).open(b"note", 6, record) is None
    assert seal(dim=6).open(b"note", 2, record) is None
    nothing = seal().seal(b"note", VECTORS[:0])
    assert seal(dim=5).open(b"note", 0, nothing) is None


def test_a_record_does_not_open_in_another_notes_place():
    record = seal().seal(b"note", VECTORS)
    assert seal().open(b"nota", 3, record) is None
    # Nor where the bytes beside it, run together, would read the same.
    assert seal(identity=IDENTITY + "n").open(b"ote", 3, record) is None


def test_a_record_of_another_format_opens_nothing(monkeypatch):
    record = seal().seal(b"note", VECTORS)
    monkeypatch.setattr("embeddings.sealing.FORMAT", 2)
    assert seal().open(b"note", 3, record) is None


def test_each_record_has_a_nonce_of_its_own():
    records = [seal().seal(b"note", VECTORS) for _ in range(100)]
    assert len({record[:12] for record in records}) == 100
    assert len({record[12:] for record in records}) == 100
