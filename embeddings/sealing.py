"""How vectors lie on the disk: sealed with AES-256-GCM, one record at a time."""

from __future__ import annotations

import os
import struct

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from embeddings.encoder import Vectors
from privacy.keys import derive

FORMAT = 1
NONCE_BYTES = 12
TAG_BYTES = 16


class Seal:
    """Seals and opens the vectors of one encoder identity.

    Guarantees:
        - Nothing is learned from a record without the key but its number of bytes, which says
          how many chunks the note has.
        - A record opens only as what it was sealed as: identity, note, number of chunks, width
          and format are authenticated with it, so no record can stand in for another.
        - Each record has a fresh nonce of 96 random bits. NIST SP 800-38D, 8.3, allows 2**32
          records under one key; a store holds far fewer.
    Not guaranteed:
        An old record of the same note, put back, opens; it holds the same vectors.

    Args:
        key: The store's own, 32 bytes.
        identity: `embeddings.encoder.identity` of encoder and chunker.
        dim: D, the width of a vector.
    """

    def __init__(self, key: bytes, *, identity: str, dim: int) -> None:
        self._cipher = AESGCM(derive(key, "vectors"))
        self._identity, self._dim = identity.encode(), dim

    def seal(self, note: bytes, vectors: Vectors) -> bytes:
        """A record of a note's vectors, shape (C, D): nonce, ciphertext, tag."""
        nonce = os.urandom(NONCE_BYTES)
        plain = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
        return nonce + self._cipher.encrypt(nonce, plain, self._about(note, len(vectors)))

    def open(self, note: bytes, chunks: int, record: bytes) -> Vectors | None:
        """The vectors, float32, shape (C, D); None where the record is not what was sealed."""
        if chunks < 0 or len(record) != NONCE_BYTES + chunks * self._dim * 4 + TAG_BYTES:
            return None
        nonce, sealed = record[:NONCE_BYTES], record[NONCE_BYTES:]
        try:
            plain = self._cipher.decrypt(nonce, sealed, self._about(note, chunks))
        except InvalidTag:
            return None
        return np.frombuffer(plain, dtype="<f4").reshape(chunks, self._dim).astype(np.float32)

    def _about(self, note: bytes, chunks: int) -> bytes:
        """What is authenticated beside the vectors; lengths first, so that it reads one way."""
        sizes = struct.pack("<IIQI", FORMAT, self._dim, chunks, len(self._identity))
        return b"fedward vectors" + sizes + self._identity + note
