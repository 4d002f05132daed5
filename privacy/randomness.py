"""Streams of random numbers for sampling and noise.

Guarantees:
    A stream's whole state (624 words of 32 bits) is filled, from the operating system's
    generator or by SHAKE-256 from a name, so that streams differ wherever their sources do.
    `torch.Generator.manual_seed` keeps only the low 32 bits of a seed: a release could be
    searched for its seed in minutes, and 2^16 charges would share one by chance.
Not guaranteed:
    The stream itself is PyTorch's Mersenne Twister, which is not cryptographic.
"""

from __future__ import annotations

import hashlib
import secrets

import numpy as np
import torch

WORDS = 624
# Of PyTorch's CPU generator: seed (8 bytes), counters (16), then a 64-bit slot for each word.
OFFSET = 24


def stream(name: str | None = None) -> torch.Generator:
    """A CPU generator.

    Args:
        name: The same name gives the same stream, for simulations; None takes fresh words from
            the operating system.
    """
    size = WORDS * 4
    filling = (
        secrets.token_bytes(size) if name is None else hashlib.shake_256(name.encode()).digest(size)
    )
    words = np.frombuffer(filling, dtype="<u4").astype("<u8")
    words[0] |= 0x80000000  # as seeding does: a state of zeros would stay there for ever
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state().numpy().copy()
    state[OFFSET : OFFSET + WORDS * 8] = words.view(np.uint8)
    generator.set_state(torch.from_numpy(state))
    return generator
