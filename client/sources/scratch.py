"""Scratch: a folder for what is spilled, which goes with the process that made it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

PREFIX = "fedward-tables-"


class Scratch:
    """A folder that only this user can open, until it is closed.

    What a killed process left is removed when the next folder is made.
    """

    def __init__(self) -> None:
        _remove_left()
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX)  # mode 0700
        self.path = Path(self._folder.name)
        self._lock = _locked(self.path)

    def close(self) -> None:
        """Removes it."""
        self._folder.cleanup()
        self._lock.close()


def _locked(folder: Path) -> IO[bytes]:
    """Shows, for as long as this process lives, that the folder is in use."""
    draft = folder / "lock.draft"
    file = draft.open("wb")
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    draft.rename(folder / "lock")
    return file


def _remove_left() -> None:
    """Removes the folders of processes that were killed; those of others stay."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)
