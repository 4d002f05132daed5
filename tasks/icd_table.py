"""The tables of ICD codes, kept as the little that is asked.

Making one (`tasks.icd_packages`) costs up to 3 s of a CPU, and a site answers each message in a new
process. So each system's table is kept in one file, made at first use and read in about 0.1 s.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from tasks import icd_names, icd_packages

FOLDER = "FEDWARD_CACHE"
"""The environment's name for the folder of the files; otherwise it is `fedward` in the user's."""

IcdSystem = Literal["icd-10-cm", "icd-10-pcs", "icd-9-cm", "icd-9-cm-procedures"]
"""Those of `tasks.records.System` that are of the ICD."""


@dataclass(frozen=True, slots=True)
class Table:
    """The codes of one system, as printed (`E11.65`).

    Attributes:
        titles: What each code means, in the table's order; in ICD-10-CM also what stands above
            full codes.
        groups: The same of categories and of what has one character more, where the table has
            no title of its own for them.
        blocks: The titles of blocks; none in ICD-9-CM's volume 3.
        chapters: The titles of chapters.
        places: In which chapter and block each category stands.
    """

    titles: dict[str, str]
    groups: dict[str, str]
    blocks: dict[str, str]
    chapters: dict[str, str]
    places: dict[str, tuple[str, str]]


@cache
def table(system: IcdSystem) -> Table:
    """A system's table."""
    found = _kept(system, icd_packages.MAKE[system])
    places = {category: (chapter, block) for category, (chapter, block) in found["places"].items()}
    return Table(**found | {"places": places})


@cache
def terms() -> dict[str, list[str]]:
    """Inclusion terms by code of ICD-10-CM; the packages have none for the other systems."""
    found: dict[str, list[str]] = _kept("icd-10-cm", icd_packages.ten_terms, what="-terms")
    return found


def release(system: IcdSystem) -> str:
    """The package that a system's table is made of, with its version."""
    package = icd_packages.PACKAGES[system]
    return f"{package} {metadata.version(package)}"


def _kept(system: IcdSystem, make: Any, *, what: str = "") -> Any:
    path = _path(f"{system}{what}", release(system).replace(" ", "-"))
    found = _read(path)
    if found is None:
        found = make()
        with suppress(OSError):  # a folder that is not ours to write to: made again next time
            _write(path, found)
    return found


def _path(name: str, release: str) -> Path:
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedward"
    folder = Path(os.environ.get(FOLDER) or user)
    return folder / f"{name}-{release}-{_ours()}.json"


@cache
def _ours() -> str:
    """Changes with the code that makes the tables, so that an older fedward's are not read."""
    read = hashlib.sha256()
    for module in (icd_names, icd_packages):
        read.update(Path(module.__file__ or "").read_bytes())
    return read.hexdigest()[:8]


def _read(path: Path) -> Any:
    """The kept table; None where there is none or it is not what was written."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return None
    return json.loads(content)


def _write(path: Path, table: Any) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = json.dumps(table, separators=(",", ":")).encode()
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    draft.replace(path)
