"""mimic-iv: MIMIC-IV's hospital tables and the notes of MIMIC-IV-Note.

Column layouts: https://mimic.mit.edu/docs/iv/ (Johnson et al. 2023,
doi:10.1038/s41597-022-01899-x).
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from client.sources.mimic import Mimic
from client.sources.mimic_cells import moment
from client.sources.mimic_charts import Edition, Row, Written

PLANNED: dict[str, bool | None] = {
    "ELECTIVE": True,
    "SURGICAL SAME DAY ADMISSION": True,
    "AMBULATORY OBSERVATION": False,
    "DIRECT EMER.": False,
    "DIRECT OBSERVATION": False,
    "EU OBSERVATION": False,
    "EW EMER.": False,
    "OBSERVATION ADMIT": False,
    "URGENT": False,
}
"""Types of admission. Those for observation follow what went otherwise than planned."""


class MimicIV(Mimic):
    """MIMIC-IV from version 1.0: `hosp/` and the `note/` of MIMIC-IV-Note; see `Mimic`.

    Notes are of kind `discharge` or `radiology`, addenda too. Deaths outside the hospital are
    known for one year after the last discharge. No admission type is that of a birth: whoever is
    one year old or more at the admission is none, of others it is not known.

    Attributes:
        notes: The tables of notes to read.
    """

    kind: ClassVar[str] = "mimic-iv"
    notes: tuple[Literal["discharge", "radiology"], ...] = Field(
        default=("discharge", "radiology"), min_length=1
    )

    def _note_tables(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.notes))

    def _note_columns(self) -> tuple[str, ...]:
        return ("note_type", "charttime")

    def _person_columns(self) -> tuple[str, ...]:
        return ("anchor_age", "anchor_year")

    def _code_columns(self) -> tuple[str, str | None]:
        return "icd_code", "icd_version"

    def _edition(self) -> Edition:
        return Edition(
            facts=(
                "admission_type", "admission_location", "discharge_location", "insurance",
                "language", "marital_status", "race", "ethnicity",
            ),
            planned=PLANNED,
            newborn=_newborn,
            written=_written,
            summaries=self.summaries,
        )  # fmt: skip


_KINDS = {"DS": "discharge", "AD": "discharge", "RR": "radiology", "AR": "radiology"}
"""MIMIC-IV-Note's types: a summary, an addendum to one, a report, an addendum to one."""


def _written(row: Row) -> Written:
    sort = (row.cells["note_type"] or "").upper()
    kind = _KINDS.get(sort, sort.lower() or "note")
    charted = moment(row.cells["charttime"], "charttime", row.place)
    midnight = charted is not None and (charted.hour, charted.minute, charted.second) == (0, 0, 0)
    if kind == "discharge" and midnight:
        return Written(kind, None, charted, addendum=sort == "AD")
    return Written(kind, charted, None, addendum=sort.startswith("A"))


def _newborn(stay: Row, person: Row, admitted: datetime) -> bool | None:
    del stay
    age, year = person.cells["anchor_age"], person.cells["anchor_year"]
    if age is None or year is None or not age.isdecimal() or not year.isdecimal():
        return None
    # Ages are counted in years of the calendar here, so one may be too many.
    return False if int(age) + admitted.year - int(year) > 1 else None
