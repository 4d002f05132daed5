"""The pen: how a hospital of some style words what a note says of a condition."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from client.sources.synthetic.conditions import CONDITIONS
from client.sources.synthetic.courses import pick
from client.sources.synthetic.phrasing import (
    Part,
    Phrase,
    Status,
    fill_slots,
    mistype,
    retext,
    spell_british,
    words_of,
)
from client.sources.synthetic.styles import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.sources.synthetic.condition import Register

Dialect = dict[tuple[str, str], list[float]]

_REGISTERS: tuple[Register, ...] = ("formal", "shorthand", "evidence")


@lru_cache(maxsize=64)
def dialect(hospital: str) -> Dialect:
    """How fond a hospital is of each phrasing, by category and register.

    Weights are log-normal, so that each hospital has favourites and some words it hardly uses.
    """
    entropy = int.from_bytes(f"dialect\0{hospital}".encode())
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    return {
        (category, register): [math.exp(0.9 * rng.normal()) for _ in condition.phrases(register)]
        for category, condition in CONDITIONS.items()
        for register in (*_REGISTERS, "imaging")
    }


@dataclass(frozen=True, slots=True)
class Pen:
    """What one stay's notes are written with."""

    style: Style
    dialect: Dialect
    facts: dict[str, str]
    rng: np.random.Generator
    turns: dict[str, int] = field(default_factory=dict)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def one(self, items: Sequence[str]) -> str:
        """One of the items, each as likely."""
        return items[int(self.rng.random() * len(items))]

    def some(self, items: Sequence[str], number: int) -> list[str]:
        """So many different items, fewer where there are fewer."""
        left = list(items)
        return [left.pop(int(self.rng.random() * len(left))) for _ in range(min(number, len(left)))]

    def register(self, weights: tuple[float, float, float]) -> Register:
        """A register, drawn by its weight."""
        return _REGISTERS[pick(list(weights), self.rng)]

    def phrase(self, category: str, register: Register, status: Status = "present") -> Phrase:
        """One phrasing of a condition, as this hospital would choose it.

        What is not there is named in its plain forms only: textbook names and the first of
        the abbreviations.
        """
        words = CONDITIONS[category].phrases(register)
        weights = self.dialect[category, register]
        if status != "present" and register == "shorthand":
            words, weights = words[:1], weights[:1]
        text = fill_slots(
            words[pick(weights, self.rng)], si_units=self.style.si_units, rng=self.rng
        )
        return Phrase(text, category, register, status)

    def sentence(self, use: str, *slots: list[Part], **facts: str) -> list[Part]:
        """A set sentence of this style with each `@` filled; those of one use take turns."""
        templates = self.style.sentences[use]
        turn = self.turns.get(use, int(self.rng.random() * len(templates)))
        self.turns[use] = turn + 1
        template = templates[turn % len(templates)].format_map(self.facts | facts)
        glue = template.split("@")
        parts: list[Part] = [glue[0]]
        for slot, after in zip(slots, glue[1:], strict=True):
            parts += [*slot, after]
        return self.begin(parts)

    def begin(self, parts: list[Part]) -> list[Part]:
        """The parts without empty ones, with a capital first where the style has them."""
        kept = [part for part in parts if words_of(part)]
        if self.style.capitals:
            words = words_of(kept[0])
            kept[0] = retext(kept[0], words[0].upper() + words[1:])
        return kept

    def finish(self, parts: list[Part]) -> list[Part]:
        """The parts in this hospital's spelling, mistyped at this style's rate."""
        finished = []
        for part in parts:
            words = spell_british(words_of(part)) if self.style.british else words_of(part)
            finished.append(retext(part, mistype(words, self.style.typo_rate, self.rng)))
        return finished
