"""SealedFile: bytes on the disk that nobody else reads, for as long as a source is read."""

from __future__ import annotations

import os
import tempfile
from typing import Self

from privacy.errors import SourceBroken


class SealedFile:
    """A temporary file without a name; a context manager.

    It is gone with the process however that ends. Each piece is sealed (AES-256-GCM) with a key
    that is held in memory only.

    Guarantees:
        A piece is given only to whom it was kept for.
    """

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._file = tempfile.TemporaryFile(prefix="fedward-")  # noqa: SIM115 - whoever closes this closes it
        self._cipher = AESGCM(AESGCM.generate_key(bit_length=256))
        self._end = 0

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the file."""
        self._file.close()

    def keep(self, piece: bytes, owner: bytes = b"") -> tuple[int, int]:
        """Adds a piece; where it starts, and its length there.

        Raises:
            SourceBroken: The temporary disk is full.
        """
        start = self._end
        sealed = self._cipher.encrypt(_once(start), piece, owner)
        try:
            self._file.write(sealed)
        except OSError as error:
            raise _full(error) from None
        self._end += len(sealed)
        return start, len(sealed)

    def get(self, start: int, length: int, owner: bytes = b"") -> bytes:
        """A piece that was kept.

        Raises:
            SourceBroken: The temporary disk is full, or the piece was kept for somebody else: the
                source changed while it was read.
        """
        from cryptography.exceptions import InvalidTag

        try:
            self._file.flush()
        except OSError as error:
            raise _full(error) from None
        sealed = os.pread(self._file.fileno(), length, start)
        try:
            return self._cipher.decrypt(_once(start), sealed, owner)
        except InvalidTag:
            raise SourceBroken("a table of notes changed while it was read; read it anew") from None


def _once(start: int) -> bytes:
    """A nonce: no two pieces start at one place, because a sealed one is never empty."""
    return start.to_bytes(12)


def _full(error: OSError) -> SourceBroken:
    return SourceBroken(
        f"there is no room for the notes in {tempfile.gettempdir()} ({error.strerror}); "
        "point TMPDIR to a disk that has it"
    )
