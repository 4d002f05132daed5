"""Purging: a study's, a patient's or all vectors leave the site's disk, with a proof.

Guarantees:
    - After a purge nothing of it is in the site's store, cohorts, heads, drafts or, of a study,
      kept releases: the raw bytes of the files are searched for the keys of what went, for
      samples of it and for the study's digest.
    - What another study or patient still needs stays, and studies prepared before go on. A head
      of the site's own goes whole with any patient who made it, because nobody can take one
      patient out of it; `fedward site personalise` makes it again from the others.
    - A purged patient is on the list of the withdrawn before anything is removed: no later
      prepare takes the patient in.
    - No purge goes on while a study is prepared or a round is under way, and no study is prepared
      and no round begins while a purge goes on: each waits; a purge and a prepare then say so.
    - A purged study is revoked before anything is removed: no later message prepares or trains
      it, until it is approved again.
    - Killed at any moment, a purge can be run again, and ends what was begun.
Not guaranteed:
    See `Proof`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import Timeout
from pydantic import AwareDatetime

from client import approval, cohort_file, final_weights, own_heads, wanted
from client import parts as split_parts
from client.site import Site
from client.withdrawn import keyed_hash, withdraw
from embeddings.erasure import Erased, Owners, erase, erase_all, search
from embeddings.store_file import lock_file, parts, purge_file
from privacy.errors import KeyBroken, SiteError, StoreBroken
from privacy.files import drafts, locked, remove
from privacy.keys import destroy_key
from privacy.spec import Spec

WAIT_SECONDS = 60.0


class Proof(Spec):
    """What a purge did, and what was looked for afterwards.

    It does not prove: that backups, snapshots of the file system or the blocks that the disk
    holds beside its files are empty; they may keep sealed vectors, which only the store's key
    opens, and keyed hashes. That a process which had read the vectors before has forgotten
    them. That a purged patient is out of the weights released before: what those may tell of
    the patient is bounded by the ledger, and stays. And it is not signed: it is worth as much as
    the site that shows it.

    Attributes:
        site: Whose.
        what: What was purged.
        study: Its digest, of a purge by study.
        patient: The keyed hash of the patient's id, in hex, of a purge by patient: only who has
            the site's key and the id can tell whose it is.
        at: When it was done, UTC.
        records: Notes whose vectors went in this run; None where the store's file could not be
            read any more before it was removed. After a purge that was stopped half way, the
            run that ends it counts what was left.
        kept: Notes of the study or patient that stay, because others have the same.
        releases: Releases that were kept for retries, of the study or all; those of a purged
            patient's studies stay, because they have left.
        revoked: Whether this took the study's approval back; False where that was done before,
            and of other purges.
        cohorts: Files of prepared studies that were removed, or that the patient was in.
        heads: Heads of the site's own that were removed: the study's, those that the patient had
            a part in, or all.
        key_destroyed: Whether the store's key is destroyed, and with it all that it sealed,
            wherever copies are.
        bytes_before: Of the store, the cohorts, the heads and the kept releases.
        bytes_after: Of the same.
        searched: Names of the files whose raw bytes were searched; of those that must not be
            there, the names looked for.
        needles: Byte strings searched for: keys, samples of sealed bytes, the owner's mark.
        found_before: How many of them the same search found before; it shows that the search
            can find them.
        remaining: How many of them it found afterwards; a purge that finds one gives no proof.
    """

    site: str
    what: Literal["study", "patient", "everything"]
    study: str | None = None
    patient: str | None = None
    at: AwareDatetime
    records: int | None
    kept: int = 0
    releases: int = 0
    revoked: bool = False
    cohorts: int
    heads: int = 0
    key_destroyed: bool = False
    bytes_before: int
    bytes_after: int
    searched: tuple[str, ...]
    needles: int = 0
    found_before: int = 0
    remaining: Literal[0] = 0


def purge_study(site: Site, digest: str) -> Proof:
    """Purges a study: its cohort, its kept releases, the vectors that no other study needs and
    its approval.

    Args:
        site: Whose.
        digest: The study's, 64 hex digits.

    Raises:
        ValueError: That is no digest.
        LedgerBroken: The approval cannot be taken back; nothing was purged.
        StoreBroken: Others use the store, it is damaged, or something was still found.
        StoreFull: There is no room to write the store's file anew.
    """
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("a study's digest is 64 hex digits")
    secret = _key(site, "vectors")
    with _alone(site):
        revoked = approval.revoke(site, digest)
        wanted.forget(site, digest)
        before = _bytes(site)
        folder = site.at(site.cohorts)
        cohorts = remove(folder / f"{digest}.jsonl")
        cohort_file.remove_drafts(folder)
        # Kept releases name their study in hex, the store in bytes.
        kept = search([*parts(site.at(site.releases)), *_heads(site)], {digest.encode()})
        releases = _forget(site, digest)
        heads = own_heads.forget(site, digest)
        final_weights.forget(site, digest)
        final_weights.remove_drafts(site)
        owners = Owners(study=bytes.fromhex(digest))
        erased = _with(erase(site.at(site.vectors), owners, secret=secret), digest.encode(), kept)
        searched = _search(site, erased.needles)
        return Proof(
            site=site.name,
            what="study",
            study=digest,
            releases=releases,
            revoked=revoked,
            cohorts=cohorts,
            heads=heads,
            bytes_before=before,
            bytes_after=_bytes(site),
            searched=searched,
            at=datetime.now(UTC),
            **_said(erased),
        )


def find_study(site: Site, start: str) -> str:
    """The digest of the one study at the site, prepared or waiting, that starts like this.

    Raises:
        SiteError: There is none, or several.
    """
    folders = (site.at(folder) for folder in (site.cohorts, site.studies, site.heads))
    names = {path.name.partition(".")[0] for folder in folders for path in folder.glob("*.*")}
    found = {
        name for name in names if re.fullmatch("[0-9a-f]{64}", name) and name.startswith(start)
    }
    if re.fullmatch("[0-9a-f]{64}", start):
        return start  # its files may be gone already, and its vectors not
    if len(found) != 1:
        which = "several studies" if found else "no study"
        raise SiteError(f"{which} at {site.name} with a digest that starts with {start!r}")
    return found.pop()


def purge_patient(site: Site, patient_id: str) -> Proof:
    """Withdraws a patient for good, from every study, and purges what is only this patient's.

    A patient whom the site does not know is put on the list as well; the proof counts nothing
    then, so a misspelt id shows.

    Args:
        site: Whose.
        patient_id: The source's own name for the patient; kept nowhere.

    Raises:
        KeyBroken: Without site.key nobody can tell which records are the patient's.
        SiteError: The list of the withdrawn, or of the parts, is damaged.
        StoreBroken: Others use the store, it is damaged, or something was still found.
        StoreFull: There is no room to write the store's file anew.
    """
    secret = _key(site, "vectors")
    patient = keyed_hash(patient_id, secret=_key(site, "patient"))
    with _alone(site):
        before = _bytes(site)
        withdraw(site, patient)
        split_parts.forget(site, patient)
        folder = site.at(site.cohorts)
        cohort_file.remove_drafts(folder)
        cohorts = sum(cohort_file.cut_out(path, patient) for path in cohort_file.files(folder))
        held = search(_heads(site), {patient})
        heads = own_heads.forget_patient(site, patient)
        final_weights.remove_drafts(site)
        erased = erase(site.at(site.vectors), Owners(patient=patient), secret=secret)
        erased = _with(erased, patient, held)
        searched = _search(site, erased.needles, site.at(site.parts))
        return Proof(
            site=site.name,
            what="patient",
            patient=patient.hex(),
            cohorts=cohorts,
            heads=heads,
            bytes_before=before,
            bytes_after=_bytes(site),
            searched=searched,
            at=datetime.now(UTC),
            **_said(erased),
        )


def purge_everything(site: Site) -> Proof:
    """Destroys the store's key, then removes the store, all cohorts, heads, drafts and kept
    releases.

    With the key goes all that it ever sealed, in copies and backups too. The list of the
    withdrawn, who was in which part of the split, the ledger and site.key stay, and with the
    ledger every approval; the next prepare begins a new store.

    Raises:
        StoreBroken: Others use the store, or something is still there.
    """
    with _alone(site):
        before = _bytes(site)
        folder, key = site.at(site.cohorts), site.at(site.store_key)
        destroy_key(key)
        releases = _forget(site)
        records = erase_all(site.at(site.vectors))
        cohorts = remove(*cohort_file.files(folder))
        cohort_file.remove_drafts(folder)
        remove(*parts(site.at(site.releases)))
        heads = len(own_heads.files(site))
        remove(*_heads(site))
        gone = [key, *parts(site.at(site.vectors)), *parts(site.at(site.releases))]
        left = [path for path in (key, *_files(site)) if path.exists()]
        if left:
            raise StoreBroken(f"{left[0].name} is still there; purge again")
        return Proof(
            site=site.name,
            what="everything",
            releases=releases,
            at=datetime.now(UTC),
            records=records,
            cohorts=cohorts,
            heads=heads,
            key_destroyed=True,
            bytes_before=before,
            bytes_after=_bytes(site),
            searched=(*(path.name for path in gone), f"{folder.name}/", f"{site.heads.name}/"),
        )


def _with(erased: Erased, mark: bytes, found: set[bytes]) -> Erased:
    """What was erased, with one more needle to look for and whether it was found before."""
    needles = erased.needles | {mark}
    return replace(erased, needles=needles, found_before=erased.found_before + len(found))


def _said(erased: Erased) -> dict[str, int]:
    return {
        "records": erased.records,
        "kept": erased.kept,
        "needles": len(erased.needles),
        "found_before": erased.found_before,
    }


@contextmanager
def _alone(site: Site) -> Iterator[None]:
    """Holds the site alone: no round, from before it reads until its release is kept, and nobody
    who has the store open. In the order in which a round takes the two locks; before them it says
    that it waits, for which `client.embed` lets go of the store.

    Raises:
        StoreBroken: Others hold one of them for longer than a minute.
    """
    with ExitStack() as held:
        try:
            waits = purge_file(site.at(site.vectors))
            held.enter_context(locked(waits, exclusive=True, wait=WAIT_SECONDS))
        except TimeoutError:
            raise StoreBroken(
                f"another purge goes on at {site.name}. Nothing was purged; purge again when that "
                "is done"
            ) from None
        try:
            held.enter_context(site.one_at_a_time().acquire(timeout=WAIT_SECONDS))
        except Timeout:
            raise StoreBroken(
                f"a round is running at {site.name}. Nothing was purged; purge again when that is "
                "done, or stop it"
            ) from None
        try:
            lock = lock_file(site.at(site.vectors))
            held.enter_context(locked(lock, exclusive=True, wait=WAIT_SECONDS))
        except TimeoutError:
            raise StoreBroken(
                f"{site.name}'s vectors are in use: a study is being prepared or a round reads "
                "them. Nothing was purged; purge again when that is done, or stop it"
            ) from None
        yield


def _forget(site: Site, study: str | None = None) -> int:
    """Lets go of what was kept for retries, and of what a mechanism remembered."""
    return site.open_releases().forget(study) if site.at(site.releases).exists() else 0


def _key(site: Site, purpose: str) -> bytes:
    """A key of the site's; unlike `Site.key` never of a new secret, which would know nobody."""
    if not site.at(site.secret).exists():
        raise KeyBroken(
            f"{site.secret.name} is missing: without it nobody can tell whose records are whose. "
            "Restore it from a backup, or purge everything"
        )
    return site.key(purpose)


def _files(site: Site) -> list[Path]:
    """What a purge answers for: the store's files, the kept releases, the cohorts, the heads, the
    drafts.
    """
    folder = site.at(site.cohorts)
    databases = [*parts(site.at(site.vectors)), *parts(site.at(site.releases))]
    found = [*databases, *cohort_file.files(folder), *drafts(folder), *_heads(site)]
    return [path for path in found if path.exists()]


def _heads(site: Site) -> list[Path]:
    """The federation's final weights, heads of the site's own, and their drafts."""
    folder = site.at(site.heads)
    return [*sorted(folder.glob("*.safetensors")), *drafts(folder)]


def _bytes(site: Site) -> int:
    return sum(path.stat().st_size for path in _files(site))


def _search(site: Site, needles: frozenset[bytes], *more: Path) -> tuple[str, ...]:
    """Searches the raw bytes of all files for the needles, and for their hex; the files' names.

    Raises:
        SiteError: One was found.
    """
    both = needles | {needle.hex().encode() for needle in needles}
    files = [*_files(site), *(path for path in more if path.exists())]
    for path in files:
        if search([path], both):
            raise SiteError(
                f"something of what was purged is still in {path.name}; purge again, and if it "
                "stays, purge everything"
            )
    return tuple(path.name for path in files)
