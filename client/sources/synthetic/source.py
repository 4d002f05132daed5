"""SyntheticSource: a hospital of invented patients, as large as asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from client.sources.source import Attrition, Source
from client.sources.synthetic.conditions import Mix
from client.sources.synthetic.courses import Coding, Episode, code_episode, draw_course
from client.sources.synthetic.identity import identity
from client.sources.synthetic.notes import Written, write_admission, write_episode
from client.sources.synthetic.outcomes import FOLLOWED_UNTIL, Outcome, draw_death, draw_outcome
from client.sources.synthetic.styles import STYLES, StyleName
from tasks.records import Patient, Stay, icd10cm


@dataclass(frozen=True, slots=True)
class ChartedStay:
    """One stay and the truth behind it.

    Attributes:
        stay: As the source gives it.
        episode: What happened, before anybody wrote or coded it.
        codings: Every code that the stay earned, also those that the coder missed.
        written: Its notes with their mentions.
    """

    stay: Stay
    episode: Episode
    codings: tuple[Coding, ...]
    written: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A patient and the truth behind each stay: what no real hospital has."""

    patient: Patient
    stays: tuple[ChartedStay, ...]


class SyntheticSource(Source):
    """A hospital of invented patients with discharge notes, some others, and ICD-10-CM codes.

    A patient depends on `hospital`, `seed` and the patient's own number alone, so a longer list
    begins with the shorter one. Two hospitals differ in what they see (`mix`), in how they
    write (`style`) and in which words they favour (`hospital`).

    Attributes:
        hospital: Its name; it stands in notes and ids, and seeds the patients with `seed`.
        patient_count: How many patients it has.
        seed: Another seed is another set of patients of the same hospital.
        style: How it writes its notes.
        mix: What it sees more of than a general hospital.
        full_codes: Whether stays have full codes, or their categories only.
        label_noise: Chance that the coder missed a code; never the principal diagnosis's.
        admission_notes: Whether a note is written when a patient comes.
    """

    kind: ClassVar[str] = "synthetic"

    hospital: str = Field(min_length=1)
    patient_count: int = Field(ge=0)
    seed: int = Field(default=0, ge=0)
    style: StyleName = "headed"
    mix: Mix = "general"
    full_codes: bool = True
    label_noise: float = Field(default=0.03, ge=0, lt=1)
    admission_notes: bool = False

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:  # noqa: ARG002 - nothing is read
        """Writes the patients one by one; nothing is ever left out."""
        for number in range(self.patient_count):
            yield self.chart(number).patient

    def state(self, *, root: Path) -> str | None:  # noqa: ARG002 - nothing is read
        """See `Source.state`: invented once and for all."""
        return "invented"

    def chart(self, number: int) -> Chart:
        """Patient `number`, counted from 0, with the truth behind the notes and codes."""
        rng = self._draws(number)
        # Draws of their own: what is asked for beside the codes changes no note and no code.
        later, arriving = self._draws(number, "outcomes"), self._draws(number, "admission")
        course = draw_course(self.mix, rng)
        who = (self.hospital, identity(self.hospital, number), course.sex)
        name = f"{self.hospital}-{number:06d}"
        stays = []
        for place, episode in enumerate(course.episodes, start=1):
            codings = code_episode(episode)
            written = write_episode(episode, who, STYLES[self.style], rng)
            if self.admission_notes:
                first = write_admission(episode, who, STYLES[self.style], arriving)
                written = (first, *written)
            coded = self._coded(codings, rng)
            stay = _stay(f"{name}-{place}", episode, coded, draw_outcome(episode, later))
            stays.append(ChartedStay(stay, episode, codings, written))
        patient = Patient(
            name,
            tuple(item.stay for item in stays),
            tuple(written.note for item in stays for written in item.written),
            died=draw_death(course.episodes, later),
            deaths_known=True,
            followed_until=FOLLOWED_UNTIL,
        )
        return Chart(patient, tuple(stays))

    def _draws(self, number: int, what: str = "") -> np.random.Generator:
        key = f"{self.hospital}\0{self.seed}\0{number}" + (f"\0{what}" if what else "")
        entropy = int.from_bytes(hashlib.sha256(key.encode()).digest())
        return np.random.default_rng(np.random.SeedSequence(entropy))

    def _coded(self, codings: tuple[Coding, ...], rng: np.random.Generator) -> tuple[str, ...]:
        kept = [
            coding.code
            for place, coding in enumerate(codings)
            if rng.random() >= self.label_noise or place == 0
        ]
        return tuple(kept if self.full_codes else (code.partition(".")[0] for code in kept))


def _stay(id: str, episode: Episode, codes: tuple[str, ...], outcome: Outcome) -> Stay:
    facts: dict[str, bool | str] = {
        "ward": outcome.ward,
        "fall": outcome.fall,
        "infection": outcome.infection,
    }
    if outcome.denied is not None:
        facts["denied"] = outcome.denied
    return Stay(
        id=id,
        admitted=episode.admitted,
        discharged=episode.discharged,
        codes=icd10cm(codes),
        died=episode.died,
        planned=outcome.planned,
        newborn=False,
        facts=facts,
        times={} if outcome.decided is None else {"decided": outcome.decided},
    )
