"""The writer: an episode into the notes that a hospital of some style would keep of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from client.sources.synthetic.conditions import CONDITIONS
from client.sources.synthetic.courses import Diagnosis, Episode, near, pick
from client.sources.synthetic.pen import Pen, dialect
from client.sources.synthetic.phrasing import Mention, Part, Phrase, Status, assemble, fill_slots
from client.sources.synthetic.styles import FILLERS, PLAIN_DRUGS, Section, Style
from tasks.records import Note

if TYPE_CHECKING:
    from datetime import datetime

    from client.sources.synthetic.condition import Register, Sex
    from client.sources.synthetic.identity import Identity

_RELATIVES = {"C50": ("mother", "sister"), "C61": ("father", "brother")}
_ANY_RELATIVE = ("mother", "father", "brother", "sister", "grandmother")
_MOST_DRUGS = 5


@dataclass(frozen=True, slots=True)
class Written:
    """A note, and everything in it that speaks of a condition, in order."""

    note: Note
    mentions: tuple[Mention, ...]


def write_episode(
    episode: Episode,
    who: tuple[str, Identity, Sex],
    style: Style,
    rng: np.random.Generator,
) -> tuple[Written, ...]:
    """The notes of one stay, in order of writing; the last is the discharge note.

    Guarantees: Every diagnosis, and the detail that its full code rests on, has a `present`
    mention in the discharge note; every other mention is of a condition that the stay has
    not, and, unless it is a relative's, that is no kin of one it has.

    Args:
        episode: What happened.
        who: The hospital's name, and the patient's identity and sex.
        style: How the hospital writes.
        rng: Draws everything that is left open.
    """
    hospital, person, sex = who
    pen = Pen(style, dialect(hospital), _facts(episode, hospital, person, sex, style), rng)
    drafts: list[tuple[datetime, str, list[Part]]] = []
    imaged = [item.category for item in episode.diagnoses if CONDITIONS[item.category].imaging]
    if imaged and pen.chance(1.6 * style.second_note_rate):
        drafts.append((_moment(episode, pen), "radiology", _radiology(episode, imaged, pen)))
    if episode.discharged - episode.admitted > timedelta(days=2) and pen.chance(
        style.second_note_rate
    ):
        drafts.append((_moment(episode, pen), "progress", _progress(episode, pen)))
    drafts.sort(key=lambda draft: draft[0])
    drafts.append((episode.discharged, "discharge", _discharge(episode, pen)))
    return tuple(_written(at, kind, parts, pen) for at, kind, parts in drafts)


def write_admission(
    episode: Episode,
    who: tuple[str, Identity, Sex],
    style: Style,
    rng: np.random.Generator,
) -> Written:
    """The note that stands when the patient comes: complaint, findings, history, family.

    It knows nothing of what comes later: neither how the stay ends nor when.

    Args:
        episode: What happens.
        who: As in `write_episode`.
        style: As in `write_episode`.
        rng: Draws everything that is left open; one of its own, so that a hospital with
            admission notes writes the same other notes as one without.
    """
    hospital, person, sex = who
    pen = Pen(style, dialect(hospital), _facts(episode, hospital, person, sex, style), rng)
    found = [
        pen.sentence("finding", [pen.phrase(item.category, "evidence")])
        for item in episode.diagnoses
        if not CONDITIONS[item.category].chronic and pen.chance(0.8)
    ]
    sentences = [_opening(episode, pen), *found, *_past(episode, pen), *_family(episode, pen)]
    title = f"Admission note\n{pen.facts['name']}, {pen.facts['record']}\n"
    parts: list[Part] = [title, *_joined(sentences, pen.style.between)]
    return _written(episode.admitted, "admission", parts, pen)


def _written(at: datetime, kind: str, parts: list[Part], pen: Pen) -> Written:
    text, mentions = assemble(pen.finish(parts))
    return Written(Note(at, kind, text), mentions)


def _moment(episode: Episode, pen: Pen) -> datetime:
    """A time within the stay, to the minute, before its end."""
    minutes = (episode.discharged - episode.admitted) // timedelta(minutes=1)
    return episode.admitted + timedelta(minutes=int(minutes * (0.05 + 0.85 * pen.rng.random())))


def _facts(
    episode: Episode, hospital: str, person: Identity, sex: Sex, style: Style
) -> dict[str, str]:
    he, his, him = ("she", "her", "her") if sex == "F" else ("he", "his", "him")
    return {
        "name": person.name,
        "surname": person.name.rpartition(" ")[2],
        "record": person.record,
        "hospital": hospital,
        "age": str(episode.age),
        "initial": sex,
        "sex": "woman" if sex == "F" else "man",
        "title": "Ms." if sex == "F" else "Mr.",
        "admitted": episode.admitted.strftime(style.date),
        "discharged": episode.discharged.strftime(style.date),
        "he": he,
        "his": his,
        "him": him,
        "He": he.capitalize(),
        "His": his.capitalize(),
    }


def _discharge(episode: Episode, pen: Pen) -> list[Part]:
    sections: dict[Section, list[list[Part]]] = {
        "opening": [_opening(episode, pen), *_absent(episode, pen, most=pen.chance(0.6))],
        "past": [*_past(episode, pen), *_bygone(episode, pen)],
        "family": _family(episode, pen),
        "course": [*_course(episode, pen), *_absent(episode, pen, most=2), *_filler(pen)],
        "drugs": [] if episode.died else [_drugs(episode, pen)],
        "ending": [pen.sentence("dead" if episode.died else "alive")],
    }
    parts: list[Part] = [pen.style.header.format_map(pen.facts)]
    for section in pen.style.order:
        if sections[section]:
            heading = pen.style.headings.get(section)
            parts.append("\n" if heading is None else f"\n{heading}\n")
            parts += _joined(sections[section], pen.style.between)
    return parts


def _joined(sentences: list[list[Part]], between: str) -> list[Part]:
    parts: list[Part] = []
    for sentence in sentences:
        parts += [between, *sentence] if parts else sentence
    return parts


def _opening(episode: Episode, pen: Pen) -> list[Part]:
    complaints = CONDITIONS[episode.diagnoses[0].category].complaints
    return pen.sentence("opening", complaint=pen.one(complaints or ("feeling generally unwell",)))


def _named(diagnosis: Diagnosis, register: Register, pen: Pen) -> list[Part]:
    """The diagnosis in some register, and in brackets what its full code rests on."""
    parts: list[Part] = [pen.phrase(diagnosis.category, register)]
    if diagnosis.full.detail:
        detail = fill_slots(diagnosis.full.detail, si_units=pen.style.si_units, rng=pen.rng)
        parts += [" (", Phrase(detail, diagnosis.category, "detail", "present"), ")"]
    return parts


def _course(episode: Episode, pen: Pen) -> list[list[Part]]:
    """What the stay treated: the principal diagnosis, acute ones, and a word on some others."""
    sentences = []
    for place, diagnosis in enumerate(episode.diagnoses):
        treated = place == 0 or not CONDITIONS[diagnosis.category].chronic
        if treated and pen.chance(0.55 if place == 0 else 0.25):
            name = _named(diagnosis, _plain_register(pen), pen)
            sentences.append(
                pen.sentence("pair", name, [pen.phrase(diagnosis.category, "evidence")])
            )
        elif treated:
            register = pen.register(pen.style.registers)
            use = "finding" if register == "evidence" else "course"
            sentences.append(pen.sentence(use, _named(diagnosis, register, pen)))
        elif pen.chance(0.15):
            sentences.append(pen.sentence("finding", [pen.phrase(diagnosis.category, "evidence")]))
    return sentences


def _past(episode: Episode, pen: Pen) -> list[list[Part]]:
    """What the patient came with: names, one to three a sentence, then findings."""
    names: list[list[Part]] = []
    findings: list[list[Part]] = []
    for item in episode.diagnoses[1:]:
        if CONDITIONS[item.category].chronic:
            register = pen.register(pen.style.past_registers)
            (findings if register == "evidence" else names).append(_named(item, register, pen))
    sentences = []
    while names:
        number = 1 if pen.style.between == "\n" else 1 + int(pen.rng.random() * 3)
        sentences.append(pen.sentence("past", _listed(names[:number], pen)))
        names = names[number:]
    return sentences + [pen.sentence("past_finding", finding) for finding in findings]


def _listed(names: list[list[Part]], pen: Pen) -> list[Part]:
    listed: list[Part] = []
    for place, name in enumerate(names):
        last = place == len(names) - 1 and pen.style.capitals
        listed += [" and " if last else ", ", *name] if place else name
    return listed


def _plain_register(pen: Pen) -> Register:
    return "shorthand" if pen.chance(pen.style.registers[1]) else "formal"


def _plain(category: str, status: Status, pen: Pen) -> list[Part]:
    return [pen.phrase(category, _plain_register(pen), status)]


def _strangers(episode: Episode, pen: Pen, number: int) -> list[str]:
    """Conditions that the stay has not, nor their kin, common ones first in likelihood."""
    known = near(episode.categories)
    left = [c for c in CONDITIONS if c not in known and CONDITIONS[c].sex is None]
    weights = [
        math.sqrt(CONDITIONS[c].prevalence) * (1.0 if CONDITIONS[c].lead else 0.4) for c in left
    ]
    found = []
    for _ in range(number):
        place = pick(weights, pen.rng)
        found.append(left.pop(place))
        weights.pop(place)
    return found


def _absent(episode: Episode, pen: Pen, *, most: int) -> list[list[Part]]:
    """Up to `most` conditions denied or doubted, and at least one where `most` allows it."""
    number = min(most, 1 + int(pen.rng.random() * most))
    sentences = []
    for category in _strangers(episode, pen, number):
        status: Status = "doubted" if pen.chance(0.25) else "negated"
        sentences.append(pen.sentence(status, _plain(category, status, pen)))
    return sentences


def _bygone(episode: Episode, pen: Pen) -> list[list[Part]]:
    """What earlier stays treated, or something older, and is over."""
    over = list(episode.bygone[:2])
    if not over and pen.chance(0.3):
        year = episode.admitted.year - 2 - int(pen.rng.random() * 8)
        over = [(c, year) for c in _strangers(episode, pen, 1) if not CONDITIONS[c].chronic]
    return [
        pen.sentence("bygone", _plain(category, "bygone", pen), year=str(year))
        for category, year in over
    ]


def _family(episode: Episode, pen: Pen) -> list[list[Part]]:
    inherited = [c for c in CONDITIONS if CONDITIONS[c].inherited and c not in episode.categories]
    sentences = []
    for category in pen.some(inherited, pick([0.4, 0.4, 0.2], pen.rng)):
        relative = pen.one(_RELATIVES.get(category, _ANY_RELATIVE))
        slot = _plain(category, "family", pen)
        sentences.append(pen.sentence("family", slot, relative=relative))
    return sentences


def _filler(pen: Pen) -> list[list[Part]]:
    chosen = pen.some(FILLERS, int(pen.rng.random() * 3))
    return [[text if pen.style.capitals else text.lower()] for text in chosen]


def _drugs(episode: Episode, pen: Pen) -> list[Part]:
    names = [
        pen.one(CONDITIONS[item.category].drugs)
        for item in episode.diagnoses
        if CONDITIONS[item.category].drugs and pen.chance(0.6)
    ]
    names = pen.some([*names[:_MOST_DRUGS], *pen.some(PLAIN_DRUGS, 1 + int(pen.chance(0.4)))], 9)
    return pen.sentence("drugs", [", ".join(dict.fromkeys(names))])


def _progress(episode: Episode, pen: Pen) -> list[Part]:
    title = f"Progress note\n{pen.facts['name']}, {pen.facts['record']}\n"
    chosen = [item for item in episode.diagnoses if pen.chance(0.45)] or [episode.diagnoses[0]]
    sentences = []
    for item in chosen[:3]:
        register = pen.register(pen.style.registers)
        use = "finding" if register == "evidence" else "course"
        sentences.append(pen.sentence(use, [pen.phrase(item.category, register)]))
    sentences += [*_absent(episode, pen, most=1), *_filler(pen)[:1]]
    return [title, *_joined(sentences, pen.style.between)]


def _radiology(episode: Episode, imaged: list[str], pen: Pen) -> list[Part]:
    title = f"Imaging report\n{pen.facts['name']}, {pen.facts['record']}\nFindings: "
    sentences = [
        pen.begin([pen.phrase(category, "imaging"), "."]) for category in pen.some(imaged, 2)
    ]
    sentences.append(["Comparison is made with the earlier study. Image quality is adequate."])
    denied = _plain(_strangers(episode, pen, 1)[0], "negated", pen)
    sentences.append(["No features of ", *denied, "."])
    return [title, *_joined(sentences, " ")]
