"""Releases kept for retries: the same question gets the same answer and spends nothing more.

Guarantees:
    - A release is filed under a hash of everything that was asked (study, round, weights,
      encoder, code), so it answers that question alone.
    - It is filed after it was charged and before it leaves. A crash in between leaves a
      charge without a release: the retry is charged again, never free.
    - What is kept is checked against its own hash when read; a damaged one counts as missing.
    - Nothing is kept that was not about to leave the site anyway, besides what the mechanism
      remembers (`Mechanism.fit`). The file has mode 0600; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from privacy.budget import Spend
from privacy.errors import SiteError
from privacy.files import connect, make_private
from privacy.ledger import Ledger, Receipt
from privacy.mechanism import Memory
from privacy.release import Release, ReleaseHeader, RequestHeader, Tally

# A coordinator goes on from its last checkpoint, so it asks for the round that it was in or the
# one before.
KEPT_ROUNDS = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS release (
    request TEXT PRIMARY KEY,
    study TEXT NOT NULL,
    round INTEGER NOT NULL,
    content BLOB NOT NULL,
    sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS memory (
    study TEXT NOT NULL,
    round INTEGER NOT NULL,
    numbers TEXT NOT NULL,
    PRIMARY KEY (study, round)
) STRICT;
"""


def question(
    kind: Literal["train", "evaluate"],
    header: RequestHeader,
    weights: Mapping[str, NDArray[np.float32]],
) -> str:
    """A hash of everything that was asked, in hex."""
    digest = hashlib.sha256(f"{kind}\n{header.canonical()}\n".encode())
    for name in sorted(weights):
        value = np.asarray(weights[name], dtype="<f4", order="C")
        digest.update(json.dumps([name, value.shape]).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


class Releases:
    """A site's last releases, in one SQLite file.

    Args:
        path: Made with mode 0600 if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_private(path)

    def get(self, request: str, *, ledger: Ledger) -> Release | None:
        """The answer to this very question, if it was given before.

        Args:
            request: From `question`.
            ledger: Must hold what the release says that it was charged.
        """
        with self._open() as database:
            row = database.execute(
                "SELECT content, sha256 FROM release WHERE request = ?", (request,)
            ).fetchone()
        if row is None or hashlib.sha256(row[0]).hexdigest() != row[1]:
            return None
        try:
            release = _read(row[0])
        except (ValueError, TypeError, KeyError, SafetensorError):
            return None
        receipts = [r for r in (release.receipt, release.tally_receipt) if r is not None]
        return release if ledger.holds(*receipts) else None

    def put(self, request: str, release: Release, *, memory: Memory) -> None:
        """Keeps a release, on disk before it returns; one with an update lets older rounds go."""
        header = release.header
        content = _written(release)
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(
                "INSERT OR REPLACE INTO release VALUES (?, ?, ?, ?, ?)",
                (
                    request,
                    header.study,
                    header.round,
                    content,
                    hashlib.sha256(content).hexdigest(),
                ),
            )
            if memory:
                database.execute(
                    "INSERT OR REPLACE INTO memory VALUES (?, ?, ?)",
                    (header.study, header.round, json.dumps(dict(memory))),
                )
            # An evaluation lets nothing go: it may be of any round.
            for table in ("release", "memory") if release.update else ():
                database.execute(
                    f"DELETE FROM {table} WHERE study = ? AND round <= ?",  # noqa: S608 - ours
                    (header.study, header.round - KEPT_ROUNDS),
                )
            database.execute("COMMIT")

    def memory(self, study: str, *, before: int) -> Memory:
        """What the mechanism remembered in the last kept round of a study before this one."""
        with self._open() as database:
            row = database.execute(
                "SELECT numbers FROM memory WHERE study = ? AND round < ?"
                " ORDER BY round DESC LIMIT 1",
                (study, before),
            ).fetchone()
        return {} if row is None else {str(k): float(v) for k, v in json.loads(row[0]).items()}

    def forget(self, study: str | None = None) -> int:
        """Lets go of every release of one study, or of all; returns how many."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM memory WHERE study = ? OR ? IS NULL", (study, study))
            gone = database.execute(
                "DELETE FROM release WHERE study = ? OR ? IS NULL", (study, study)
            ).rowcount
            database.execute("COMMIT")
            database.execute("PRAGMA temp_store = MEMORY")  # of VACUUM: no copy in another file
            database.execute("VACUUM")
            (busy, _, _) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise SiteError(f"{self.path.name} is in use; forget again when nothing runs")
        return gone

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(connect(self.path)) as database:
                database.execute("PRAGMA synchronous = FULL")
                database.execute("PRAGMA secure_delete = ON")
                database.executescript(_SCHEMA)
                yield database
        except sqlite3.DatabaseError as error:
            raise SiteError(
                f"{self.path.name} cannot be used: {error}. Nothing is charged while no release "
                "can be kept; without the file retries are charged again, nothing else is lost"
            ) from None


def _written(release: Release) -> bytes:
    """One safetensors file: arrays, and everything else as text in its metadata."""
    # Not `ascontiguousarray`: that makes a number an array of length 1.
    arrays: dict[str, NDArray[Any]] = {
        f"update/{name}": np.asarray(value, order="C") for name, value in release.update.items()
    }
    for tally in release.tallies:
        arrays[f"tally/{tally.name}"] = np.asarray(tally.sums, order="C")
    texts = {
        "header": release.header.canonical(),
        "order": json.dumps([list(release.update), [tally.name for tally in release.tallies]]),
        "receipt": _receipt_text(release.receipt),
        "tally_receipt": _receipt_text(release.tally_receipt),
    }
    return save(arrays, metadata=texts)


def _read(content: bytes) -> Release:
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    header = ReleaseHeader.model_validate_json(metadata["header"])
    arrays = load(content)
    updated, tallied = json.loads(metadata["order"])
    return Release(
        header=header,
        update={name: arrays[f"update/{name}"] for name in updated},
        tallies=tuple(
            Tally(name, arrays[f"tally/{name}"], header.patients[name]) for name in tallied
        ),
        receipt=_receipt(metadata["receipt"]),
        tally_receipt=_receipt(metadata["tally_receipt"]),
    )


def _receipt_text(receipt: Receipt | None) -> str:
    if receipt is None:
        return ""
    return json.dumps([receipt.id, receipt.cohort, receipt.attempt, receipt.spend.model_dump()])


def _receipt(text: str) -> Receipt | None:
    if not text:
        return None
    number, cohort, attempt, spend = json.loads(text)
    return Receipt(id=number, spend=Spend(**spend), cohort=cohort, attempt=attempt)
