"""Complaints: what is said of a file that DuckDB cannot read, whose own words repeat values."""

from __future__ import annotations

import gzip
import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal, cast

from privacy.errors import SourceBroken

Encoding = Literal["utf-8", "latin-1"]

LONGEST_LINE = 48 * 1024 * 1024
"""Bytes of one record of a CSV file, of which a note of 10 MB is a small part."""

# Each stands at the beginning of a line of DuckDB's, so that a note that says the same is no match
# but by ill luck, and then the error is still refused, in other words.
_ENCODING = r"^(Invalid unicode|Invalid Input Error: File is not \S+ encoded)"
_REASONS = (
    (_ENCODING, "is not in the encoding that site.toml says; set encoding"),
    (r"^Expected Number of Columns", "has a field too many or too few; mend the row or delimiter"),
    (r"^Value with unterminated quote", "has a quote that does not end; double those inside"),
    (r"^Maximum line size", f"its row has more than {LONGEST_LINE // 2**20} MiB; a quote is lost"),
    (
        r"^Invalid Input Error: The CSV Parser state machine",
        "ends some lines otherwise than others, or has a quote out of place; write it anew",
    ),
)
_NOT_LATIN = re.compile(rb"[\x80-\x9f]")
"""Windows-1252 has quotes and the euro sign there, latin-1 has control characters."""

_FOREIGN = (
    (rb"PK\x03\x04", "is a workbook (.xlsx) or another zip; save its sheet as CSV in UTF-8"),
    (rb"\xd0\xcf\x11\xe0", "is an old workbook (.xls); save its sheet as CSV in UTF-8"),
    (rb"PAR1", 'is Parquet; say kind = "parquet"'),
    (rb"\x1f\x8b", "is gzipped (once more); let its name end in .gz, or unpack it"),
    (rb"\xff\xfe|\xfe\xff|[^\0]\0|\0[^\0]", "is UTF-16; save it in UTF-8"),
)
"""How files begin that are no text in any encoding that can be declared."""


def complaint(error: Exception, files: dict[Path, Encoding | None]) -> SourceBroken:
    """What to say of an error of DuckDB's: file, line and what to do.

    Args:
        error: Its own.
        files: Those that were being read, and the encoding of each; None of Parquet files.
    """
    text = str(error)
    found = _mentioned(text, list(files))
    if re.search(_ENCODING, text, re.MULTILINE):
        try:
            for file in found:
                refuse_encoding(file, files[file])
        except SourceBroken as better:
            return better
    return SourceBroken(_said(text, found, type(error).__name__))


def refuse_foreign(path: Path) -> None:
    """Looks at how a file begins, gunzipped where its name ends in `.gz`.

    Raises:
        SourceBroken: It is a workbook, Parquet, gzipped or UTF-16, which are no text as declared.
    """
    with suppress(OSError, EOFError, zlib.error), unpacked(path) as file:
        beginning = file.read(4)
        for pattern, said in _FOREIGN:
            if re.match(pattern, beginning, re.DOTALL):
                raise SourceBroken(f"{path.name}: {said}")


def refuse_encoding(path: Path, encoding: Encoding | None) -> None:
    """Looks through a file for the first line that is not in its encoding.

    Raises:
        SourceBroken: There is one.
    """
    if encoding is None:
        return
    refuse_foreign(path)
    with suppress(OSError, EOFError, zlib.error), unpacked(path) as file:
        for number, line in enumerate(file, 1):
            decoded(line, f"{path.name} line {number}", encoding)


def decoded(line: bytes, place: str, encoding: Encoding) -> str:
    """A line of a file in its encoding.

    Raises:
        SourceBroken: It is in another one; names the place only.
    """
    if encoding == "latin-1" and not _NOT_LATIN.search(line):
        return line.decode("latin-1")
    utf8 = _utf8(line)
    if encoding == "latin-1":
        cp1252 = "convert it from windows-1252 to utf-8"
        other = cp1252 if utf8 is None else 'set encoding = "utf-8"'
        raise SourceBroken(f"{place}: is not latin-1; {other}")
    if utf8 is None:
        raise SourceBroken(f'{place}: is not utf-8; set encoding = "latin-1", or convert it')
    return utf8


def unpacked(path: Path) -> IO[bytes]:
    """A file open for reading, gunzipped where its name ends in `.gz`."""
    return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _utf8(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _mentioned(text: str, files: list[Path]) -> list[Path]:
    """The files that an error may be about: the one in its list of settings, else all."""
    named = re.findall(r"^ {2}file = (.+)$", text, re.MULTILINE)
    found = [file for file in files if named and str(file) == named[-1]]
    found = found or [file for file in files if str(file) in text]
    return found or files


def _said(text: str, files: list[Path], kind: str) -> str:
    name = files[0].name if len(files) == 1 else "one of the files"
    # Only what stands before the first value that DuckDB repeats.
    line = re.match(r"[A-Za-z ]+: CSV Error on Line: (\d+)\n", text)
    where = f"{name} line {line[1]}" if line else name
    if kind in ("OutOfMemoryException", "MemoryError"):
        return f"{where}: there is not enough memory or temporary disk to sort it"
    for pattern, said in _REASONS:
        if re.search(pattern, text, re.MULTILINE):
            return f"{where}: {said}"
    return f"{where}: cannot be read as a table ({kind}); write it anew"
