"""The same patients as three hospitals would have them: JSON lines, OMOP in PostgreSQL, FHIR."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomli_w
from fhir_writer import write_fhir
from omop_tables import READ_BACK, fill
from postgres import Server

from client.sources.jsonl import Jsonl
from client.sources.source import Attrition
from tasks.records import Patient

Line = dict[str, Any]
Write = Callable[[list[Line], Path], Path]
"""Writes patients below a folder; the file for `fedward site init --source-table`."""


def as_jsonl(lines: list[Line], folder: Path) -> Path:
    """JSON lines."""
    (folder / "notes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return _table(folder, {"kind": "jsonl", "paths": [str(folder / "notes.jsonl")]})


def as_fhir(lines: list[Line], folder: Path) -> Path:
    """A bulk export."""
    write_fhir(_patients(lines, folder), folder / "export")
    return _table(folder, {"kind": "fhir", "folder": str(folder / "export")})


def as_omop(server: Server, database: str) -> Write:
    """Tables of a real PostgreSQL, read by a user who may only read, with a password in a file."""

    def write(lines: list[Line], folder: Path) -> Path:
        fill(server.create(database), _patients(lines, folder))
        password = folder / "password"
        password.touch(0o600)
        password.write_text(server.password + "\n")
        url = server.readable(database)
        return _table(folder, READ_BACK | {"url": url, "password_file": str(password)})

    return write


def _patients(lines: list[Line], folder: Path) -> list[Patient]:
    as_jsonl(lines, folder)
    source = Jsonl(paths=("notes.jsonl",))
    return list(source.patients(root=folder, attrition=Attrition()))


def _table(folder: Path, keys: dict[str, Any]) -> Path:
    path = folder / "source.toml"
    path.write_text(tomli_w.dumps({"source": keys}))
    return path
