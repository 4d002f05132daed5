"""The ICD-10-CM table of the PyPI package `simple-icd-10-cm`, kept as the little that is asked.

The package parses 10 MB of XML when it is imported, 3 s of a CPU, and a site answers each message
in a new process. So the codes and their titles are kept in one file, made at first use: 0.1 s.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = "simple-icd-10-cm"
FOLDER = "FEDWARD_CACHE"
"""The environment's name for the folder of the file; otherwise it is `fedward` in the user's."""

Titles = dict[str, str]


@cache
def titles() -> Titles:
    """The title of every category and code, as printed (`E11.65`)."""
    path = _path()
    found = _read(path)
    if found is None:
        found = _made()
        with suppress(OSError):  # a folder that is not ours to write to: made again next time
            _write(path, found)
    return found


def _path() -> Path:
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedward"
    folder = Path(os.environ.get(FOLDER) or user)
    return folder / f"icd-10-cm-{metadata.version(PACKAGE)}.json"


def _made() -> Titles:
    with warnings.catch_warnings():
        # The package reads its data with functions of importlib.resources that are deprecated.
        warnings.simplefilter("ignore")
        import simple_icd_10_cm as table

    codes = table.get_all_codes(True)  # noqa: FBT003 - it means: with dots
    return {
        code: table.get_description(code)
        for code in codes
        if table.is_category(code) or table.is_subcategory(code)
    }


def _read(path: Path) -> Titles | None:
    """The kept table; None where there is none or it is not what was written."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest().encode() != digest:
        return None
    found: Titles = json.loads(content)
    return found


def _write(path: Path, table: Titles) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = json.dumps(table, separators=(",", ":")).encode()
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    draft.replace(path)
