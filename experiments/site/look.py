"""A look at a site's own files: ledger, audit log, store, disk, approvals, the coordinator's CA.

What is found stays here: `StoreLook` has true numbers of notes.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta

from cryptography import x509

from client import approval
from client.site import Site
from client.statement import Account, account
from embeddings.store_file import in_use, size
from privacy.entries import Cohort
from privacy.errors import SiteError
from privacy.spec import Spec

GB = 1e9
LEAST_FREE = 1 * GB
"""Bytes of disk below which a site counts as ill: the ledger itself needs room."""
CA_ENDS_SOON = timedelta(days=30)


class Spent(Spec):
    """What was spent on one group of patients; None is infinite throughout.

    Attributes:
        spent: Epsilon.
        lifetime: Its ceiling.
        left: Up to the ceiling.
        delta: Of all three.
    """

    spent: float | None
    lifetime: float | None
    left: float | None
    delta: float


class LedgerLook(Spec):
    """The ledger.

    Attributes:
        intact: Whether the chain holds up to its mark.
        said: What is wrong; empty where nothing is.
        entries: Of all kinds.
        charges: Rounds that were charged, by cohort.
        waiting: Studies that await a decision: name and digest.
    """

    intact: bool = True
    said: str = ""
    entries: int = 0
    charges: Mapping[Cohort, int] = {}
    waiting: tuple[tuple[str, str], ...] = ()


class LogLook(Spec):
    """The audit log: whether its chain holds up to its mark, what is wrong, and its lines."""

    intact: bool = True
    said: str = ""
    lines: int = 0


class StoreLook(Spec):
    """The embedding store.

    Attributes:
        bytes: On the disk.
        quota: Bytes that it may take; None is no limit.
        texts: Notes, and meanings of outputs, in it; None where that cannot be told now.
    """

    bytes: int
    quota: int | None
    texts: int | None


def look_at_ledger(site: Site) -> LedgerLook:
    """Checks the whole chain."""
    try:
        entries = site.open_ledger().entries()
        waiting = tuple((study.name, study.digest) for study in approval.waiting(site))
    except (SiteError, OSError, ValueError, sqlite3.Error) as error:
        return LedgerLook(intact=False, said=_said(error))
    cohorts: tuple[Cohort, ...] = ("train", "heldout")
    return LedgerLook(
        entries=len(entries),
        charges={name: sum(entry.cohort == name for entry in entries) for name in cohorts},
        waiting=waiting,
    )


def look_at_epsilon(site: Site) -> Mapping[Cohort, Spent]:
    """What was spent by cohort: `train`, and `heldout` for tune and held-out patients together.

    Asks the accountants, which can take seconds. Empty where the ledger is not intact.
    """
    try:
        found = account(site, last=1)
    except (SiteError, OSError, ValueError, sqlite3.Error):
        return {}
    return {"train": _train(found), "heldout": _heldout(found)}


def look_at_log(site: Site) -> LogLook:
    """Checks the whole chain of the audit log."""
    try:
        return LogLook(lines=len(site.open_log().lines()))
    except (SiteError, OSError, ValueError) as error:
        return LogLook(intact=False, said=_said(error))


def look_at_store(site: Site) -> StoreLook:
    """The store's size and number of texts, without its key."""
    path = site.at(site.vectors)
    quota = None if site.quota_gb is None else int(site.quota_gb * GB)
    return StoreLook(bytes=size(path), quota=quota, texts=_texts(site))


def free_bytes(site: Site) -> int:
    """Free bytes where the site's files are."""
    return shutil.disk_usage(site.folder).free


def ca_ends(site: Site) -> datetime | None:
    """When the first certificate of the coordinator's CA file ends, UTC; None without one."""
    if site.coordinator is None:
        return None
    try:
        content = site.at(site.coordinator.ca).read_bytes()
        return min(c.not_valid_after_utc for c in x509.load_pem_x509_certificates(content))
    except (OSError, ValueError):
        return None


def ailments(
    *,
    ledger: LedgerLook,
    log: LogLook,
    free: int,
    ca: datetime | None,
    least_free: float = LEAST_FREE,
) -> list[str]:
    """What is wrong with a site's files, a sentence each; empty where nothing is."""
    found = []
    if not ledger.intact:
        found.append(f"the ledger is broken: {ledger.said}")
    if not log.intact:
        found.append(f"the audit log is broken: {log.said}")
    if free < least_free:
        found.append(
            f"the disk is nearly full: {free / GB:.2f} GB free, less than {least_free / GB:g} GB; "
            "make room"
        )
    if ca is not None and ca < datetime.now(UTC):
        found.append(f"the coordinator's CA ended on {ca:%Y-%m-%d}; ask for the new ca.crt")
    return found


def _texts(site: Site) -> int | None:
    path = site.at(site.vectors)
    if not path.exists():
        return 0
    try:
        # Never made, and never read while a purge has the store to itself. Not opened to read only:
        # such a connection leaves its log behind.
        with (
            in_use(path, wait=0),
            closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True)) as database,
        ):
            database.execute("PRAGMA query_only = ON")
            (found,) = database.execute("SELECT count(*) FROM record").fetchone()
    except (SiteError, OSError, sqlite3.Error):
        return None
    return int(found)


def _train(found: Account) -> Spent:
    return Spent(spent=found.spent, lifetime=found.lifetime, left=found.left, delta=found.delta)


def _heldout(found: Account) -> Spent:
    spent, lifetime = found.heldout_spent, found.heldout_lifetime
    left = None
    if lifetime is not None:
        left = 0.0 if spent is None else max(0.0, lifetime - spent)
    return Spent(spent=spent, lifetime=lifetime, left=left, delta=found.heldout_delta)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, SiteError | ValueError) else type(error).__name__
