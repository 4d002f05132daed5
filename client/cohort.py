"""The cohort of a study: who is in it, what they are labelled and which vectors are theirs.

Prepared once, when a study arrives: the source is read, notes are chosen by the labels' times,
what is not embedded yet is embedded, and the result is written to one file at the site. Every
round then reads that file and the store, so a round needs neither the source nor the encoder.

The file holds keyed hashes, parts and the numbers of true outputs: no text, no id.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from client.site import Site
from client.sources.source import Attrition
from embeddings.encoder import identity
from embeddings.store import Key, VectorStore
from privacy.errors import EncoderDiffers, SiteError
from privacy.files import make_private
from tasks.bags import PatientBag
from tasks.records import Part, Patient
from tasks.study import Study
from tasks.task import notes_for

FORMAT = 1
PARTS: tuple[Part, ...] = ("train", "tune", "heldout")

Progress = Callable[[str, int, int], None]
"""(what, done, of how many); 0 of 0 where the number is not known yet."""


@dataclass(frozen=True, slots=True)
class Stay:
    """One labelled stay: the keys of its notes, newest first, and its true outputs."""

    notes: tuple[Key, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cohort:
    """A study's patients at one site.

    Attributes:
        identity: Of encoder and chunker; what the vectors are filed under.
        members: For each part, the patients in order, each a list of stays.
        questions: The keys of the outputs' questions.
    """

    identity: str
    members: dict[Part, tuple[tuple[Stay, ...], ...]]
    questions: tuple[Key, ...]


def cohort_path(site: Site, study: Study) -> Path:
    """The file of a study's cohort."""
    return site.at(site.cohorts) / f"{study.digest}.jsonl"


def select(
    site: Site, study: Study, attrition: Attrition
) -> Iterator[tuple[Patient, Part, list[tuple[list[str], tuple[int, ...]]]]]:
    """Streams the study's patients: part, and for each stay its note texts and true outputs."""
    number = {output: n for n, output in enumerate(study.outputs)}
    secret = site.key("split")
    for patient in site.source.patients(root=site.at(site.data), attrition=attrition):
        stays = []
        for label in study.task.labels(patient, attrition.add):
            texts = [note.text for note in notes_for(patient, label)]
            if texts:
                stays.append((texts, tuple(sorted(number[name] for name in label.target))))
            else:
                attrition.add("stays without notes by the prediction time")
        if not stays:
            attrition.add("patients without a labelled stay")
            continue
        part = site.split.part(patient, secret=secret)
        yield patient, part, stays[-study.bag.stays :]


def load(site: Site, study: Study) -> Cohort:
    """Reads a prepared cohort.

    Raises:
        SiteError: The study was never prepared here.
    """
    path = cohort_path(site, study)
    try:
        lines = path.read_text("ascii").splitlines()
    except FileNotFoundError:
        raise SiteError("this study was not prepared at the site") from None
    head = json.loads(lines[0])
    if head["format"] != FORMAT:
        raise SiteError("this study was prepared by another version; prepare it again")
    members: dict[Part, list[tuple[Stay, ...]]] = {part: [] for part in PARTS}
    for line in lines[1:]:
        row = json.loads(line)
        members[row["part"]].append(
            tuple(
                Stay(tuple(map(bytes.fromhex, notes)), tuple(target))
                for notes, target in row["stays"]
            )
        )
    return Cohort(
        identity=head["identity"],
        members={part: tuple(rows) for part, rows in members.items()},
        questions=tuple(map(bytes.fromhex, head["questions"])),
    )


def prepare(site: Site, study: Study, *, progress: Progress = lambda *_: None) -> Attrition:
    """Reads the source, embeds what is missing and writes the cohort.

    The encoder is loaded only where something is missing.

    Raises:
        SiteError: The site's split is no longer what it was.
        SourceBroken: The source cannot be read.
        EncoderDiffers: The encoder is not the one that the study names.
    """
    _same_split(site)
    attrition = Attrition()
    with open_store(site, study) as store:
        questions = [store.key(text) for text in study.task.questions]
        missing = {key for key in questions if key not in store}
        path = cohort_path(site, study)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.unlink(missing_ok=True)
        make_private(draft)
        head = {
            "format": FORMAT,
            "identity": store.identity,
            "questions": [key.hex() for key in questions],
        }
        with draft.open("w", encoding="ascii") as file:
            file.write(json.dumps(head) + "\n")
            read = 0
            for read, (_, part, stays) in enumerate(select(site, study, attrition), 1):
                rows = []
                for texts, target in stays:
                    keys = [store.key(text) for text in texts]
                    missing.update(key for key in keys if key not in store)
                    rows.append(([key.hex() for key in keys], target))
                file.write(json.dumps({"part": part, "stays": rows}) + "\n")
                attrition.add(f"patients kept to {part}")
                progress("reading", read, 0)
            progress("reading", read, read)
            file.flush()
            os.fsync(file.fileno())
        if missing:
            _embed(site, study, store, len(missing), progress)
        draft.replace(path)
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


def question_vectors(cohort: Cohort, store: VectorStore) -> torch.Tensor:
    """The encoder's vectors of what each output means, (L, D): the mean of a question's chunks,
    of unit length.
    """
    rows = [_vectors(key, store).mean(0) for key in cohort.questions]
    stacked = torch.from_numpy(np.stack(rows))
    return torch.nn.functional.normalize(stacked, dim=1)


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
        identity=known,
        dim=study.encoder.dim,
        secret=site.key("vectors"),
    )


def _same_split(site: Site) -> None:
    """Checks that nobody who was trained on could now be held out.

    Raises:
        SiteError: The key, the shares or the source's own split have changed.
    """
    part = site.source.model_dump(mode="json").get("part")
    parts = [site.key("split").hex(), site.split.model_dump(mode="json"), part]
    value = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    if not site.open_ledger().settle("split", value):
        raise SiteError(
            f"{site.name}'s split has changed since its first study (site.key, [split] or the "
            "source's part): restore it, or patients trained on would be tallied as held out"
        )


def _embed(site: Site, study: Study, store: VectorStore, missing: int, progress: Progress) -> None:
    from embeddings import conformance
    from embeddings.store import embed

    encoder = study.encoder.load(site.settings())
    if study.chunker.tokens > encoder.max_tokens:
        raise EncoderDiffers(
            f"the study cuts chunks of {study.chunker.tokens} tokens, the encoder reads "
            f"{encoder.max_tokens}: the rest of each would be lost"
        )
    conformance.check(encoder)
    done = 0

    def step(number: int) -> None:
        nonlocal done
        done += number
        progress("embedding", done, missing)

    def texts() -> Iterator[str]:
        yield from study.task.questions
        # Read a second time rather than held in memory: notes may be many.
        for _, _, stays in select(site, study, Attrition()):
            for notes, _ in stays:
                yield from notes

    progress("embedding", 0, missing)
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
