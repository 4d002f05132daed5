"""Condition, one entry of the vocabulary, and the plain table that entries are written in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Register = Literal["formal", "shorthand", "evidence", "imaging"]
Sex = Literal["F", "M"]

_KEY = re.compile(r"^(codes|formal|shorthand|evidence|imaging|drugs|complaints): ")


@dataclass(frozen=True, slots=True)
class FullCode:
    """One code under a category.

    Attributes:
        code: The code, with its dot.
        detail: What a note has to say for this code to be the right one; empty for the
            unspecified code, which asks for nothing.
    """

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition, how often adults in hospital have it, and how notes speak of it.

    Every phrase is a noun phrase without an article, so that it fits any sentence. A phrase
    may hold slots: `{2.1..4.8}` is a number of that range and precision, `{creatinine 2.1..4.8}`
    a laboratory value that is written in the hospital's own units.

    Attributes:
        category: Its ICD-10-CM category.
        prevalence: Share of the stays in a general hospital that have it.
        chronic: Whether it stays with the patient once it is there.
        lead: Weight of its being the reason for the stay; 0 where it never is.
        age: Change of its log-odds per decade of age over 65.
        sex: The only sex that has it, if there is one.
        inherited: Whether notes mention it in relatives.
        codes: Full codes, the most usual first.
        formal: Names that a textbook would use.
        shorthand: Abbreviations and ward slang.
        evidence: Findings, tests and treatments that stand for it without naming it.
        imaging: What a radiologist sees.
        drugs: Entries of a medication list.
        complaints: What brings the patient in, in a layman's words.
    """

    category: str
    prevalence: float
    chronic: bool
    lead: float
    age: float
    sex: Sex | None
    inherited: bool
    codes: tuple[FullCode, ...]
    formal: tuple[str, ...]
    shorthand: tuple[str, ...]
    evidence: tuple[str, ...]
    imaging: tuple[str, ...] = ()
    drugs: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()

    def phrases(self, register: Register) -> tuple[str, ...]:
        """The phrasings of one register."""
        found: tuple[str, ...] = getattr(self, register)
        return found


def read_conditions(table: str) -> tuple[Condition, ...]:
    """The conditions in a table of blocks that blank lines divide.

    A block's first line is `category, prevalence, chronic or acute`, followed by any of
    `lead X`, `age X`, `sex F`, `inherited`. Then comes one `key: phrase; phrase` for each group
    of phrases; a line without a key goes on with the group above it.

    >>> (gout,) = read_conditions('''
    ... M10, 0.05, chronic, age 0.2
    ... codes: M10.9; M10.071 = right big toe
    ... formal: gout
    ... shorthand: podagra
    ... evidence: uric acid of {urate 8.1..10.9}
    ... ''')
    >>> gout.codes[1]
    FullCode(code='M10.071', detail='right big toe')
    """
    return tuple(_read(block) for block in table.strip().split("\n\n"))


def _read(block: str) -> Condition:
    head, *lines = block.splitlines()
    category, prevalence, course, *marks = head.split(", ")
    flags = dict(mark.partition(" ")[::2] for mark in marks)
    groups: dict[str, str] = {}
    key = ""
    for line in lines:
        match = _KEY.match(line)
        key = match[1] if match else key
        groups[key] = f"{groups.get(key, '')} {line[match.end() :] if match else line}"
    words = {key: tuple(item.strip() for item in text.split(";")) for key, text in groups.items()}
    codes = tuple(FullCode(*item.split(" = ")) for item in words.pop("codes"))
    return Condition(
        category=category,
        prevalence=float(prevalence),
        chronic=course == "chronic",
        lead=float(flags.get("lead", 0)),
        age=float(flags.get("age", 0)),
        sex=_sex(flags.get("sex")),
        inherited="inherited" in flags,
        codes=codes,
        formal=words["formal"],
        shorthand=words["shorthand"],
        evidence=words["evidence"],
        imaging=words.get("imaging", ()),
        drugs=words.get("drugs", ()),
        complaints=words.get("complaints", ()),
    )


def _sex(mark: str | None) -> Sex | None:
    return None if mark is None else "F" if mark == "F" else "M"
