"""csv and parquet: tables of notes and, where a site has them, of stays, codes and follow-up."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple, Self

from pydantic import AwareDatetime, Field, model_validator

from client.sources.assembly import Summaries, with_notes
from client.sources.cells import Column, Reading, by_patient, merged
from client.sources.complaints import Encoding
from client.sources.joining import Joining
from client.sources.layout import (
    CodeTable,
    Files,
    FollowUpTable,
    NoteTable,
    StayTable,
)
from client.sources.mangled import CodeCheck
from client.sources.moments import Moments, TimeFormat, TimeZone
from client.sources.opening import (
    code_columns,
    follow_up_columns,
    note_columns,
    stay_columns,
    with_patients,
)
from client.sources.shares import Only, PartColumn, files_state, pieces
from client.sources.source import Attrition, Piece, Source
from client.sources.tables import FILE, ROW, Tables, quoted
from client.sources.texts import Texts
from privacy.errors import SourceBroken
from tasks.records import Patient


class Opened(NamedTuple):
    """The tables of a source, open; those that site.toml does not name are None."""

    notes: Reading
    stays: Reading | None
    codes: Reading | None
    follow_up: Reading | None


class Tabular(Source):
    """Tables in files, joined by patient and stay.

    The ids are texts, also where a Parquet file has whole numbers. What each rule of
    `client.sources.joining` and `client.sources.assembly` leaves out is counted; a cell that cannot
    be read is `SourceBroken`, naming file, row and column, and so is a file whose ids or codes were
    made numbers or dates (`client.sources.mangled`). Rows are numbered from 1, without the line of
    the columns' names. How times are read stands in `client.sources.moments`.

    Attributes:
        notes: A row a note.
        stays: A row a stay; without it each row of the notes also tells of its stay, and is a
            stay of its own where no column names one.
        codes: A row a code of a stay; only with `stays`.
        follow_up: A row a patient.
        time_format: `iso`, or as `datetime.strptime` takes it.
        time_zone: Of times that have none, such as `Europe/Madrid`.
        undated: Says that the notes have no times, so that each is read as written when its stay
            ends; only without `stays`.
        summaries: `signed` takes a discharge summary as written when its row says; so one of which
            the day alone is known cannot be read at the discharge. `discharge` takes it as written
            when the stay ended that `notes.columns.stay` names. Only a note of the kind
            `discharge` is one: see `kinds` of the notes.
        shifted: Says that times were moved to protect the patients, so that none of them is
            said to lie in the future.
        followed_until: Until when the site would know of another stay, where no column says it;
            most often when the files were made.
        part: A split that the data brings along, in a column of the notes.
        only: A share of pooled data, by a column of the notes.
    """

    notes: NoteTable
    stays: StayTable | None = None
    codes: CodeTable | None = None
    follow_up: FollowUpTable | None = None
    time_format: TimeFormat = "iso"
    time_zone: TimeZone | None = None
    undated: bool = False
    summaries: Summaries = "signed"
    shifted: bool = False
    followed_until: AwareDatetime | None = None
    part: PartColumn | None = None
    only: Only | None = None

    @model_validator(mode="after")
    def _joinable(self) -> Self:
        notes = self.notes.columns
        if self.summaries == "discharge" and notes.stay is None and notes.discharged is None:
            raise ValueError(
                "notes.columns.stay: name the column of the notes' stays, at whose ends the "
                "discharge summaries are to be taken as written"
            )
        if self.stays is not None:
            if self.notes.tells_of_stays or self.undated:
                raise ValueError(
                    "with a table of stays, notes have neither columns of stays nor undated"
                )
            if notes.at is None:
                raise ValueError("notes.columns.at: name the column of when notes were written")
            return self
        if self.codes is not None:
            raise ValueError("codes need a table of stays; or name notes.columns.codes")
        if self.undated:
            if (notes.at, notes.admitted, notes.discharged) != (None, None, None):
                raise ValueError("undated notes have no columns of times")
            return self
        if notes.discharged is None and (notes.admitted or self.notes.tells_of_stays):
            raise ValueError("notes.columns.discharged: name the end of the stays, or set undated")
        if notes.discharged is None and notes.at is None:
            raise ValueError("notes.columns.at: name when notes were written, or set undated")
        return self

    @abstractmethod
    def _named(
        self, tables: Tables, name: str, paths: Sequence[Path], needs: Collection[str]
    ) -> dict[str, str]:
        """Names files as a table and gives the types of its columns."""

    @abstractmethod
    def _encoding(self) -> Encoding:
        """What the files' texts are in."""

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`: in order of id."""
        return with_notes(self._patients(root, attrition), attrition)

    def state(self, *, root: Path) -> str | None:
        """See `Source.state`: size and time of each file."""
        some = (self.notes, self.stays, self.codes, self.follow_up)
        return files_state([root / path for table in some if table for path in table.paths])

    def cut(self, column: str, *, largest: int, rest: str, root: Path) -> list[Piece]:
        """See `Source.cut`: by a column of the notes."""
        where, parameters = self._share()
        trains, train = "true", list[object]()
        if self.part is not None:
            trains, train = _among(self.part.column), [list(self.part.train)]
        with Tables() as tables:
            try:
                self._open(tables, root, Attrition(), needs=(column,))
            except SourceBroken as error:
                raise ValueError(str(error)) from None
            value, patient = _text(column), _text(self.notes.columns.patient)
            blank = list(
                tables.rows(
                    f"SELECT {FILE}, {ROW} FROM notes WHERE coalesce({value}, '') = '' LIMIT 1"
                )
            )
            if blank:
                file, row = blank[0]
                raise ValueError(f"{file} row {row}: no column {column!r} to name its site by")
            query = (
                f"SELECT {value}, count(DISTINCT {patient}) FILTER (WHERE {trains}) FROM notes "
                f"WHERE {where} GROUP BY 1"
            )
            found = dict(tables.rows(query, [*train, *parameters]))

        def share(only: Only) -> Tabular:
            return self.model_copy(update={"only": only})

        return pieces(found, share, column=column, largest=largest, rest=rest)

    def _share(self) -> tuple[str, list[object]]:
        """Which notes are this source's, in SQL."""
        if self.only is None:
            return "true", []
        inside = _among(self.only.column)
        return f"NOT {inside}" if self.only.exclude else inside, [list(self.only.values)]

    def _patients(self, root: Path, attrition: Attrition) -> Iterator[tuple[str, Patient]]:
        where, parameters = self._share()
        with Tables() as tables, Texts() as texts:
            opened = self._open(tables, root, attrition)
            streams = [
                by_patient(
                    opened.notes.rows(tables, texts, where=where, parameters=parameters),
                    without="notes without a patient's id",
                    attrition=attrition,
                )
            ]
            for table, without in (
                (opened.stays, "stays without a patient's id"),
                (opened.codes, "codes of a stay that is not there"),
                (opened.follow_up, "follow-up without a patient's id"),
            ):
                rows = iter(()) if table is None else table.rows(tables)
                streams.append(by_patient(rows, without=without, attrition=attrition))
            joining = self._joining(attrition)
            for patient, (notes, stays, codes, follow_up) in merged(streams):
                if self.only is not None and not notes:
                    continue  # another site's
                known = joining.patient(patient, notes, stays, codes, follow_up)
                if known is not None:
                    yield known
            joining.mangled.end()

    def _joining(self, attrition: Attrition) -> Joining:
        codes, follow_up = self.codes, self.follow_up
        return Joining(
            attrition=attrition,
            notes_tell_of_stays=self.undated or self.notes.columns.discharged is not None,
            stays_named=self.notes.columns.stay is not None,
            undated=self.undated,
            shifted=self.shifted,
            note_kind=self.notes.note_kind,
            kinds=self.notes.kinds,
            summaries=self.summaries,
            code_system=self.notes.code_system if codes is None else codes.code_system,
            code_systems={} if codes is None else codes.code_systems,
            system_column="" if codes is None else codes.columns.system or "",
            code_column=(self.notes.columns.codes or "") if codes is None else codes.columns.code,
            mangled=CodeCheck(
                advice="export it anew with this column as text, or name its coding system",
                categories=True,
            ),
            deaths_known=follow_up is not None and follow_up.deaths_known,
            followed_until=self.followed_until,
            part=self.part,
            encoding=self._encoding(),
        )

    def _open(
        self, tables: Tables, root: Path, attrition: Attrition, *, needs: Collection[str] = ()
    ) -> Opened:
        """Names every table and says how it is read.

        Raises:
            SourceBroken: A file or a column is not there, or a column is of a type that could lose
                what it holds.
        """

        def opened(name: str, files: Files, columns: list[Column]) -> Reading:
            paths = tuple(root / path for path in files.paths)
            needed = [*(column.column for column in columns), *(needs if name == "notes" else ())]
            return Reading(
                table=name,
                types=self._named(tables, name, paths, needed),
                columns=columns,
                moments=Moments(
                    time_format=files.time_format or self.time_format,
                    time_zone=self.time_zone,
                    dates=lambda: attrition.add("dates without a time of day (kept)"),
                ),
                separator=self.notes.code_separator,
            )

        if self.only is not None:
            needs = (*needs, self.only.column)
        notes = opened("notes", self.notes, note_columns(self.notes, self.part))
        stays = codes = follow_up = None
        if self.stays is not None:
            stays = opened("stays", self.stays, stay_columns(self.stays))
            if self.codes is not None:
                codes = opened("codes", self.codes, code_columns(self.codes))
                if self.codes.columns.patient is None:
                    codes = with_patients(codes, stays, tables)
        if self.follow_up is not None:
            follow_up = opened("follow_up", self.follow_up, follow_up_columns(self.follow_up))
        return Opened(notes, stays, codes, follow_up)


class Csv(Tabular):
    """CSV files, gzipped or not, with a first line of columns' names.

    Attributes:
        encoding: Of every file; another one is refused, not guessed.
        delimiter: Between fields.
    """

    kind: ClassVar[str] = "csv"
    encoding: Encoding = "utf-8"
    delimiter: Annotated[str, Field(pattern=r"^[^\"\r\nA-Za-z0-9 .:-]$")] = ","

    def _named(
        self, tables: Tables, name: str, paths: Sequence[Path], needs: Collection[str]
    ) -> dict[str, str]:
        columns = tables.csv(
            name, paths, encoding=self.encoding, delimiter=self.delimiter, needs=needs
        )
        return dict.fromkeys(columns, "VARCHAR")

    def _encoding(self) -> Encoding:
        return self.encoding


class Parquet(Tabular):
    """Parquet files. Ids are text or whole numbers, codes text, times timestamps, dates or text."""

    kind: ClassVar[str] = "parquet"

    def _named(
        self, tables: Tables, name: str, paths: Sequence[Path], needs: Collection[str]
    ) -> dict[str, str]:
        return tables.parquet(name, paths, needs=needs)

    def _encoding(self) -> Encoding:
        return "utf-8"


def _text(column: str) -> str:
    return f"CAST({quoted(column)} AS VARCHAR)"


def _among(column: str) -> str:
    return f"coalesce(list_contains(CAST(? AS VARCHAR[]), {_text(column)}), false)"
