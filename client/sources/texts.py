"""Texts: long texts on disk, sealed, found again by number.

DuckDB cannot sort rows of 10 kB in bounded memory, so tables are sorted without their texts, and
these are fetched from here.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from typing import Self

from privacy.errors import SourceBroken


class Texts:
    """Texts in the order in which they came; a context manager.

    The file has no name, so it is gone with the process however that ends. Each text is sealed
    (AES-256-GCM) with a key that is held in memory only.

    Guarantees:
        A text is given only to whom it was kept for.
    """

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._file = tempfile.TemporaryFile(prefix="fedward-")  # noqa: SIM115
        self._cipher = AESGCM(AESGCM.generate_key(bit_length=256))
        self._ends = array("Q", [0])

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the file."""
        self._file.close()

    def keep(self, text: str | None, owner: str) -> None:
        """Adds a text; the first is number 1.

        Raises:
            SourceBroken: The temporary disk is full.
        """
        number = len(self._ends)
        sealed = b""
        if text:
            sealed = self._cipher.encrypt(_once(number), text.encode(), owner.encode())
        try:
            self._file.write(sealed)
        except OSError as error:
            raise SourceBroken(
                f"there is no room for the notes in {tempfile.gettempdir()} ({error.strerror}); "
                "point TMPDIR to a disk that has it"
            ) from None
        self._ends.append(self._ends[-1] + len(sealed))

    def get(self, number: int, owner: str) -> str | None:
        """A text; None where there was none.

        Raises:
            SourceBroken: It was kept for somebody else: the file changed while it was read.
        """
        from cryptography.exceptions import InvalidTag

        start, end = self._ends[number - 1], self._ends[number]
        if start == end:
            return None
        self._file.flush()
        sealed = os.pread(self._file.fileno(), end - start, start)
        try:
            return self._cipher.decrypt(_once(number), sealed, owner.encode()).decode()
        except InvalidTag:
            raise SourceBroken("a table of notes changed while it was read; read it anew") from None


def _once(number: int) -> bytes:
    return number.to_bytes(12)
