"""Streams of random numbers."""

from __future__ import annotations

import torch

from privacy.randomness import WORDS, stream


def draws(generator: torch.Generator) -> list[float]:
    return torch.randn(8, generator=generator).tolist()


def test_a_name_gives_its_stream_and_another_name_another():
    assert draws(stream("a/1")) == draws(stream("a/1"))
    assert draws(stream("a/1")) != draws(stream("a/2"))


def test_a_stream_without_a_name_cannot_be_repeated():
    assert draws(stream()) != draws(stream())


def test_the_whole_state_is_filled_and_not_32_bits_of_it():
    """`manual_seed` keeps 32 bits: the state of every stream it can give starts with a seed."""
    one, other = stream("x").get_state(), stream("y").get_state()
    words = [state[24 : 24 + WORDS * 8].numpy().view("<u8") for state in (one, other)]
    assert (words[0] != words[1]).sum() > WORDS - 3
    assert words[0].max() < 2**32
    seeded = torch.Generator().manual_seed(7).get_state()
    again = torch.Generator().manual_seed(7 + (77 << 32)).get_state()
    assert torch.equal(seeded[24:], again[24:])


def test_streams_are_uniform_and_normal():
    generator = stream("law")
    assert abs(torch.rand(100_000, generator=generator).mean() - 0.5) < 0.005
    normal = torch.randn(100_000, generator=generator)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
