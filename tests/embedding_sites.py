"""A site that embeds apart from messages, as the tests ask and watch it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from site_app import ask

from client import cohort
from client.embed import Embedded, Embedder, due
from privacy import wire
from privacy.errors import SiteError
from privacy.fingerprint import code_fingerprint
from privacy.release import Request, RequestHeader
from tasks.study import Study

ROOT = Path(__file__).parents[1]
PREPARING = "StillPreparing: the site is preparing the study; it can be asked again"


class Kept:
    """A `Screen` that keeps what it is shown."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.seen: list[tuple[str, int, int]] = []
        self.made: list[Embedded] = []
        self.troubles: list[str] = []

    def begins(self, study: Study) -> None:
        self.begun.append(study.name)

    def progress(self, name: str, what: str, done: int, total: int) -> None:
        self.seen.append((what, done, total))

    def ended(self, one: Embedded) -> None:
        self.made.append(one)

    def trouble(self, reason: str) -> None:
        self.troubles.append(reason)


def asked(study: Study) -> RequestHeader:
    return RequestHeader(study=study.canonical(), code=code_fingerprint())


def toml(site) -> Path:
    return site.folder / "site.toml"


def hello(site, study: Study) -> str:
    """What a coordinator is told."""
    content = ask(wire.pack_request(Request(asked(study))), site=str(toml(site))).content
    try:
        return wire.unpack_hello(content).site
    except SiteError as refused:
        return str(refused)


def records(site) -> set[bytes]:
    with closing(sqlite3.connect(site.at(site.vectors))) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'record'").fetchone():
            return set()  # its file is there before its tables are
        return {key for (key,) in database.execute("SELECT key FROM record")}


def members(site, study: Study) -> int:
    return sum(map(len, cohort.load(site, study).members.values()))


def prepare_all(site, screen: Kept | None = None) -> list[Embedded]:
    embedder = Embedder(site, screen or Kept())
    return [embedder.prepare(digest) for digest in due(site)]


def in_a_process(code: str, *words: object, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **more,
    )
