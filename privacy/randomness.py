"""Random numbers for sampling and noise, from a cryptographic generator.

Guarantees:
    - A stream is the key stream of AES-256 in counter mode (NIST SP 800-38A; the package
      `cryptography`, so OpenSSL). Whoever sees any number of its outputs and not the key cannot
      tell the rest from chance, nor take noise off a release.
    - In deployment the key is 32 bytes of the operating system's generator, fresh for each
      charge, and is forgotten with the stream. In simulations it is the SHA-256 of a name, so
      that a run can be repeated; whoever knows the name can take the noise off.
    - A normal number is half the sum of four independent ones, so that the low bits of a float
      do not give away what it was added to (Holohan and Braghin 2021, arXiv:2107.10138).
    - The same name gives the same numbers on every machine, up to the last bits of `log` and `cos`.

Why not a library's generator: PyTorch's and numpy's are not cryptographic, torchcsprng, which
Opacus would use, is not made for current versions of PyTorch, and numpy can be given another
source of bits only in C.
"""

from __future__ import annotations

import hashlib
import math
import secrets

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray
from torch import Tensor

# Numbers made at a time: keeps the memory of a large draw at a few megabytes.
BLOCK = 1 << 18


class Stream:
    """A stream of random numbers.

    Args:
        key: 32 bytes. Never used for anything else.
    """

    def __init__(self, key: bytes) -> None:
        self._bits = Cipher(AES256(key), CTR(bytes(16))).encryptor()

    def uniform(self, count: int) -> NDArray[np.float64]:
        """`count` numbers in [0, 1), each a multiple of 2^-53."""
        words = np.frombuffer(self._bits.update(bytes(8 * count)), "<u8")
        return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, shape: tuple[int, ...]) -> Tensor:
        """Independent standard normal numbers, float64."""
        count = math.prod(shape)
        made = np.empty(count)
        for start in range(0, count, BLOCK):
            size = min(BLOCK, count - start)
            made[start : start + size] = sum(self._box_muller(size) for _ in range(4)) / 2
        return torch.from_numpy(made).reshape(shape)

    def _box_muller(self, count: int) -> NDArray[np.float64]:
        """Box and Muller (1958), doi:10.1214/aoms/1177706645."""
        half = (count + 1) // 2
        # 1 - u lies in (0, 1], so that the logarithm is finite.
        radius = np.sqrt(-2 * np.log(1 - self.uniform(half)))
        angle = 2 * np.pi * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def stream(name: str | None = None) -> Stream:
    """A new stream.

    Args:
        name: The same name gives the same stream, for simulations; None takes a fresh key from
            the operating system.
    """
    if name is None:
        return Stream(secrets.token_bytes(32))
    return Stream(hashlib.sha256(f"fedward/stream/{name}".encode()).digest())
