"""Words into text: laboratory values, spelling, typing errors, and where each mention ends up."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

Status = Literal["present", "negated", "doubted", "bygone", "family"]

_SLOT = re.compile(r"\{(?:(\w+) )?(\d+(?:\.\d+)?)\.\.(\d+(?:\.\d+)?)\}")
_LONG_WORD = re.compile(r"\b[a-z]{5,}\b")

_UNITS: dict[str, tuple[str, str, float, float, int]] = {
    "a1c": ("%", "mmol/mol", -2.15, 10.929, 0),
    "albumin": ("g/dL", "g/L", 0, 10, 0),
    "bilirubin": ("mg/dL", "umol/L", 0, 17.1, 0),
    "cholesterol": ("mg/dL", "mmol/L", 0, 0.02586, 1),
    "creatinine": ("mg/dL", "umol/L", 0, 88.4, 0),
    "glucose": ("mg/dL", "mmol/L", 0, 0.0555, 1),
    "hemoglobin": ("g/dL", "g/L", 0, 10, 0),
    "potassium": ("mEq/L", "mmol/L", 0, 1, 1),
    "sodium": ("mEq/L", "mmol/L", 0, 1, 0),
    "temperature": ("F", "C", -32, 5 / 9, 1),
    "triglycerides": ("mg/dL", "mmol/L", 0, 0.01129, 1),
    "urate": ("mg/dL", "umol/L", 0, 59.48, 0),
    "urea": ("mg/dL", "mmol/L", 0, 0.357, 1),
}
"""For each analyte: its customary and SI units; SI = (value + shift) * factor, to some decimals."""

_BRITISH = (
    (re.compile(r"emia\b"), "aemia"),
    (re.compile(r"([eE])dema"), r"o\1dema"),
    (re.compile(r"isch[e]mi"), "ischaemi"),
    (re.compile(r"([hH])emo(?=[a-z])"), r"\1aemo"),
    (re.compile(r"an[e]mi"), "anaemi"),
    (re.compile(r"diarrhea"), "diarrhoea"),
    (re.compile(r"esophag"), "oesophag"),
    (re.compile(r"tumor\b"), "tumour"),
    (re.compile(r"\bfiber"), "fibre"),
    (re.compile(r"acetaminophen"), "paracetamol"),
    (re.compile(r"albuterol"), "salbutamol"),
    (re.compile(r"counseling"), "counselling"),
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of a note that speaks of a condition."""

    text: str
    category: str
    register: str
    status: Status


Part = str | Phrase
"""A piece of a note; what is not a Phrase is glue."""


@dataclass(frozen=True, slots=True)
class Mention:
    """Where a note speaks of a condition.

    Attributes:
        category: The condition's category.
        register: How it is put: `formal`, `shorthand`, `evidence`, `imaging`, or `detail` for
            what makes the full code.
        status: `present`, or why it is not: `negated`, `doubted`, `bygone`, `family`.
        start: Its first character in the note's text.
        end: One past its last.
    """

    category: str
    register: str
    status: Status
    start: int
    end: int


def fill_slots(text: str, *, si_units: bool, rng: np.random.Generator) -> str:
    """The phrase with a number drawn for each slot, in the hospital's units."""

    def value(match: re.Match[str]) -> str:
        analyte, low, high = match.groups()
        decimals = len(low.partition(".")[2])
        steps = round((float(high) - float(low)) * 10**decimals)
        number = float(low) + int(rng.random() * (steps + 1)) / 10**decimals
        if analyte is None:
            return f"{number:.{decimals}f}"
        unit, si_unit, shift, factor, si_decimals = _UNITS[analyte]
        if si_units:
            return f"{(number + shift) * factor:.{si_decimals}f} {si_unit}"
        return f"{number:.{decimals}f}{'' if unit in '%F' else ' '}{unit}"

    return _SLOT.sub(value, text)


def spell_british(text: str) -> str:
    """The text in British spelling, with British drug names.

    >>> spell_british("anemia with edema")
    'anaemia with oedema'
    """
    for pattern, replacement in _BRITISH:
        text = pattern.sub(replacement, text)
    return text


def mistype(text: str, rate: float, rng: np.random.Generator) -> str:
    """The text with two letters swapped or one lost in a share of its longer lower-case words.

    Names, numbers and abbreviations are left alone.
    """

    def slip(match: re.Match[str]) -> str:
        word = match[0]
        if rng.random() >= rate:
            return word
        place = 1 + int(rng.random() * (len(word) - 2))
        if rng.random() < 0.5:
            return word[:place] + word[place + 1 :]
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]

    return _LONG_WORD.sub(slip, text)


def retext(part: Part, text: str) -> Part:
    """The part with another text."""
    return text if isinstance(part, str) else replace(part, text=text)


def words_of(part: Part) -> str:
    """The part's text."""
    return part if isinstance(part, str) else part.text


def assemble(parts: Iterable[Part]) -> tuple[str, tuple[Mention, ...]]:
    """The text of the parts one after the other, and where its phrases are."""
    text, mentions = [], []
    length = 0
    for part in parts:
        words = words_of(part)
        if isinstance(part, Phrase):
            end = length + len(words)
            mentions.append(Mention(part.category, part.register, part.status, length, end))
        text.append(words)
        length += len(words)
    return "".join(text), tuple(mentions)
