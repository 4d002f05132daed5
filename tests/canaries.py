"""A planted patient, and the search for her in whatever was written or sent."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from builders import patient

CANARIES = ("Zebulon Quagmire", "MRN-4711-0815", "1931-07-19", "p-quagmire")


def with_canaries(number: int) -> dict[str, Any]:
    """A patient's line with all canaries: in each note and in the id."""
    name, record, born, identifier = CANARIES
    line = patient(number)
    line["id"] = f"{identifier}-{number}"
    for note in line["notes"]:
        note["text"] = f"{name}, {record}, born {born}. {note['text']}"
    return line


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every path below a folder, with its name and then its content."""
    for path in sorted(folder.rglob("*")):
        yield path, str(path).encode()
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


def found(content: bytes, words: Iterable[str] = CANARIES) -> list[str]:
    """The words that are in the content, in any case, in UTF-8, UTF-16, hex or base64."""
    lower = content.lower()
    return [word for word in words if any(form in lower for form in _forms(word))]


def assert_clean(where: object, content: bytes) -> None:
    """Fails where a canary is in the content."""
    assert not found(content), f"{found(content)} is in {where}"


def _forms(word: str) -> set[bytes]:
    plain = word.encode()
    forms = {plain, word.encode("utf-16-le"), plain.hex().encode()}
    for before in range(3):
        # What stands around the word decides its first and last letters in base64.
        coded = b64encode(b"x" * before + plain)
        forms.add(coded[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6])
    return {form.lower() for form in forms}
