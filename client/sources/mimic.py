"""Mimic: what the sources mimic-iv and mimic-iii do alike with a folder of tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from client.sources import mimic_codes
from client.sources.assembly import Summaries, with_notes
from client.sources.mimic_charts import (
    CODE_COLUMNS,
    STAY_COLUMNS,
    Charts,
    Edition,
    Records,
)
from client.sources.mimic_tables import Table, find
from client.sources.shares import files_state
from client.sources.source import Attrition, Source
from client.sources.tables import Tables
from client.sources.texts import Texts
from privacy.errors import SourceBroken
from tasks.records import Patient

_Names = tuple[str, ...]


class Mimic(Source):
    """A folder of MIMIC's tables, in `csv`, `csv.gz` or Parquet; subclasses say of which edition.

    `patients`, `admissions`, `diagnoses_icd`, `procedures_icd` and tables of notes are looked for
    in the folder and up to three folders below, such as `hosp/` and `note/`. How records become
    patients: `client.sources.mimic_charts`; which files are refused: `.mimic_cells`, `.mangled`.

    Attributes:
        folder: Of the tables, relative to the site's `data`.
        note_folder: Of the tables of notes, where that is another one.
        summaries: `signed` takes a discharge summary as written when it was signed, or at the end
            of its day where only that is known; so a task that predicts at the discharge mostly
            cannot read it. `discharge` takes it as written when the stay ended, as published
            benchmarks do, though many were signed days later. Addenda keep their own time.
    """

    folder: str = "."
    note_folder: str | None = None
    summaries: Summaries = "signed"

    @abstractmethod
    def _note_tables(self) -> tuple[str, ...]:
        """The tables of notes that are read."""

    @abstractmethod
    def _note_columns(self) -> tuple[str, ...]:
        """Columns of notes beside `subject_id`, `hadm_id`, `storetime` and `text`."""

    @abstractmethod
    def _person_columns(self) -> tuple[str, ...]:
        """Columns of patients beside `subject_id`, `gender` and `dod`."""

    @abstractmethod
    def _code_columns(self) -> tuple[str, str | None]:
        """The columns of a code and of its version, None where all are of ICD-9."""

    @abstractmethod
    def _edition(self) -> Edition:
        """What this edition differs in."""

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`: in the order of their ids as text."""
        paths = self._paths(root)
        with ExitStack() as opened:
            charts = self._charts(opened, paths, attrition)
            yield from with_notes(charts.read(), attrition)

    def state(self, *, root: Path) -> str | None:
        """See `Source.state`: size and time of each file."""
        try:
            return files_state(tuple(self._paths(root).values()))
        except (SourceBroken, OSError):
            return None

    def _paths(self, root: Path) -> dict[str, Path]:
        folder = root / self.folder
        found = {
            table: find(folder, table)
            for table in ("patients", "admissions", "diagnoses_icd", "procedures_icd")
        }
        apart = folder if self.note_folder is None else root / self.note_folder
        for table in self._note_tables():
            hint = (
                "notes are a download of their own: put it there, or name its folder as the "
                "source's note_folder"
            )
            found[table] = find(apart, table, hint=hint)
        return found

    def _charts(self, opened: ExitStack, paths: dict[str, Path], attrition: Attrition) -> Charts:
        edition = self._edition()
        tables = opened.enter_context(Tables())

        def records(table: str, what: str, needed: _Names, extra: _Names = ()) -> Records:
            one = Table(tables, table, paths[table])
            one.demand(needed)
            return Records(one.sorted(needed + extra), needed + extra, what, attrition)

        def notes(table: str) -> Records:
            columns = ("subject_id", "hadm_id", "storetime", *self._note_columns())
            one = Table(tables, table, paths[table])
            one.demand((*columns, "text"))
            rows = one.with_texts(columns, opened.enter_context(Texts()))
            return Records(rows, (*columns, "text"), "notes", attrition)

        who = ("subject_id", "gender", "dod")
        return Charts(
            codes={sort: self._codes(tables, sort, paths, attrition) for sort in _CODES},
            notes=tuple(map(notes, self._note_tables())),
            patients=records("patients", "patients", who, self._person_columns()),
            stays=records("admissions", "stays", STAY_COLUMNS, edition.facts),
            edition=edition,
            attrition=attrition,
        )

    def _codes(
        self,
        tables: Tables,
        sort: mimic_codes.Sort,
        paths: dict[str, Path],
        attrition: Attrition,
    ) -> Records:
        """The codes of a table, once the whole of it was checked."""
        code, version = self._code_columns()
        columns = (*CODE_COLUMNS, code) if version is None else (*CODE_COLUMNS, code, version)
        table = Table(tables, _CODES[sort], paths[_CODES[sort]])
        table.demand(columns)

        def of_nine(rows: Iterator[list[Any]], place: int) -> Iterator[list[Any]]:
            for row in rows:
                if version is None:
                    row.insert(place, "9")
                yield row

        counts = of_nine(table.counted(columns[3:]), 2)
        found = (mimic_codes.Found(file, kind, one, number) for file, one, kind, number in counts)
        mimic_codes.check(found, sort, code, attrition)
        rows = of_nine(table.sorted(columns), 6)
        return Records(rows, (*CODE_COLUMNS, "code", "version"), "codes", attrition)


_CODES: dict[mimic_codes.Sort, str] = {
    "diagnoses": "diagnoses_icd",
    "procedures": "procedures_icd",
}
