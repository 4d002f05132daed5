"""The cohort of a study: who is in it, what they are labelled and which vectors are theirs.

Prepared once, when a study arrives, at a deployed site in a step of its own (`client.embed`): the
source is read, notes are chosen by the labels' times, what is not embedded yet is embedded, and
the result is written to one file at the site. Every round then reads that file and the store, so a
round needs neither the source nor the encoder.

The file holds keyed hashes, parts and the numbers of true outputs: no text, no id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from client import approval, cohort_file, parts, public_texts
from client.cohort_file import Cohort, Member, Stay
from client.site import Site
from client.sources.source import Attrition
from client.withdrawn import keyed_hash, withdrawn
from embeddings.encoder import Encoder, identity
from embeddings.store import NOBODY, Key, VectorStore
from embeddings.store_file import lock_file
from privacy.errors import EncoderDiffers, SiteError, SourceBroken
from privacy.files import locked, replacing
from tasks.bags import PatientBag
from tasks.heads.questions import Questions
from tasks.records import Part
from tasks.study import Study
from tasks.task import notes_for

__all__ = [
    "Cohort",
    "Load",
    "Progress",
    "bags",
    "cohort_path",
    "load",
    "load_encoder",
    "open_store",
    "prepare",
    "prepared",
    "question_vectors",
    "select",
]

OWNED_AT_A_TIME = 1000

Progress = Callable[[str, int, int], None]
"""(what, done, of how many); 0 of 0 where the number is not known yet."""

Load = Callable[[Site, Study], Encoder]
"""Gives a study's encoder, ready to use and checked."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A patient whom a study takes.

    Attributes:
        patient: The keyed hash of the id.
        part: Trained on, tuned on or held out.
        stays: For each labelled stay, its note texts and true outputs.
    """

    patient: bytes
    part: Part
    stays: list[tuple[list[str], tuple[int, ...]]]


def cohort_path(site: Site, study: Study) -> Path:
    """The file of a study's cohort."""
    return site.at(site.cohorts) / f"{study.digest}.jsonl"


def select(site: Site, study: Study, attrition: Attrition) -> Iterator[Chosen]:
    """Streams the study's patients, without those who are withdrawn."""
    number = {output: n for n, output in enumerate(study.outputs)}
    secret, hashing, gone = site.key("split"), site.key("patient"), withdrawn(site)
    root = site.at(site.data)
    for patient in site.source.patients(root=root, attrition=attrition):
        hashed = keyed_hash(patient.id, secret=hashing)
        if hashed in gone:
            attrition.add("patients withdrawn")
            continue
        stays = []
        for label in study.task.labels(patient, attrition.add):
            texts = [note.text for note in notes_for(patient, label, attrition.add)]
            if texts:
                stays.append((texts, tuple(sorted(number[name] for name in label.target))))
        if not stays:
            attrition.add("patients without a labelled stay")
            continue
        part = site.split.part(patient, secret=secret, root=root)
        if part is None:
            attrition.add("patients not in the split's file")
            attrition.add("stays of patients not in the split's file", number=len(stays))
            continue
        kept = stays[-study.bag.stays :]
        attrition.add("stays kept", number=len(kept))
        if len(stays) > len(kept):
            attrition.add("stays beyond the bag, the oldest", number=len(stays) - len(kept))
        yield Chosen(hashed, part, kept)


def load(site: Site, study: Study) -> Cohort:
    """Reads a prepared cohort.

    Raises:
        SiteError: The study was never prepared here, or its file is damaged.
    """
    return cohort_file.read(cohort_path(site, study))


def prepared(site: Site, study: Study) -> Cohort | None:
    """A study's cohort, where all of it is there; None where it is to be prepared.

    Every vector is opened, as each round does; neither source nor encoder is touched. Whether the
    source has changed since is not asked.

    Raises:
        SiteError: The site's split is no longer what it was, or its store cannot be used.
    """
    _same_split(site)
    try:
        cohort = load(site, study)
    except SiteError:  # not there, or to be prepared again
        return None
    members = (member for part in cohort.members.values() for member in part)
    keys = {key for member in members for stay in member for key in stay.notes}
    with open_store(site, study, known=cohort.identity) as store:
        return cohort if all(key in store for key in keys.union(*cohort.questions)) else None


def load_encoder(site: Site, study: Study) -> Encoder:
    """A study's encoder, which does here what it does elsewhere.

    Raises:
        EncoderDiffers: It cannot be found here, or is not the one that the study names.
    """
    from embeddings import conformance

    encoder = study.encoder.load(site.settings())
    conformance.check(encoder)
    return encoder


def prepare(
    site: Site,
    study: Study,
    *,
    progress: Progress = lambda *_: None,
    load: Load = load_encoder,
    share: bool = False,
) -> Attrition:
    """Reads the source, embeds what is missing or damaged and writes the cohort.

    Args:
        site: Whose patients.
        study: For which study.
        progress: Is told how far it is.
        load: Gives the encoder.
        share: Whether sites of this process embed public texts once for all (`public_texts`).

    The encoder is loaded only where something is missing. A round that runs meanwhile has the
    cohort of before or the new one, whole. For whom a note is kept is on disk
    before its vectors are, so that a purge finds also what a killed prepare has left.

    Raises:
        SiteError: The site's split is no longer what it was, or a purge goes on.
        StudyRefused: The study was purged, and so revoked, since it was admitted.
        SourceBroken: The source cannot be read, or puts a patient into another part of the split
            than in a study before.
        EncoderDiffers: The encoder is not the one that the study names.
        StoreFull: There is no room; what was embedded before stays.
    """
    _same_split(site)
    attrition = Attrition()
    path = cohort_path(site, study)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale_drafts(site)
    with open_store(site, study) as store, replacing(path) as file:
        # Once more: this may have waited for the purge of this very study.
        approval.refuse_revoked(study, site.open_ledger())
        missing = _write(site, study, store, file, attrition=attrition, progress=progress)
        public = [text for texts in study.questions for text in texts] if share else []
        missing = public_texts.give(public, store, missing=missing)
        if missing:
            _embed(site, study, store, missing, progress=progress, load=load)
        public_texts.keep(public, store)
    return attrition


def bags(cohort: Cohort, part: Part, *, study: Study, store: VectorStore) -> list[PatientBag]:
    """The bags of one part, in order. Stays whose notes have no token are left out.

    Raises:
        SiteError: A vector is missing from the store.
    """
    found = []
    for member in cohort.members[part]:
        vectors, targets = [], []
        for stay in member:
            stay_vectors = _stay_vectors(stay, store, study.bag.chunks)
            if len(stay_vectors):
                vectors.append(stay_vectors)
                targets.append(stay.target)
        if vectors:
            found.append(PatientBag(tuple(vectors), tuple(targets)))
    return found


def question_vectors(cohort: Cohort, store: VectorStore) -> Questions:
    """The encoder's vectors of what each output means; of a text of several chunks their mean."""
    groups = [
        torch.from_numpy(np.stack([_vectors(key, store).mean(0) for key in keys]))
        for keys in cohort.questions
    ]
    return Questions.grouped(groups)


def open_store(site: Site, study: Study, *, known: str | None = None) -> VectorStore:
    """The site's store, for the study's encoder and chunker. Loads no model.

    Args:
        site: Whose store.
        study: Which encoder and chunker.
        known: Their identity, where it is known; otherwise the model's files are hashed.
    """
    if known is None:
        known = identity(study.encoder.fingerprint(site.settings()), study.chunker)
    return VectorStore(
        site.at(site.vectors),
        key_file=site.at(site.store_key),
        identity=known,
        dim=study.encoder.dim,
        secret=site.key("vectors"),
        quota=None if site.quota_gb is None else int(site.quota_gb * 1e9),
    )


def _write(
    site: Site,
    study: Study,
    store: VectorStore,
    file: TextIO,
    *,
    attrition: Attrition,
    progress: Progress,
) -> set[Key]:
    """Writes the cohort, its patients' parts and for whom its notes are kept; the notes that must
    be embedded.
    """
    questions = [[store.key(text) for text in texts] for texts in study.questions]
    cohort_file.write_head(file, identity=store.identity, questions=questions)
    public = {key for keys in questions for key in keys}
    missing = {key for key in public if key not in store}
    owned = {(key, NOBODY) for key in public}
    given: dict[bytes, Part] = {}
    for read, chosen in enumerate(select(site, study, attrition), 1):
        stays = []
        for texts, target in chosen.stays:
            keys = tuple(store.key(text) for text in texts)
            missing.update(key for key in keys if key not in missing and key not in store)
            owned.update((key, chosen.patient) for key in keys)
            stays.append(Stay(keys, target))
        if chosen.patient in given:
            raise SourceBroken(
                f"the source gives a patient twice, the second time as number {read}; each must "
                "come once, with all stays and notes"
            )
        cohort_file.write_member(file, Member(chosen.patient, chosen.part, tuple(stays)))
        if len(owned) >= OWNED_AT_A_TIME:
            store.own(owned, study=study.digest)
            owned.clear()
        given[chosen.patient] = chosen.part
        attrition.add(f"patients kept to {chosen.part}")
        progress("reading", read, 0)
    parts.keep(site, given)
    store.own(owned, study=study.digest)
    progress("reading", len(given), len(given))
    return missing


def _remove_stale_drafts(site: Site) -> None:
    """Removes what killed processes left, unless another one may be writing: then the next
    prepare does it.
    """
    lock = lock_file(site.at(site.vectors))
    with suppress(TimeoutError), locked(lock, exclusive=True, wait=0):
        cohort_file.remove_drafts(site.at(site.cohorts))


def _same_split(site: Site) -> None:
    """Checks that nobody who was trained on could now be held out by another rule; that the data
    move nobody is checked once they are read (`client.parts`).

    Raises:
        SiteError: The key, the shares, the file of ids or the source's own split have changed.
    """
    part = site.source.model_dump(mode="json").get("part")
    fixed = [site.key("split").hex(), site.split.rule(root=site.at(site.data)), part]
    value = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    if not site.open_ledger().settle("split", value):
        raise SiteError(
            f"{site.name}'s split has changed since its first study (site.key, [split], its "
            "file or the source's part): restore it, or patients trained on would be tallied as "
            "held out"
        )


def _embed(
    site: Site,
    study: Study,
    store: VectorStore,
    missing: set[Key],
    *,
    progress: Progress,
    load: Load,
) -> None:
    from embeddings.store import embed

    encoder = load(site, study)
    if study.chunker.tokens > encoder.max_tokens:
        raise EncoderDiffers(
            f"the study cuts chunks of {study.chunker.tokens} tokens, the encoder reads "
            f"{encoder.max_tokens}: the rest of each would be lost"
        )
    done = 0

    def step(number: int) -> None:
        nonlocal done
        done += number
        progress("embedding", done, len(missing))

    def texts() -> Iterator[str]:
        yield from dict.fromkeys(text for texts in study.questions for text in texts)
        # Read a second time rather than held in memory: notes may be many. What was whole a
        # moment ago is not opened a second time.
        for chosen in select(site, study, Attrition()):
            for notes, _ in chosen.stays:
                yield from (text for text in notes if store.key(text) in missing)

    progress("embedding", 0, len(missing))
    embed(texts(), store=store, encoder=encoder, chunker=study.chunker, progress=step)


def _vectors(key: Key, store: VectorStore) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    try:
        return store.get(key)
    except KeyError:
        raise SiteError(
            "a note's vectors are missing from the store; prepare the study again"
        ) from None


def _stay_vectors(
    stay: Stay, store: VectorStore, most: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    found = []
    held = 0
    for key in stay.notes:
        vectors = _vectors(key, store)
        found.append(vectors)
        held += len(vectors)
        if held >= most:
            break
    return np.concatenate(found)[:most]
