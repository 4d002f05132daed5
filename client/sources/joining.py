"""Joining: one patient of the rows that several tables have of it.

| what | becomes | rule |
| --- | --- | --- |
| a row without a patient's id | left out | `notes without a patient's id`, and stays, follow-up |
| a note without a time | left out | `notes without a time` |
| a note that says just what another of the patient says | left out | `notes that stand twice` |
| a note in no part of the split | left out | `notes in no part of the split` |
| a discharge summary of a stay that is not there | kept | `discharge summaries of a stay ...` |
| a note without the id of a stay | kept | `notes without a stay's id (kept)` |
| a stay without an id | left out | `stays without an id` |
| a stay without its beginning or end | left out | `stays without both of their times` |
| a row that tells a stay otherwise than its first | left out | `rows that tell a stay otherwise` |
| a row without a code | left out | `rows without a code` |
| a code that its stay has already | left out | `codes that stand twice at a stay` |
| a code of a stay that is not there | left out | `codes of a stay that is not there` |
| a second row of follow-up | left out | `follow-up that stands twice` |
| a patient in two parts of the split | `SourceBroken` | |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from client.sources.assembly import Summaries, assembled
from client.sources.cells import Row
from client.sources.complaints import Encoding
from client.sources.mangled import CodeCheck
from client.sources.moments import Span
from client.sources.shares import UNDATED, PartColumn
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import Code, Part, Patient, Stay, System
from tasks.task import SUMMARY

FACT, TIME = "fact ", "time "
"""What the names of a stay's facts and times begin with among a row's values."""

Written = tuple[datetime, str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Joining:
    """How rows become patients.

    Attributes:
        attrition: Where rules are counted.
        notes_tell_of_stays: There is no table of stays, and the rows of notes have their columns.
        stays_named: A column of the notes names their stays.
        undated: Nothing has a time.
        shifted: Times mean nothing against today's.
        note_kind: Of notes of no kind.
        kinds: What values of their kind are called here.
        summaries: See `client.sources.tabular.Tabular`.
        code_system: Of codes whose row does not say it.
        code_systems: What rows may say of it, and what that means.
        system_column: Its name.
        code_column: That of the codes.
        mangled: Refuses files whose codes were made numbers or dates.
        deaths_known: See `Patient`.
        followed_until: Of patients of whom no row says it.
        part: Which values of `part` mean what.
        encoding: See `client.sources.assembly.assembled`.
    """

    attrition: Attrition
    notes_tell_of_stays: bool
    stays_named: bool
    undated: bool
    shifted: bool
    note_kind: str
    kinds: Mapping[str, str]
    summaries: Summaries
    code_system: System | None
    code_systems: Mapping[str, System]
    system_column: str
    code_column: str
    mangled: CodeCheck
    deaths_known: bool
    followed_until: datetime | None
    part: PartColumn | None
    encoding: Encoding

    def patient(
        self,
        id: str,
        notes: Sequence[Row],
        stays: Sequence[Row],
        codes: Sequence[Row],
        follow_up: Sequence[Row],
    ) -> tuple[str, Patient] | None:
        """The patient and where it stands; None where all its notes are in no part of the split.

        Raises:
            SourceBroken: It is in two parts of the split, or has a code of no known system or one
                that was made a number or a date.
        """
        part, mine = self._part(notes)
        if notes and not mine:
            return None
        place = next(row.place for rows in (mine, stays, codes, follow_up) for row in rows)
        if self.notes_tell_of_stays:
            known, written = self._of_notes(mine)
        else:
            known = self._of_stays(stays, codes)
            written = self._written(mine, known)
        beyond = follow_up[0] if follow_up else None
        if len(follow_up) > 1:
            self.attrition.add(
                "follow-up that stands twice", follow_up[1].place, len(follow_up) - 1
            )
        death: Span | None = None if beyond is None else beyond["died"]
        until = None if beyond is None else beyond["followed_until"]
        return place, assembled(
            id,
            known,
            written,
            place=place,
            attrition=self.attrition,
            part=part,
            died=None if death is None else death.last,
            died_from=None if death is None or death.first == death.last else death.first,
            deaths_known=self.deaths_known,
            followed_until=until or self.followed_until,
            shifted=self.shifted or self.undated,
            encoding=self.encoding,
        )

    def _part(self, notes: Sequence[Row]) -> tuple[Part | None, Sequence[Row]]:
        if self.part is None:
            return None, notes
        found: Part | None = None
        mine = []
        for row in notes:
            part = self.part.part(row["part"])
            if part == "neither":
                self.attrition.add("notes in no part of the split", row.place)
                continue
            if found not in (None, part):
                raise SourceBroken(f"{row.place}: its patient is in two parts of the split")
            found = part
            mine.append(row)
        return found, mine

    def _written(self, rows: Iterable[Row], stays: Iterable[Stay]) -> list[Written]:
        """The notes that have a time, each once."""
        ends = {stay.id: stay.discharged for stay in stays if stay.admitted <= stay.discharged}
        kept: dict[Written, None] = {}
        for row in rows:
            at = UNDATED if self.undated else row["at"] or row["discharged"]
            if at is None:
                self.attrition.add("notes without a time", row.place)
                continue
            if self.stays_named and row["stay"] is None:
                self.attrition.add("notes without a stay's id (kept)", row.place)
            kind = self.kinds.get(row["kind"] or "", row["kind"] or self.note_kind)
            stay = self._stay_id(row)
            if kind == SUMMARY and stay in ends and self.summaries == "discharge":
                at = ends[stay]
            elif kind == SUMMARY and stay is not None and stay not in ends:
                rule = "discharge summaries of a stay that is not there (kept)"
                self.attrition.add(rule, row.place)
            note = (at, kind, row["text"], stay)
            if note in kept:
                self.attrition.add("notes that stand twice", row.place)
            kept[note] = None
        return list(kept)

    def _stay_id(self, row: Row) -> str | None:
        """Rows of notes that tell of stays, none of them named, are a stay each."""
        if self.notes_tell_of_stays and not self.stays_named:
            return row.place
        named: str | None = row["stay"]
        return named

    def _of_notes(self, rows: Sequence[Row]) -> tuple[list[Stay], list[Written]]:
        """The stays that rows of notes tell of, and the notes."""
        found: dict[str, Stay] = {}
        for row in rows:
            name = self._stay_id(row)
            stay = None if name is None else self._stay(row, name)
            if stay is None:
                continue
            before = found.setdefault(stay.id, stay)
            if stay != replace(before, codes=()):
                self.attrition.add("rows that tell a stay otherwise", row.place)
            # Notes of one stay repeat its codes, which is no row too many.
            codes = (self._code(row, code) for code in row["codes"] or ())
            merged = tuple(dict.fromkeys((*before.codes, *codes)))
            found[stay.id] = replace(before, codes=merged)
        return list(found.values()), self._written(rows, found.values())

    def _of_stays(self, rows: Sequence[Row], codes: Sequence[Row]) -> list[Stay]:
        """The stays of a table of stays, with the codes of a table of codes."""
        given: dict[str | None, dict[Code, None]] = {row["stay"]: {} for row in rows}
        for row in codes:
            if row["stay"] is None or row["stay"] not in given:
                self.attrition.add("codes of a stay that is not there", row.place)
            elif row["code"] is None or not row["code"].strip():
                self.attrition.add("rows without a code", row.place)
            else:
                code, before = self._code(row, row["code"].strip()), given[row["stay"]]
                if code in before:
                    self.attrition.add("codes that stand twice at a stay", row.place)
                before[code] = None
        found = []
        for row in rows:
            if row["stay"] is None:
                self.attrition.add("stays without an id", row.place)
                continue
            stay = self._stay(row, row["stay"])
            if stay is not None:
                found.append(replace(stay, codes=tuple(given[row["stay"]])))
        return found

    def _stay(self, row: Row, id: str) -> Stay | None:
        """The stay that a row tells of, without codes; None where it lacks its times."""
        end = UNDATED if self.undated else row["discharged"]
        start = end if "admitted" not in row.values else row["admitted"]
        if start is None or end is None:
            self.attrition.add("stays without both of their times", row.place)
            return None
        return Stay(
            id,
            start,
            end,
            died=row["died"],
            planned=row["planned"],
            newborn=row["newborn"],
            facts=_named(row, FACT),
            times=_named(row, TIME),
        )

    def _code(self, row: Row, code: str) -> Code:
        system = self.code_system or self.code_systems.get(row["system"] or "")
        if system is None:
            raise SourceBroken(
                f"{row.place}: column {self.system_column}: has a value that code_systems does "
                "not name; name it there"
            )
        self.mangled.see(code, system, file=row.file, column=self.code_column)
        return Code(system, code)


def _named(row: Row, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in row.values.items()
        if name.startswith(prefix) and value is not None
    }
