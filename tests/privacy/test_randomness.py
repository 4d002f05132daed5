"""Streams of random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import ECB
from scipy import stats

from privacy import randomness
from privacy.randomness import Stream, stream


def draws(numbers: Stream) -> list[float]:
    return numbers.uniform(8).tolist()


def test_a_name_gives_its_stream_and_another_name_another():
    assert draws(stream("a/1")) == draws(stream("a/1"))
    assert draws(stream("a/1")) != draws(stream("a/2"))


def test_a_stream_without_a_name_cannot_be_repeated():
    assert draws(stream()) != draws(stream())


def test_a_stream_without_a_name_has_a_key_of_the_operating_systems(monkeypatch):
    asked = []
    monkeypatch.setattr(
        randomness.secrets, "token_bytes", lambda size: asked.append(size) or bytes(size)
    )
    assert draws(stream()) == draws(Stream(bytes(32)))
    assert asked == [32]


def test_the_bits_are_aes_of_a_counter():
    """Worked out the long way: each block is the counter, encrypted alone."""
    key = bytes(range(32))
    block = Cipher(AES256(key), ECB()).encryptor()  # noqa: S305 - of one block each
    blocks = b"".join(block.update(number.to_bytes(16)) for number in range(4))
    words = [int.from_bytes(blocks[at : at + 8], "little") >> 11 for at in range(0, 64, 8)]
    assert draws(Stream(key)) == [word / 2**53 for word in words]


def test_nothing_is_ever_given_twice():
    numbers = stream("once")
    seen = np.concatenate([numbers.uniform(1000), numbers.normal((1000,)).numpy()])
    seen = np.concatenate([seen, numbers.uniform(1000)])
    assert len(set(seen.tolist())) == 3000


def test_uniform_numbers_are_uniform_below_one():
    found = stream("law").uniform(200_000)
    assert found.min() >= 0
    assert found.max() < 1
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_normal_numbers_are_normal_to_their_tails():
    found = stream("law").normal((400_000,)).numpy()
    assert found.dtype == np.float64
    assert stats.kstest(found, "norm").pvalue > 1e-3
    assert abs(found.std() - 1) < 4 / math.sqrt(2 * len(found))
    assert abs((found**4).mean() - 3) < 4 * math.sqrt(96 / len(found))
    assert 4 < np.abs(found).max() < 7
    # No two are made of the same draws.
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 4 / math.sqrt(len(found))
    half = len(found) // 2
    assert abs(np.corrcoef(found[:half], found[half:])[0, 1]) < 4 / math.sqrt(half)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (3, 5), (2, 3, 7)])
def test_normal_numbers_come_in_any_shape(shape):
    assert stream("x").normal(shape).shape == torch.Size(shape)


def test_a_normal_number_is_half_the_sum_of_four_draws():
    """Holohan and Braghin (2021), arXiv:2107.10138: one draw's low bits give the sum away."""
    numbers = stream("four")
    by_hand = sum(numbers._box_muller(10) for _ in range(4)) / 2
    assert np.array_equal(stream("four").normal((10,)).numpy(), by_hand)


def test_large_draws_are_made_in_blocks(monkeypatch):
    monkeypatch.setattr(randomness, "BLOCK", 7)
    found = stream("x").normal((5, 6))
    assert len(set(found.flatten().tolist())) == 30


def test_the_logarithm_never_meets_zero(monkeypatch):
    numbers = stream("x")
    monkeypatch.setattr(Stream, "uniform", lambda self, count: np.zeros(count))
    assert torch.isfinite(numbers.normal((4,))).all()
