"""Sections: what of a discharge summary was known at the admission.

A discharge summary is written at the end, and yet most of its first half is the admission note.
Kept are the sections that van Aken et al. (2021, arXiv:2102.04110) keep for their simulated
admission notes: chief complaint, present illness, past history, medications on admission,
allergies, physical exam, family and social history. Where it is in doubt whether a line was known
at the admission, it is not kept:

| what | rule |
| --- | --- |
| a heading that is none of these | ends a section, also in the middle of a line |
| a heading that nobody knows, with a colon alone on its line | ends a section, unless of the exam |
| the same without a colon, behind an empty line, not the section's first | ends it as well |
| `Medications:` alone | not kept: it may be the list at the discharge |
| a second exam, or one after the hospital course | not kept, unless it says `admission` |
| a sentence with `on discharge`, `HD 3`, `hospital course` within a section | ends it |
| `before discharge`, `D/C:` and the like within the exam | ends it |
| text before the first heading | not kept |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Name = Literal[
    "chief complaint",
    "present illness",
    "past history",
    "medications on admission",
    "allergies",
    "physical exam",
    "family history",
    "social history",
    "other",
]

_HISTORY = r"(?:history|hx|hist\.?)"
_KNOWN: dict[Name, str] = {
    "chief complaint": r"chief\s+complaints?|presenting\s+complaints?|cc"
    r"|reasons?\s+for\s+(?:admission|visit|presentation)",
    "present illness": rf"{_HISTORY}\s+of\s+(?:the\s+)?present(?:ing)?\s+(?:illness|complaint)"
    r"|present(?:ing)?\s+illness|hpi",
    "past history": r"(?:past\s+|prior\s+|previous\s+)?(?:medical|surgical|psychiatric|obstetric"
    r"|cardiac|oncologic(?:al)?)(?:\s*(?:/|and|&|,)\s*(?:medical|surgical|psychiatric))?\s+"
    rf"{_HISTORY}|past\s+{_HISTORY}|pmhx?|pshx?",
    "medications on admission": r"(?:medications?|meds|drugs)\s+(?:(?:prior\s+)?to|on|upon|at"
    r"|before)\s+(?:admission|arrival|presentation|home)"
    r"|(?:pre-?)?(?:admission|admitting|home|outpatient)\s+(?:medications?|meds)(?:\s+list)?",
    "allergies": r"(?:drug\s+|medication\s+)?allerg(?:y|ies)"
    r"(?:\s*(?:/|and|&)\s*(?:adverse\s+(?:drug\s+)?reactions|intolerances))?",
    "physical exam": r"(?:admi(?:ssion|tting|t)\s+|initial\s+)?(?:physical\s+)?exam(?:ination)?"
    r"(?:\s+(?:on|upon|at)\s+(?:admission|arrival|presentation))?|admission\s+(?:physical|pe)"
    r"|physical(?:\s+(?:on|upon|at)\s+(?:admission|arrival))?",
    "family history": rf"family(?:\s+medical)?\s+{_HISTORY}|fhx?",
    "social history": rf"social\s+{_HISTORY}|shx?"
    rf"|(?:social|family)\s*(?:/|and|&)\s*(?:social|family)\s+{_HISTORY}",
}
_NAMES = {name: re.compile(words, re.IGNORECASE) for name, words in _KNOWN.items()}
_JOINT = re.compile(r"\s*(?:/|,|&|\+|\band\b)\s*", re.IGNORECASE)

# Words that mark a heading of what came later, or of who wrote and when.
_LATER = re.compile(
    r"discharge|\bd/c\b|\bcourse\b|disposition|\bcondition\b|diagnos|impression|assessment|\bplans?\b"
    r"|epicris|evolution|hospitali[sz]|\bmicro\b|\bcultures?\b|\bprogress\b|\bfinal\b"
    r"|\bresults?\b|\blabs?\b|laborator|imaging|radiolog|\bstud(?:y|ies)\b|microbiolog|pathology"
    r"|procedures?\b|operations?\b|\bconsult|follow\W?up|instructions|code\s+status|\bissues\b"
    r"|medications?\b|\bmeds\b|\boutcome|addend|\bsummary\b|complications?\b|\bdeath"
    r"|expired|autops|prognos|recommend|\btreatment|\bevents?\b|attending|physician|\bservice\b"
    r"|\bdates?\b|\bdictated|\btransfer|intervention|\bfindings\b|\bfacility\b|\bicu\b|\bhospital",
    re.IGNORECASE,
)
_ORGAN = re.compile(
    r"general(?:\s+appearance)?|gen|vitals?(?:\s+signs?)?|vs|heent|head|eyes?|ears?|nose|throat|mouth|neck|skin"
    r"|(?:cardio\w*|cardiac|cor|cv|heart|chest|lungs?|pulm\w*|resp\w*|thorax|breasts?)"
    r"|(?:abd\w*|gi|gu|back|rectal|pelvi[cs]|ext\w*|msk|neuro\w*|psych\w*|pulses|lymph\w*|mental\s+status)",
    re.IGNORECASE,
)
# A title of up to 70 characters at the start of a line, behind list marks, with a colon behind it.
_LINE = re.compile(
    r"^[ \t>#*_\-\d.)]{0,12}(?P<title>[A-Za-z][A-Za-z0-9 ,/&+'()\-.]{0,70}?)[ \t*_]*:", re.MULTILINE
)
# Without a colon a title stands alone on its line.
_BARE = re.compile(
    r"^(?P<marks>[ \t>#*_=\-\d.)]{0,12})"
    r"(?P<title>[A-Za-z][A-Za-z0-9 ,/&+'()\-]{0,70}?)[ \t*_=#]*\r?$",
    re.MULTILINE,
)
_ITEM = re.compile(r"[\d>.)\-]|\*[ \t]")
_CLOSING = re.compile(r"(?:procedures?|course|diagnos[ei]s|summary)$", re.IGNORECASE)
_DENIES = re.compile(r"(?:no|not|none|denie[sd]|without|normal)\b", re.IGNORECASE)
# In the middle of a line, where line ends were lost: what is a heading beyond doubt.
_INLINE = re.compile(
    r"(?<![A-Za-z])(?P<title>(?-i:[CHPRMAFS])(?:(?<=C)hief\s+complaint|(?<=H)istory\s+of\s+present\s+"
    r"illness|(?<=P)ast\s+(?:medical|surgical)\s+history|(?<=M)edications\s+on\s+admission"
    r"|(?<=A)llergies|(?<=P)hysical\s+exam(?:ination)?|(?<=A)dmission\s+(?:physical\s+)?exam(?:ination)?|(?<=F)amily\s+history|(?<=S)ocial\s+history)"
    r"|(?:brief\s+|summary\s+of\s+)?hospital\s+course|course\s+in\s+(?:the\s+)?hospital"
    r"|pertinent\s+results|discharge(?:\s+[A-Za-z]+){0,2}|(?:final|principal)\s+diagnos[ei]s"
    r"|major\s+surgical\s+or\s+invasive\s+procedures?)\s*:",
    re.IGNORECASE,
)
_SMALL = frozenset(["and", "or", "of", "on", "the", "in", "at", "to", "for", "by"])
_TURN = re.compile(
    r"\bhospital\s+course\b|\bdischarge\s+(?:physical|exam|pe\b|diagnos|condition|disposition"
    r"|instructions|medications|meds\b|labs\b|summary|status)"
    r"|\b(?:on|at|upon)\s+(?:the\s+)?(?:(?:day|time)\s+of\s+)?(?:discharge|d/c)\b"
    # `HD 3x/week` is a dialysis.
    r"|\b(?:HD|POD|hospital\s+day)\s*(?:#|no\.?|number)?\s*"
    r"\d{1,3}(?!\d|\s*(?:x|times\b|/|days?\s*(?:a\b|per\b|/)))",
    re.IGNORECASE,
)
# What a line says before it turns belongs to what it says behind: `intubated on HD2`.
_SENTENCE = re.compile(r"\n|[.;!?]\s")
_EXAM_TURN = re.compile(
    r"\b(?:on|at|upon|before|prior\s+to|day\s+of)\s+(?:the\s+)?(?:(?:day|time)\s+of\s+)?"
    r"(?:discharge|d/c)|\b(?:discharge|d/c)\s+(?:vitals?|vs)\b|^[ \t>#*_\-]*(?:discharge|d/c)\b",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a note.

    Attributes:
        name: What it is; `other` for all that is not known at an admission.
        title: Its heading, as it is written.
        start: Where the text below the heading begins.
        end: Where it ends.
    """

    name: Name
    title: str
    start: int
    end: int


def sections(text: str) -> list[Section]:
    """The sections of a note, in order; none where no heading is found."""
    heads = _headings(text)
    ends = [begin for begin, *_ in heads[1:]] + [len(text)]
    return [
        Section(name, title, start, end)
        for (_, start, title, name), end in zip(heads, ends, strict=bool(heads))
    ]


def known_at_admission(text: str) -> str:
    r"""What of a discharge summary was known at the admission, by the table above; empty where
    nothing can be told to be.

    >>> known_at_admission("Chief Complaint: chest pain\nHospital Course: a stent was placed")
    'Chief Complaint:\nchest pain'
    """
    kept = []
    examined = over = False
    for section in sections(text):
        body = text[section.start : section.end]
        if section.name == "other":
            over = over or re.search(r"course|discharge", section.title, re.IGNORECASE) is not None
            continue
        turns = [_TURN.search(body)]
        if section.name == "physical exam":
            named = re.search(r"admi|arriv|presentation", section.title, re.IGNORECASE) is not None
            if (examined or over) and not named:
                continue
            turns.append(_EXAM_TURN.search(body))
            # `Physical Exam:` and below it `ADMISSION PHYSICAL EXAM:` are one exam.
            examined = examined or bool(body.strip())
        turned = min((turn.start() for turn in turns if turn), default=None)
        if turned is not None:
            body = body[
                : max((gap.end() for gap in _SENTENCE.finditer(body, 0, turned)), default=0)
            ]
        body = body.strip()
        if body:
            kept.append(f"{section.title}:\n{body}")
    return "\n\n".join(kept)


def _headings(text: str) -> list[tuple[int, int, str, Name]]:
    """Each heading: where it begins and ends, its title, what it is."""
    found: dict[int, tuple[int, int, str, Name]] = {}
    for pattern in (_LINE, _BARE, _INLINE):
        for match in pattern.finditer(text):
            title = " ".join(match["title"].split())
            name = _name(title)
            if name is None and pattern is _LINE:
                rest = text[match.end() : match.end() + 200].split("\n", 1)[0]
                alone = not rest.strip(" \t*_") and _is_title(title)
                name = "other" if alone and not _ORGAN.fullmatch(title) else None
            elif pattern is _BARE:
                name = _alone(text, match, title, name)
            if name is not None:
                found.setdefault(match.start("title"), (match.start(), match.end(), title, name))
    return _apart(found)


def _alone(text: str, match: re.Match[str], title: str, name: Name | None) -> Name | None:
    """What a line without a colon is a heading of; None where it is none."""
    words = len(title.split())
    if name is not None:
        if _is_title(title) or (name != "other" and title[0].isupper()):
            return name
        # `Final diagnosis`, `follow up`; not a line of a sentence, `No discharge`.
        longest = 6 if _CLOSING.search(title) else 4 if title[0].isupper() else 3
        short = words <= longest and "," not in title and not _DENIES.match(title)
        return "other" if name == "other" and short else None
    if not _is_title(title) or len(title) < 3 or _ITEM.search(match["marks"]):
        return None
    if _ORGAN.fullmatch(title) or _DENIES.match(title):
        return None
    # The first line of a section may stand behind an empty one: above it is the heading.
    above = text[max(0, match.start() - 200) : match.start()]
    if not re.search(r"\n[ \t\r]*\n$", above):
        return None
    last = above.rstrip().rsplit("\n", 1)[-1].strip(" \t*_#=")
    return None if last.endswith(":") or _name(last) is not None else "other"


def _apart(
    found: dict[int, tuple[int, int, str, Name]],
) -> list[tuple[int, int, str, Name]]:
    """The headings in order, without those that lie within another."""
    kept: list[tuple[int, int, str, Name]] = []
    for _, head in sorted(found.items()):
        if not kept or head[0] >= kept[-1][1]:
            kept.append(head)
    return kept


def _name(title: str) -> Name | None:
    """What a heading says it is; None where nobody knows it."""
    if re.search(r"discharge|d/c\b", title, re.IGNORECASE):
        return "other"
    for name, words in _NAMES.items():
        if words.fullmatch(title):
            return name
    parts = [_part(part) for part in _JOINT.split(title)]
    if len(parts) > 1 and parts[0] and all(parts):
        return parts[0]
    return "other" if _LATER.search(title) and len(title.split()) <= 8 else None


def _is_title(title: str) -> bool:
    """Whether this may be a heading that nobody knows: few words, each with a capital."""
    words = title.split()
    return len(words) <= 6 and all(word in _SMALL or not word[0].islower() for word in words)


def _part(title: str) -> Name | None:
    return next((name for name, words in _NAMES.items() if words.fullmatch(title)), None)
