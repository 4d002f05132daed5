"""Lines of JSON: each an object, of bounded length, in a declared encoding."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.sources.complaints import Encoding, decoded, refuse_foreign, unpacked
from privacy.errors import SourceBroken

LONGEST_LINE = 256 * 1024 * 1024
"""Bytes of a patient with all notes. A file that is one JSON array is one line."""


def tables(path: Path, encoding: Encoding) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's place and object; empty lines are passed over.

    Args:
        path: A file, gunzipped where its name ends in `.gz`.
        encoding: Of the file; another one is refused, not guessed.

    Raises:
        SourceBroken: The file cannot be read, or a line is too long, in another encoding or no
            JSON object; names the file and line only.
    """
    refuse_foreign(path)
    try:
        with unpacked(path) as file:
            lines = iter(lambda: file.readline(LONGEST_LINE + 1), b"")
            for number, raw in enumerate(lines, 1):
                place = f"{path.name} line {number}"
                if len(raw) > LONGEST_LINE:
                    raise SourceBroken(
                        f"{place}: is longer than {LONGEST_LINE >> 20} MB; write an object a line, "
                        "not an array"
                    )
                line = decoded(raw, place, encoding).removeprefix("\ufeff" if number == 1 else "")
                if line.strip():
                    yield place, _table(line, place)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceBroken(f"{path.name}: cannot be read ({type(error).__name__})") from None


def _table(line: str, place: str) -> dict[str, Any]:
    try:
        table = json.loads(line, object_pairs_hook=_once)
    except _Twice:
        raise SourceBroken(f"{place}: a key stands twice in an object; keep one") from None
    except (ValueError, RecursionError):  # not JSON, a number of 5,000 digits, 1,000 brackets
        raise SourceBroken(f"{place}: is not JSON; mend or remove the line") from None
    if not isinstance(table, dict):
        raise SourceBroken(f"{place}: must be a JSON object")
    if "\\ud" in line.lower():  # only an escape can write half of a surrogate pair
        try:
            json.dumps(table, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise SourceBroken(f"{place}: its text holds half a character; mend it") from None
    return table


class _Twice(Exception):
    """A key stands twice: the reader would keep the last and say nothing."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _Twice
    return table
