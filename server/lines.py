"""Files of JSON lines that one process adds to and others read, also across crashes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from privacy.files import sync_folder


class LineWriter:
    """Adds lines to a file, each on disk before `write` returns.

    A line that a crash cut short is taken off when the file is opened again: nobody has read it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab+")
        self._cut()
        sync_folder(path.parent)

    def write(self, line: dict[str, Any]) -> None:
        """Adds one line.

        Raises:
            ValueError: A number is not finite; JSON has no such numbers.
        """
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _cut(self) -> None:
        self._file.seek(0)
        whole = sum(len(line) for line in self._file if line.endswith(b"\n"))
        self._file.truncate(whole)


class Follower:
    """Reads the whole lines of a file that somebody else is writing, each once.

    Attributes:
        read: Bytes of it that were read.
    """

    def __init__(self, path: Path, *, read: int = 0) -> None:
        self._path = path
        self.read = read

    def events(self) -> Iterator[dict[str, Any]]:
        """The whole lines since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self.read)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # half written; read it next time
                self.read += len(line)
                yield json.loads(line)
