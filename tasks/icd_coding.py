"""icd-coding: which ICD codes were given to a stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tasks import icd, icd_rules, icd_table
from tasks.icd_rules import MOST_CODES, CodeRule, Systems
from tasks.icd_table import IcdSystem
from tasks.records import Patient, Stay
from tasks.task import Label, LeftOut, Task, named_notes

_PLURALS: dict[icd.Level, str] = {
    "chapter": "chapters",
    "block": "blocks",
    "category": "categories",
    "subcategory": "subcategories",
    "full": "codes",
}


class IcdCoding(Task):
    """Multi-label coding of each stay from the notes of that stay.

    Predicts when the coder sits down: `hours_after_discharge` after the discharge, because
    discharge summaries are often signed after the patient has left. Reads what was written
    from the admission to then. A stay without codes is left out: not coded is not the same as
    no disease. The label set is part of the study and public, listed or drawn by rule from the
    public tables; never from the sites' counts (Edin et al. 2023, arXiv:2304.10909, for the task).

    With several systems (diagnoses and procedures, as Edin et al. code them) a stay that has codes
    of one of them had none of the other: a site whose source knows no procedures cannot say that
    of its stays, and must not join. Two versions of the ICD never stand in one study: a stay is
    coded in one, and has in the other none that could be counted as absent.

    Attributes:
        systems: Whose codes: `icd-10-cm`, `icd-10-pcs`, `icd-9-cm`, `icd-9-cm-procedures`; both
            of one version, or one of the four.
        level: `chapter`, `block`, `category`, `subcategory` or `full`; `tasks.icd` says what each
            is in each system.
        codes: The codes to predict, as their system prints them, each once; with several systems
            each behind its system's name, as in `icd-9-cm:250.00`.
        rule: Draws the codes from the public tables instead.
        table: What the rule was drawn from: filled in where it is missing, and a side whose
            tables draw others refuses the study. With `codes` it may be given, and is checked.
        other_releases: Lets `codes` name full codes of other years, which the table does not
            have, of categories that it has; each then means what stands above it.
        hours_after_discharge: See above.
        note_kinds: Only notes of these kinds are read, such as `discharge`; none named reads all.
    """

    kind: ClassVar[str] = "icd-coding"
    systems: Annotated[tuple[IcdSystem, ...], Field(min_length=1, max_length=2)] = ("icd-10-cm",)
    level: icd.Level = "category"
    codes: Annotated[tuple[str, ...], Field(max_length=MOST_CODES)] = ()
    rule: CodeRule | None = None
    table: Annotated[str | None, Field(max_length=200)] = None
    other_releases: bool = False
    hours_after_discharge: Annotated[int, Field(ge=0, le=24 * 90)] = 72
    note_kinds: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        if len({system.startswith("icd-9") for system in self.systems}) > 1:
            raise ValueError("systems: ICD-9-CM and ICD-10 are two studies: a stay is coded in one")
        if len(set(self.systems)) != len(self.systems):
            raise ValueError("systems: one stands twice")
        if bool(self.codes) == (self.rule is not None):
            raise ValueError("codes: list the codes to predict, or give a rule that draws them")
        for position, name in enumerate(self.codes):
            if not self._has(name):
                # A code of a public list may be named: it is nobody's.
                raise ValueError(f"codes[{position}] {name!r} is not {self._wanted(name)}")
        if len(set(self.codes)) != len(self.codes):
            raise ValueError("codes: a code stands twice")
        if self.rule is not None or self.table is not None:
            here = icd_rules.pin(self.systems, self.outputs, self._meanings)
            if self.table is None:
                # Frozen for everybody else: what is filled in here is in the study's digest.
                object.__setattr__(self, "table", here)
            else:
                icd_rules.same(self.table, here)
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`: the codes."""
        if self.rule is None:
            return self.codes
        return icd_rules.drawn(self.rule, self.systems, self.level)

    @property
    def rollups(self) -> dict[str, tuple[str, ...]]:
        """See `Task.rollups`: full codes are scored by subcategory and category too (Edin et al.
        2023, arXiv:2304.10909).
        """
        if self.level != "full":
            return {}
        coarser: tuple[icd.Level, ...] = ("subcategory", "category")
        return {level: _rolled(self.outputs, self.systems, level) for level in coarser}

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`: the codes' titles."""
        return _titles(self.outputs, self.systems, self.level)

    @property
    def terms(self) -> tuple[tuple[str, ...], ...]:
        """See `Task.terms`: inclusion terms, which only ICD-10-CM has, and what stands below."""
        return _terms(self.outputs, self.systems, self.level)

    @property
    def _meanings(self) -> tuple[tuple[str, ...], ...]:
        pairs = zip(self.questions, self.terms, strict=True)
        return tuple((question, *terms) for question, terms in pairs)

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        outputs = self.outputs
        names = " and ".join(icd.NAMES[system] for system in self.systems)
        some = ", ".join(outputs[:6]) + (", ..." if len(outputs) > 6 else "")
        what = f"{names} {_PLURALS[self.level]}"
        return f"which of {len(outputs):,} {what} ({some}) were given to each stay"

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        kinds = named_notes(self.note_kinds)
        return (
            f"{kinds} of a stay, written from its admission until {self.hours_after_discharge} "
            "hours after its discharge"
        )

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per coded stay."""
        asked = frozenset(self.outputs)
        for stay in patient.stays:
            given = self._given(stay, left_out)
            if given is None:
                continue
            yield Label(
                at=stay.discharged + timedelta(hours=self.hours_after_discharge),
                target=asked & given,
                since=stay.admitted,
                kinds=frozenset(self.note_kinds) or None,
                stay=stay.id,
            )

    def _given(self, stay: Stay, left_out: LeftOut) -> set[str] | None:
        """A stay's codes at the level, by the outputs' names; None where it is left out."""
        found: set[str] = set()
        coded = False
        for system in self.systems:
            for code in (one.code for one in stay.codes if one.system == system):
                coded = True
                known = icd.at_level(code, system, self.level)
                if known is None:
                    left_out(f"codes that {icd.NAMES[system]} does not have")
                else:
                    found.add(icd_rules.named(known, system, self.systems))
        if found:
            return found
        if coded:
            names = " or ".join(icd.NAMES[system] for system in self.systems)
            left_out(f"stays without a code that {names} has")
        elif stay.codes:
            left_out("stays coded in other systems only")
        else:
            left_out("stays without codes")
        return None

    def _has(self, name: str) -> bool:
        system, code = icd_rules.split(name, self.systems) or (None, name)
        if system is None:
            return False
        if icd.is_code(code, self.level, system):
            return True
        return self.other_releases and self._of_another_year(code, system)

    def _of_another_year(self, code: str, system: IcdSystem) -> bool:
        levels = ("subcategory", "full")
        return self.level in levels and icd.at_level(code, system, self.level) == code

    def _wanted(self, name: str) -> str:
        system, code = icd_rules.split(name, self.systems) or (None, name)
        if system is None:
            fronts = " or ".join(f"{one}:" for one in self.systems)
            return f"a code behind {fronts}, as several systems need it"
        said = f"an {icd.NAMES[system]} {self.level} code"
        if self._of_another_year(code, system):
            said += f" of {icd_table.release(system)}; other_releases = true takes other years'"
        return said


@cache
def _rolled(outputs: tuple[str, ...], systems: Systems, level: icd.Level) -> tuple[str, ...]:
    """The name of each output's group at a coarser level."""
    found = []
    for name in outputs:
        system, code = icd_rules.split(name, systems) or (systems[0], name)
        found.append(icd_rules.named(icd.at_level(code, system, level) or code, system, systems))
    return tuple(found)


@cache
def _titles(outputs: tuple[str, ...], systems: Systems, level: icd.Level) -> tuple[str, ...]:
    """What each output means."""
    named = _named(outputs, systems)
    return tuple(icd.nearest_title_at(code, system, level) for system, code in named)


@cache
def _terms(
    outputs: tuple[str, ...], systems: Systems, level: icd.Level
) -> tuple[tuple[str, ...], ...]:
    """Other words for each output."""
    named = _named(outputs, systems)
    return tuple(icd.wider_terms(code, system, level=level) for system, code in named)


def _named(outputs: tuple[str, ...], systems: Systems) -> list[tuple[IcdSystem, str]]:
    """The system and the code of each output's name."""
    found = []
    for name in outputs:
        parts = icd_rules.split(name, systems)
        if parts is None:
            raise ValueError(f"{name} is of none of the study's systems")
        found.append(parts)
    return found
