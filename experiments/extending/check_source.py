"""Checks of a source, on the data that it is pointed at. They print no value of a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

from client.sources.source import Attrition, Source
from experiments.extending.checks import Checked, Checks, round_trip
from tasks.records import Patient


@dataclass(frozen=True, slots=True)
class Read:
    """One reading of a source: digests of its patients in order, and what broke on the way."""

    patients: tuple[bytes, ...]
    counts: dict[str, int]
    broken: tuple[str, ...]
    state: str | None


def check_source(source: Source, *, root: Path) -> Iterator[Checked]:
    """Reads a source twice and says what does not hold.

    Args:
        source: With its table filled.
        root: What its relative paths are relative to.
    """
    yield from Checks[Source]({"it survives its JSON": round_trip}).run(source)
    first, again = _read(source, root), _read(source, root)
    if not first.patients:
        yield Checked(what="it has patients", broken=("not one came",))
    yield Checked(what="patients are whole: ids, zones, order, notes", broken=first.broken[:3])
    twice = len(first.patients) - len(set(first.patients))
    yield Checked(what="no patient comes twice", broken=(f"{twice} come twice",) if twice else ())
    same = first.patients == again.patients and first.counts == again.counts
    yield Checked(
        what="two readings are the same, what is left out too",
        broken=() if same else ("patients, their order or the counts differ",),
    )
    yield Checked(
        what="its state is the same while nothing changes",
        broken=() if first.state == again.state else ("two questions, two answers",),
    )


def _read(source: Source, root: Path) -> Read:
    attrition = Attrition()
    digests, broken = [], []
    for number, patient in enumerate(source.patients(root=root, attrition=attrition), 1):
        digests.append(blake2b(repr(patient).encode(), digest_size=16).digest())
        broken += [f"patient number {number}: {said}" for said in _wrong(patient)]
    return Read(tuple(digests), attrition.counts, tuple(broken), source.state(root=root))


def _wrong(patient: Patient) -> Iterator[str]:
    if not patient.id:
        yield "has no id"
    if not patient.notes:
        yield "has no note; count and leave out"
    times = [note.at for note in patient.notes]
    times += [time for stay in patient.stays for time in (stay.admitted, stay.discharged)]
    times += [time for stay in patient.stays for time in stay.times.values()]
    if any(time.tzinfo is None for time in times):
        yield "has a time without a zone"
        return
    if any(stay.discharged < stay.admitted for stay in patient.stays):
        yield "has a stay that ends before it begins"
    if any(late.admitted < early.admitted for early, late in pairwise(patient.stays)):
        yield "has stays out of order"
    if any(late.at < early.at for early, late in pairwise(patient.notes)):
        yield "has notes out of order"
    if len({stay.id for stay in patient.stays}) != len(patient.stays):
        yield "has two stays of one id"
    if any(not note.text.strip() for note in patient.notes):
        yield "has a note without text; count and leave out"
