"""A split as a file of ids: who is trained on, tuned on and held out, one patient a line."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from privacy.errors import SourceBroken
from tasks.records import Part

COLUMNS = ("id", "part")
PARTS: Mapping[str, Part] = {"train": "train", "tune": "tune", "heldout": "heldout"}


@dataclass(frozen=True, slots=True)
class SplitFile:
    """What such a file says.

    Attributes:
        parts: Of each patient, by id.
        sha256: Of the file's bytes, in hex: two runs with the same one had the same split.
    """

    parts: Mapping[str, Part]
    sha256: str


def read_split_file(path: Path) -> SplitFile:
    """Reads a split; once, as long as the file does not change.

    Raises:
        SourceBroken: It is not there or not such a file; names the line, never an id.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise SourceBroken(
            f"{path}: the split's file cannot be read ({type(error).__name__}); "
            "split.file is relative to data"
        ) from None
    return _read(path, state.st_mtime_ns, state.st_size)


def write_split_file(path: Path, parts: Mapping[str, Part]) -> None:
    """Writes a split, in order of id, whole or not at all."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows(sorted(parts.items()))
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    draft.write_bytes(text.getvalue().encode())
    draft.replace(path)


@lru_cache(maxsize=16)
def _read(path: Path, changed: int, size: int) -> SplitFile:
    del changed, size  # of the file that the kept answer is for
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SourceBroken(f"{path}: the split's file must be UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    parts: dict[str, Part] = {}
    try:
        if tuple(next(rows, ())) != COLUMNS:
            raise SourceBroken(f"{path}: line 1: must be the columns id,part")
        for row in rows:
            if not row:
                continue
            where = f"{path}: line {rows.line_num}"
            if len(row) != len(COLUMNS) or not row[0]:
                raise SourceBroken(f"{where}: must be an id and a part")
            if row[1] not in PARTS:
                raise SourceBroken(f"{where}: part must be one of {', '.join(PARTS)}")
            if row[0] in parts:
                raise SourceBroken(f"{where}: this id stood before; give each patient one part")
            parts[row[0]] = PARTS[row[1]]
    except csv.Error:
        raise SourceBroken(f"{path}: line {rows.line_num}: is not CSV") from None
    return SplitFile(parts, hashlib.sha256(data).hexdigest())
