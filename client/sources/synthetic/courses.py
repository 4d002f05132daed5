"""Who is admitted when and with what: an invented patient's course, before a word is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from client.sources.synthetic.conditions import CONDITIONS, KIN, LINKS, MIXES, RIVALS, Mix

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from client.sources.synthetic.condition import Condition, FullCode, Sex

_FIRST_DAY = datetime(2012, 1, 1, tzinfo=UTC)
_DAYS = 3300
_MOST_CHRONIC = 6
_MOST_ACUTE = 4
_GRAVE = {
    "A41": 1.6,
    "J96": 1.4,
    "I21": 1.0,
    "I63": 1.0,
    "C78": 0.8,
    "C25": 0.8,
    "J69": 0.7,
    "N17": 0.5,
}
_RETURNING = {"I50": 0.9, "J44": 0.7, "N18": 0.5, "K70": 0.7, "C78": 0.8, "F10": 0.4, "E11": 0.2}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A condition that somebody has, as finely as it is known."""

    category: str
    full: FullCode


@dataclass(frozen=True, slots=True)
class Coding:
    """One code that a stay earns, and the categories of the conditions that earn it together."""

    code: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Episode:
    """What happens in one stay.

    Attributes:
        admitted: Its start.
        discharged: Its end.
        age: The patient's age at its start, in years.
        diagnoses: What the patient has, the reason for the stay first.
        bygone: Categories that an earlier stay treated and this one has no trace of, each with
            the year in which it was last treated.
        died: Whether the stay ends in death.
    """

    admitted: datetime
    discharged: datetime
    age: int
    diagnoses: tuple[Diagnosis, ...]
    bygone: tuple[tuple[str, int], ...]
    died: bool

    @property
    def categories(self) -> frozenset[str]:
        """The categories of the diagnoses."""
        return frozenset(diagnosis.category for diagnosis in self.diagnoses)


@dataclass(frozen=True, slots=True)
class Course:
    """A person's sex and stays, in order and without overlap."""

    sex: Sex
    episodes: tuple[Episode, ...]


def draw_course(mix: Mix, rng: np.random.Generator) -> Course:
    """An invented patient's stays in a hospital of this mix.

    Chronic conditions last from the stay that first has them, acute ones belong to one stay.
    Grave conditions lengthen stays and end some of them in death; those that tend to bring
    people back shorten the time to the next.
    """
    sex: Sex = "F" if rng.random() < 0.52 else "M"
    age = _age(rng)
    born = (_FIRST_DAY - timedelta(days=365.25 * age)).date()
    admitted = _FIRST_DAY + timedelta(minutes=int(rng.random() * _DAYS * 1440))
    chronic = _chronic(sex, age, mix, rng)
    episodes: list[Episode] = []
    for _ in range(_stay_count(chronic, rng)):
        age = _years(born, admitted.date())
        episode = _draw_episode(admitted, age, (sex, chronic, mix), episodes, rng)
        episodes.append(episode)
        if episode.died:
            break
        burden = sum(_RETURNING.get(category, 0.0) for category in episode.categories)
        days = 1 + 240 * math.exp(-burden) * -math.log(1 - rng.random())
        admitted = episode.discharged + timedelta(minutes=int(days * 1440))
    return Course(sex, tuple(episodes))


def code_episode(episode: Episode) -> tuple[Coding, ...]:
    """The codes that an episode earns, the principal diagnosis's first.

    ICD-10-CM presumes that hypertension is behind heart failure and kidney disease, and
    diabetes behind kidney disease, and has codes for the pairs (Official Guidelines for Coding
    and Reporting, I.C.9.a and I.A.15); so has pneumonia in obstructive lung disease.
    """
    found = episode.categories
    codings = []
    for diagnosis in episode.diagnoses:
        category, code = diagnosis.category, diagnosis.full.code
        causes: tuple[str, ...] = (category,)
        if category == "I10" and found & {"I50", "N18"}:
            causes = (category, *sorted(found & {"I50", "N18"}))
            code = (
                {"I50": "I11.0", "N18": "I12.9"}["".join(causes[1:])]
                if len(causes) == 2
                else "I13.0"
            )
            if "N18" in found and _is_end_stage(episode):
                code = "I13.2" if "I50" in found else "I12.0"
        elif code == "E11.9" and "N18" in found:
            causes, code = (category, "N18"), "E11.22"
        elif code == "J44.9" and "J18" in found:
            causes, code = (category, "J18"), "J44.0"
        codings.append(Coding(code, causes))
    return tuple(codings)


def near(categories: Iterable[str]) -> frozenset[str]:
    """The categories and all their kin: what a note about them would not deny."""
    found = frozenset(categories)
    return found.union(*(group for group in KIN if group & found))


def _is_end_stage(episode: Episode) -> bool:
    return any(diagnosis.full.code == "N18.6" for diagnosis in episode.diagnoses)


def _age(rng: np.random.Generator) -> float:
    spread = sum(rng.random() for _ in range(3)) / 3
    return min(20 + 98 * float(spread) * (0.75 + 0.25 * float(rng.random())), 94.0)


def _years(born: date, day: date) -> int:
    return day.year - born.year - ((day.month, day.day) < (born.month, born.day))


def _stay_count(chronic: list[Diagnosis], rng: np.random.Generator) -> int:
    again = min(0.22 + 0.04 * len(chronic), 0.45)
    count = 1
    while count < 4 and rng.random() < again:
        count += 1
    return count


def _pick_full(condition: Condition, rng: np.random.Generator) -> FullCode:
    weights = [1 / (rank + 1) for rank in range(len(condition.codes))]
    return condition.codes[pick(weights, rng)]


def pick(weights: list[float], rng: np.random.Generator) -> int:
    """The index of one weight, drawn in proportion to the weights."""
    aim = rng.random() * sum(weights)
    for index, weight in enumerate(weights):
        aim -= weight
        if aim < 0:
            return index
    return len(weights) - 1


def _probability(condition: Condition, sex: Sex, age: float, mix: Mix, found: set[str]) -> float:
    """The chance of a condition, given who it is and what was drawn before it."""
    if condition.sex not in (None, sex):
        return 0.0
    category = condition.category
    if any(category in group and group & found for group in RIVALS):
        return 0.0
    share = condition.prevalence * (1 if condition.sex is None else 2)
    odds = math.log(share / (1 - share)) + math.log(MIXES[mix].get(category, 1.0))
    odds += condition.age * (age - 65) / 10
    for other, link, prevalence in _LINKED[category]:
        odds += link * ((other in found) - prevalence)
    return 1 / (1 + math.exp(-odds))


def _chronic(sex: Sex, age: float, mix: Mix, rng: np.random.Generator) -> list[Diagnosis]:
    found: dict[str, Diagnosis] = {}
    for condition in _CHRONIC:
        if len(found) < _MOST_CHRONIC:
            draw, full = rng.random(), _pick_full(condition, rng)
            if draw < _probability(condition, sex, age, mix, set(found)):
                found[condition.category] = Diagnosis(condition.category, full)
    return list(found.values())


def _by_prevalence(*, chronic: bool) -> list[Condition]:
    kept = [condition for condition in CONDITIONS.values() if condition.chronic == chronic]
    return sorted(kept, key=lambda condition: -condition.prevalence)


_CHRONIC, _ACUTE = _by_prevalence(chronic=True), _by_prevalence(chronic=False)


def _linked() -> dict[str, tuple[tuple[str, float, float], ...]]:
    """For each category its links: other, log-odds, and the other's share if drawn before it.

    Taking the share off keeps a condition's own prevalence what the vocabulary says.
    """
    order = {item.category: place for place, item in enumerate([*_CHRONIC, *_ACUTE])}
    return {
        category: tuple(
            (other, link, CONDITIONS[other].prevalence if order[other] < order[category] else 0.0)
            for pair, link in LINKS.items()
            if category in pair
            for other in pair - {category}
        )
        for category in order
    }


_LINKED = _linked()


def _draw_episode(
    admitted: datetime,
    age: int,
    who: tuple[Sex, list[Diagnosis], Mix],
    before: list[Episode],
    rng: np.random.Generator,
) -> Episode:
    sex, chronic, mix = who
    found = {diagnosis.category: diagnosis for diagnosis in chronic}
    chances = [_probability(item, sex, age, mix, set(found)) * item.lead for item in _ACUTE]
    if not any(CONDITIONS[category].lead > 0.2 for category in found) or rng.random() < 0.5:
        reason = _ACUTE[pick(chances, rng)]
        found[reason.category] = Diagnosis(reason.category, _pick_full(reason, rng))
    for item in _ACUTE:
        if item.category not in found and len(found) < len(chronic) + _MOST_ACUTE:
            chance = _probability(item, sex, age, mix, set(found)) * (1 - item.lead / 2)
            if rng.random() < chance:
                found[item.category] = Diagnosis(item.category, _pick_full(item, rng))
    diagnoses = _principal_first(list(found.values()), rng)
    burden = sum(_GRAVE.get(category, 0.0) for category in found)
    died = rng.random() < 1 / (1 + math.exp(5.2 - burden - (age - 65) / 25))
    days = 0.6 + (1.6 + 1.3 * burden + 0.3 * len(found)) * -math.log(1 - rng.random()) * 0.8
    past = {c: episode.admitted.year for episode in before for c in episode.categories}
    known = near(found)
    return Episode(
        admitted=admitted,
        discharged=admitted + timedelta(minutes=int(min(days, 45.0) * 1440)),
        age=age,
        diagnoses=diagnoses,
        bygone=tuple(
            (c, past[c]) for c in sorted(past) if c not in known and not CONDITIONS[c].chronic
        ),
        died=bool(died),
    )


def _principal_first(diagnoses: list[Diagnosis], rng: np.random.Generator) -> tuple[Diagnosis, ...]:
    leads = [
        CONDITIONS[item.category].lead * (1.0 if CONDITIONS[item.category].chronic else 3.0)
        for item in diagnoses
    ]
    first = pick(leads, rng)
    acute_first = sorted(diagnoses, key=lambda item: CONDITIONS[item.category].chronic)
    return (diagnoses[first], *(item for item in acute_first if item is not diagnoses[first]))
