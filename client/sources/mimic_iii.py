"""mimic-iii: MIMIC-III's tables with NOTEEVENTS.

Column layouts: https://mimic.mit.edu/docs/iii/ (Johnson et al. 2016, doi:10.1038/sdata.2016.35).
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from client.sources.mimic import Mimic
from client.sources.mimic_cells import moment
from client.sources.mimic_charts import Edition, Row, Written

PLANNED: dict[str, bool | None] = {
    "ELECTIVE": True,
    "EMERGENCY": False,
    "URGENT": False,
    "NEWBORN": None,
}
"""Types of admission; that of a birth does not say."""


class MimicIII(Mimic):
    """MIMIC-III 1.4, names of files and columns in upper or lower case; see `Mimic`.

    A note's kind is its `CATEGORY` in lower case; `Discharge summary`, addenda too, is
    `discharge`. All codes are of ICD-9-CM. Deaths outside the hospital come from the Social
    Security Death Index.
    """

    kind: ClassVar[str] = "mimic-iii"

    def _note_tables(self) -> tuple[str, ...]:
        return ("noteevents",)

    def _note_columns(self) -> tuple[str, ...]:
        return ("chartdate", "charttime", "category", "description", "iserror")

    def _person_columns(self) -> tuple[str, ...]:
        return ()

    def _code_columns(self) -> tuple[str, str | None]:
        return "icd9_code", None

    def _edition(self) -> Edition:
        return Edition(
            facts=(
                "admission_type", "admission_location", "discharge_location", "insurance",
                "language", "religion", "marital_status", "ethnicity",
            ),
            planned=PLANNED,
            newborn=_newborn,
            written=_written,
            summaries=self.summaries,
        )  # fmt: skip


def _written(row: Row) -> Written:
    cells = row.cells
    kind = (cells["category"] or "note").lower()
    return Written(
        kind="discharge" if kind == "discharge summary" else kind,
        charted=moment(cells["charttime"], "charttime", row.place),
        day=moment(cells["chartdate"], "chartdate", row.place),
        addendum=(cells["description"] or "").lower() == "addendum",
        error=cells["iserror"] in ("1", "1.0"),
    )


def _newborn(stay: Row, person: Row, admitted: datetime) -> bool | None:
    del person, admitted
    sort = stay.cells["admission_type"]
    return None if sort is None else sort.upper() == "NEWBORN"
