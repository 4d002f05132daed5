"""vaers: reports to the Vaccine Adverse Event Reporting System, in the zips that CDC gives out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from client.sources.assembly import assembled, with_notes
from client.sources.shares import Only, files_state, pieces
from client.sources.source import Attrition, Piece, Source
from client.sources.tables import Encoding
from client.sources.zipped import Record, records
from privacy.spec import Spec
from tasks.records import Code, Part, Patient, Stay

Year = Annotated[int, Field(ge=1990, le=2100)]

FLAGS: Mapping[str, str] = {
    "died": "DIED",
    "life_threat": "L_THREAT",
    "emergency": "ER_VISIT",
    "hospital": "HOSPITAL",
    "prolonged_stay": "X_STAY",
    "disability": "DISABLE",
}
"""Facts that a reporter ticks, and their columns: `Y`, or nothing where the box is not ticked."""

_DATA = ("VAERS_ID", "RECVDATE", "STATE", "SEX", "SYMPTOM_TEXT", "RECOVD", *FLAGS.values())
_TERMS = tuple(f"SYMPTOM{number}" for number in range(1, 6))
_DATE = re.compile(r"(\d\d)/(\d\d)/(\d{4})", re.ASCII)
_RECOVERED = {"Y": True, "N": False}


class Years(Spec):
    """A split by time: the years whose reports may be trained on, and those that are held out.
    A report of any other year is left out and counted.
    """

    train: tuple[Year, ...]
    heldout: tuple[Year, ...]

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if set(self.train) & set(self.heldout):
            raise ValueError("a year is both in train and in heldout")
        return self


class States(Spec):
    """Reads only the reports from these states, or only those from none of them."""

    states: tuple[str, ...]
    exclude: bool = False


class Vaers(Source):
    """Reports of the Vaccine Adverse Event Reporting System, in the zips that CDC gives out.

    `1990VAERSData.zip` and the like as https://vaers.hhs.gov/data/datasets.html gives them out;
    of each zip `1990VAERSDATA.csv` and `1990VAERSSYMPTOMS.csv` are read.

    A report is a patient: nothing in the files says which reports tell of the same person. It has
    one stay and one note of kind `report`, all at midnight UTC of the day on which VAERS received
    it, which is the one date that every report has; symptom terms are the stay's codes, of the
    system `meddra-term`. The year of that day is the report's year.

    | fact | from | values |
    | --- | --- | --- |
    | those of `FLAGS` | a box of the form | ticked or not, so never absent |
    | `recovered` | `RECOVD` | yes or no; absent where unknown or blank |
    | `sex` | `SEX` | `F` or `M`; absent where unknown |
    | `state` | `STATE` | as written; absent where blank |

    | what | becomes |
    | --- | --- |
    | a report without a narrative | counted and left out |
    | a report whose id stood before | `SourceBroken` |
    | symptoms of a report that is not there | counted; not asked of a share |
    | a zip or file that cannot be read, or lacks a column | `SourceBroken`, naming it |
    | a row with more or fewer values than columns | `SourceBroken`, naming the row |
    | a date that is not MM/DD/YYYY, a box with neither `Y` nor nothing | `SourceBroken`, likewise |
    | a report without a number | `SourceBroken`, likewise |
    | text in UTF-8 where `encoding` says `latin-1` | counted and kept |

    Rows are counted from 1, without the header. One year's symptom terms are held in memory.

    Attributes:
        years: Which zips are read, in this order; they stand in the site's `data`.
        encoding: Of the files. CDC writes no UTF-8.
        part: A split by the year of the report.
        only: A share of the reports.
    """

    kind: ClassVar[str] = "vaers"
    years: Annotated[tuple[Year, ...], Field(min_length=1)]
    encoding: Encoding = "latin-1"
    part: Years | None = None
    only: States | None = None

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len(set(self.years)) != len(self.years):
            raise ValueError("years: a year stands twice")
        return self

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`."""
        return with_notes(self._reports(root, attrition), attrition)

    def state(self, *, root: Path) -> str:
        """See `Source.state`: number, size and time of each zip."""
        return files_state([_zip(root, year) for year in self.years])

    def cut(self, column: str, *, largest: int, rest: str, root: Path) -> list[Piece]:
        """See `Source.cut`: by `STATE`; reports without a state belong to the rest."""
        if column != "STATE":
            raise ValueError(f"vaers is cut by the column 'STATE', not by {column!r}")
        counts = dict(_training_reports(self, root, self.state(root=root)))

        def share(only: Only) -> Vaers:
            states = States(states=only.values, exclude=only.exclude)
            return self.model_copy(update={"only": states})

        return pieces(counts, share, column=column, largest=largest, rest=rest)

    def rows(self, root: Path, year: int) -> Iterator[Record]:
        """The rows of one zip, of this source's share only."""
        member = f"{year}VAERSDATA.csv"
        rows = records(_zip(root, year), member, columns=_DATA, encoding=self.encoding)
        return filter(self._mine, rows)

    def _mine(self, row: Record) -> bool:
        if self.only is None:
            return True
        return (_state(row) in self.only.states) is not self.only.exclude

    def part_of(self, row: Record) -> Part | Literal["neither"] | None:
        """Which part of the split a report belongs to; None where the site's split decides."""
        if self.part is None:
            return None
        year = _received(row).year
        if year in self.part.train:
            return "train"
        return "heldout" if year in self.part.heldout else "neither"

    def _reports(self, root: Path, attrition: Attrition) -> Iterator[tuple[str, Patient]]:
        for year in self.years:
            terms = self._terms(root, year)
            for row in self.rows(root, year):
                given = terms.pop(_number(row), ())
                part = self.part_of(row)
                if part == "neither":
                    attrition.add("reports in no part of the split", row.place)
                    continue
                yield row.place, self._patient(row, given, part, attrition)
            if terms and self.only is None:  # a share leaves the other shares' terms over
                rule = "reports with symptoms and nothing else"
                attrition.add(rule, f"{year}VAERSSYMPTOMS.csv", len(terms))

    def _patient(
        self, row: Record, terms: tuple[Code, ...], part: Part | None, attrition: Attrition
    ) -> Patient:
        number, at = str(_number(row)), _received(row)
        stay = Stay(number, at, at, terms, facts=_facts(row))
        return assembled(
            number,
            [stay],
            [(at, "report", row["SYMPTOM_TEXT"], number)],
            place=row.place,
            attrition=attrition,
            part=part,
            encoding=self.encoding,
        )

    def _terms(self, root: Path, year: int) -> dict[int, tuple[Code, ...]]:
        """Every report's symptom terms of one year, each once, by the report's number."""
        found: dict[int, tuple[Code, ...]] = {}
        known: dict[str, Code] = {}
        rows = records(
            _zip(root, year),
            f"{year}VAERSSYMPTOMS.csv",
            columns=("VAERS_ID", *_TERMS),
            encoding=self.encoding,
        )
        for row in rows:
            number = _number(row)
            names = [name for name in (row[column].strip() for column in _TERMS) if name]
            # One object per term and not per report: a year has millions of them since 2021.
            codes = [known.setdefault(name, Code("meddra-term", name)) for name in names]
            found[number] = tuple(dict.fromkeys((*found.get(number, ()), *codes)))
        return found


@lru_cache(maxsize=4)
def _training_reports(source: Vaers, root: Path, state: str) -> tuple[tuple[str, int], ...]:
    """How many reports of each state may be trained on. A simulation asks once for each site."""
    del state  # of the files: another one is another question
    counts: Counter[str] = Counter()
    for year in source.years:
        for row in source.rows(root, year):
            trains = source.part_of(row) in (None, "train") and row["SYMPTOM_TEXT"].strip()
            counts[_state(row)] += bool(trains)
    return tuple(counts.items())


def _zip(root: Path, year: int) -> Path:
    return root / f"{year}VAERSData.zip"


def _facts(row: Record) -> dict[str, bool | str]:
    facts: dict[str, bool | str] = {}
    for fact, column in FLAGS.items():
        if row[column] not in ("", "Y"):
            raise row.broken(column, "holds neither Y nor nothing")
        facts[fact] = row[column] == "Y"
    if row["RECOVD"] in _RECOVERED:
        facts["recovered"] = _RECOVERED[row["RECOVD"]]
    if row["SEX"] in ("F", "M"):
        facts["sex"] = row["SEX"]
    if state := _state(row):
        facts["state"] = state
    return facts


def _state(row: Record) -> str:
    return row["STATE"].strip().upper()


def _number(row: Record) -> int:
    text = row["VAERS_ID"]
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise row.broken("VAERS_ID", "is not a report's number")
    return int(text)


def _received(row: Record) -> datetime:
    found = _DATE.fullmatch(row["RECVDATE"])
    if found is not None:
        month, day, year = map(int, found.groups())
        try:
            return datetime(year, month, day, tzinfo=UTC)
        except ValueError:
            pass
    raise row.broken("RECVDATE", "is not a date as MM/DD/YYYY; did a spreadsheet save it?")
