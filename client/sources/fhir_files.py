"""The files of a FHIR bulk export, line by line."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Self, cast

from client.sources.sealed_file import SealedFile
from privacy.errors import SourceBroken

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes of one resource."""

OPEN_FILES = 32


def files(folder: Path, kind: str) -> list[Path]:
    """The export's files of one resource type, by name: `Patient.ndjson`, `Patient.000.ndjson`,
    `1.Patient.ndjson`, each also with `.gz`.

    Raises:
        SourceBroken: The folder cannot be read.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise SourceBroken(f"{folder}: cannot be read ({type(error).__name__})") from None
    return [path for path in inside if kind in _stem(path).split(".")]


def state(folder: Path) -> str | None:
    """A hash of every file's path, size and time, of attached files too; None where the folder
    cannot be read.
    """
    found = []
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            try:
                file = path.stat()
            except OSError:
                found.append((str(path), 0, 0, 0))
            else:
                found.append((str(path), file.st_ino, file.st_size, file.st_mtime_ns))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest() if found else None


def lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Each line that is not blank: its number from 1, where it starts, and its bytes.

    Raises:
        SourceBroken: The file cannot be read, or a line is too long.
    """
    start = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
                if len(line) > LONGEST_LINE:
                    raise SourceBroken(
                        f"{path.name} line {number}: is longer than {LONGEST_LINE >> 20} MB; "
                        "keep large attachments in files of their own"
                    )
                if line.strip():
                    yield number, start, line
                start += len(line)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceBroken(f"{path.name}: cannot be read ({type(error).__name__})") from None


def resource(line: bytes, place: str) -> dict[str, Any]:
    """The resource of a line.

    Raises:
        SourceBroken: It is not UTF-8, not JSON, not an object, or holds half a character.
    """
    try:
        table = json.loads(line.decode("utf-8-sig"))
        if b"\\ud" in line.lower():
            json.dumps(table, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise SourceBroken(f"{place}: is not UTF-8, as FHIR must be") from None
    except UnicodeEncodeError:
        raise SourceBroken(f"{place}: its text holds half a character; mend it") from None
    except (ValueError, RecursionError):
        raise SourceBroken(f"{place}: is not JSON; mend or remove the line") from None
    if not isinstance(table, dict):
        raise SourceBroken(f"{place}: must be a JSON object")
    return table


def seekable(path: Path) -> bool:
    """Whether a line can be read again from where it starts."""
    return path.suffix != ".gz"


class Spool:
    """Keeps lines of gzipped files, which cannot be read again where they stand; a context manager.

    They lie packed in a `SealedFile`.
    """

    def __init__(self) -> None:
        self._sealed = SealedFile()

    def __enter__(self) -> Self:
        """Is open already."""
        return self

    def __exit__(self, *error: object) -> None:
        """Removes what was kept."""
        self._sealed.__exit__(*error)

    def keep(self, line: bytes) -> tuple[int, int]:
        """Keeps a line; gives where it starts and its length there.

        Raises:
            SourceBroken: There is no room for temporary files.
        """
        return self._sealed.keep(zlib.compress(line, 1))

    def line(self, start: int, length: int) -> bytes:
        """A line that was kept."""
        return zlib.decompress(self._sealed.get(start, length))


class Again:
    """Reads lines of plain files a second time; a context manager."""

    def __init__(self) -> None:
        self._held: dict[Path, IO[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Opens nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes what is open."""
        self._stack.close()

    def line(self, path: Path, start: int, length: int) -> bytes:
        """The bytes of a line.

        Raises:
            SourceBroken: The file is not there any more.
        """
        try:
            if path not in self._held:
                if len(self._held) >= OPEN_FILES:
                    self._stack.close()
                    self._held.clear()
                self._held[path] = self._stack.enter_context(path.open("rb"))
            file = self._held[path]
            file.seek(start)
            return file.read(length)
        except OSError as error:
            raise SourceBroken(f"{path.name}: cannot be read ({type(error).__name__})") from None


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name.removesuffix(".ndjson") if name.endswith(".ndjson") else ""


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", io.BufferedReader(cast("io.RawIOBase", gzip.open(path))))
    return path.open("rb")
