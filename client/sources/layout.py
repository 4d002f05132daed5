"""What site.toml says of tables: which files and columns hold what, and how cells are read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from client.sources.moments import TimeFormat
from privacy.spec import Spec
from tasks.records import System

ColumnName = Annotated[str, Field(min_length=1)]


class Fact(Spec):
    """A column of yes or no, or of categories.

    Attributes:
        column: Its name.
        type: `boolean` or `category`.
        true: Values that mean yes; `""` is an empty cell. Parquet booleans need none.
        false: Values that mean no.
        missing: Values that say nothing, as empty cells do that are named nowhere.
    """

    column: ColumnName
    type: Literal["boolean", "category"] = "boolean"
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _clear(self) -> Self:
        if self.type == "category" and (self.true or self.false):
            raise ValueError("a category has no true and false values")
        named = (*self.true, *self.false, *self.missing)
        if len(set(named)) != len(named):
            raise ValueError("a value stands twice in true, false and missing")
        return self

    def said(self, value: str | None) -> bool | str | None:
        """What a cell says; None where it says nothing.

        Raises:
            ValueError: It is none of the values that are named; the text does not repeat it.
        """
        text = value or ""
        if text in self.missing:
            return None
        if self.type == "category":
            return value or None
        if text in self.true:
            return True
        if text in self.false:
            return False
        if not text:
            return None
        raise ValueError("has a value that is in none of true, false and missing; name it there")


class Files(Spec):
    """Files with the same columns.

    Attributes:
        paths: Read as one table; relative ones are under the site's `data`.
        time_format: Of this table's times, where it is not the source's.
    """

    paths: tuple[str, ...] = Field(min_length=1)
    time_format: TimeFormat | None = None


class StayFields(Files):
    """What a table may say of stays beyond when they were.

    Attributes:
        died: Whether the patient died in the stay.
        planned: Whether the admission was elective.
        newborn: Whether the stay is that of a birth.
        facts: Further columns that tasks may ask for, by the name they ask for.
        times: Columns of further moments, by the same.
    """

    died: Fact | None = None
    planned: Fact | None = None
    newborn: Fact | None = None
    facts: dict[str, Fact] = {}
    times: dict[str, ColumnName] = {}

    @model_validator(mode="after")
    def _booleans(self) -> Self:
        for name in ("died", "planned", "newborn"):
            fact: Fact | None = getattr(self, name)
            if fact is not None and fact.type != "boolean":
                raise ValueError(f"{name} must be boolean")
        return self


class NoteColumns(Spec):
    """Which column of the notes holds what; None where there is none.

    Attributes:
        patient: The patient's id.
        text: The note.
        at: When it was written.
        kind: What sort of note it is.
        stay: The id of its stay.
        codes: Codes of the stay, in a text with `code_separator` or a Parquet list.
        admitted: Start of the stay.
        discharged: End of the stay.
    """

    patient: ColumnName = "patient"
    text: ColumnName = "text"
    at: ColumnName | None = None
    kind: ColumnName | None = None
    stay: ColumnName | None = None
    codes: ColumnName | None = None
    admitted: ColumnName | None = None
    discharged: ColumnName | None = None


class NoteTable(StayFields):
    """A row a note. Without a table of stays it also carries what is known of its stay.

    Attributes:
        columns: See `NoteColumns`.
        note_kind: The kind of every note, where no column says it.
        kinds: What values of `columns.kind` are called here, such as `{"Epicrisis" = "discharge"}`;
            others stay as they are. Tasks know discharge summaries by the name `discharge`.
        code_system: Of `codes`.
        code_separator: Between them.
    """

    columns: NoteColumns = NoteColumns()
    note_kind: str = "note"
    kinds: dict[str, Annotated[str, Field(min_length=1)]] = {}
    code_system: System | None = None
    code_separator: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _coded(self) -> Self:
        if (self.columns.codes is None) != (self.code_system is None):
            raise ValueError("columns.codes and code_system go together")
        if self.kinds and self.columns.kind is None:
            raise ValueError("kinds need columns.kind")
        return self

    @property
    def tells_of_stays(self) -> bool:
        """Whether it carries columns of stays."""
        own = self.columns
        columns = (own.codes, own.admitted, own.discharged)
        more = (self.died, self.planned, self.newborn)
        return any(value is not None for value in (*columns, *more)) or bool(
            self.facts or self.times
        )


class StayColumns(Spec):
    """Which column of the stays holds what."""

    patient: ColumnName = "patient"
    stay: ColumnName = "stay"
    admitted: ColumnName = "admitted"
    discharged: ColumnName = "discharged"


class StayTable(StayFields):
    """A row a stay."""

    columns: StayColumns = StayColumns()


class CodeColumns(Spec):
    """Which column of the codes holds what; without `patient`, a stay's id is of one patient."""

    patient: ColumnName | None = None
    stay: ColumnName = "stay"
    code: ColumnName = "code"
    system: ColumnName | None = None


class CodeTable(Files):
    """A row a code of a stay.

    Attributes:
        columns: See `CodeColumns`.
        code_system: Of every code, where no column says it.
        code_systems: What the values of `columns.system` mean, such as
            `{"9" = "icd-9-cm", "10" = "icd-10-cm"}`.
    """

    columns: CodeColumns = CodeColumns()
    code_system: System | None = None
    code_systems: dict[str, System] = {}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.columns.system is None) == (self.code_system is None):
            raise ValueError("give either code_system, or columns.system and code_systems")
        if (self.columns.system is None) == bool(self.code_systems):
            raise ValueError("columns.system and code_systems go together")
        return self


class FollowUpColumns(Spec):
    """Which column holds what."""

    patient: ColumnName = "patient"
    died: ColumnName | None = None
    followed_until: ColumnName | None = None


class FollowUpTable(Files):
    """A row a patient: what is known beyond the stays.

    Attributes:
        columns: See `FollowUpColumns`.
        deaths_known: Every death is here, in hospital or not, so that a patient without one lives.
    """

    columns: FollowUpColumns = FollowUpColumns()
    deaths_known: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.columns.died is None and self.columns.followed_until is None:
            raise ValueError("columns must name died or followed_until")
        if self.deaths_known and self.columns.died is None:
            raise ValueError("deaths_known needs columns.died")
        return self
