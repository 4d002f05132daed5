"""Codes of an OMOP database: from concepts, and from what the source wrote.

| what stands in a row | becomes |
| --- | --- |
| a source concept of ICD-9-CM, ICD-10-CM, their procedures, or SNOMED CT | its code |
| no such concept, and a source value whose system site.toml says | that value, if it fits |
| neither, and a standard concept of one of these vocabularies | its code |
| nothing of these | no code, counted |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from client.sources.omop_database import Database
from client.sources.source import Attrition
from tasks.records import Code, System

if TYPE_CHECKING:
    from sqlalchemy import RowMapping as Row
    from sqlalchemy import Select

SYSTEMS: dict[str, System] = {
    "ICD9CM": "icd-9-cm",
    "ICD9Proc": "icd-9-cm-procedures",
    "ICD10CM": "icd-10-cm",
    "ICD10PCS": "icd-10-pcs",
    "SNOMED": "snomed-ct",
}
"""OMOP's names of the vocabularies that are read."""

_SHAPES: dict[System, str] = {
    "icd-9-cm": r"([0-9]{3}|V[0-9]{2})(\.?[0-9]{1,2})?|E[0-9]{3}(\.?[0-9])?",
    "icd-9-cm-procedures": r"[0-9]{2}(\.?[0-9]{1,2})?",
    "icd-10-cm": r"[A-Z][0-9][0-9A-Z](\.?[0-9A-Z]{1,4})?",
    "icd-10-pcs": r"[0-9A-HJ-NP-Z]{7}",
    "snomed-ct": r"[0-9]{6,18}",
}

MOST_REMEMBERED = 200_000
AT_A_TIME = 5000


class Concept(NamedTuple):
    """A row of CONCEPT."""

    name: str
    vocabulary: str
    code: str


class Vocabulary:
    """What concepts mean, asked for once each.

    Args:
        database: Where CONCEPT and CONCEPT_RELATIONSHIP stand.
        map_snomed: Whether SNOMED CT is mapped back to ICD-10-CM.
    """

    def __init__(self, database: Database, *, map_snomed: bool) -> None:
        self._database = database
        self._map_snomed = map_snomed
        self._concepts: dict[int, Concept | None] = {}
        self._mapped: dict[int, frozenset[str]] = {}

    def learn(self, ids: Iterable[int | None]) -> None:
        """Asks for what is not known yet of these concepts; 0 is none."""
        if len(self._concepts) > MOST_REMEMBERED:
            self._concepts.clear()
            self._mapped.clear()
        new = sorted({one for one in ids if one and one not in self._concepts})
        for start in range(0, len(new), AT_A_TIME):
            some = new[start : start + AT_A_TIME]
            self._concepts.update(dict.fromkeys(some))
            self._concepts.update(self._read(some))
            if self._map_snomed:
                snomed = [one for one in some if self._is_snomed(one)]
                self._mapped.update(self._read_mapped(snomed))

    def concept(self, id: int | None) -> Concept | None:
        """A concept that was learned; None where CONCEPT does not have it."""
        return self._concepts.get(id) if id else None

    def code(
        self, row: Row, kind: str, written: System | None, attrition: Attrition
    ) -> Code | None:
        """The code of a condition or procedure, by the table above.

        Args:
            row: Of CONDITION_OCCURRENCE or PROCEDURE_OCCURRENCE.
            kind: `condition` or `procedure`.
            written: The system of source values; None where site.toml does not say.
            attrition: Where it is counted what was mapped, and what has no code.
        """
        source = _known(self.concept(row[f"{kind}_source_concept_id"]))
        if source is not None:
            return source
        if written is not None:
            value = (row[f"{kind}_source_value"] or "").strip().upper()
            if re.fullmatch(_SHAPES[written], value):
                return Code(written, value)
            attrition.add(f"{kind}s whose source value is no code of {written}")
        number = row[f"{kind}_concept_id"]
        standard = _known(self.concept(number))
        if standard is None:
            attrition.add(f"{kind}s without a code")
            return None
        if standard.system != "snomed-ct" or not self._map_snomed:
            return standard
        mapped = self._mapped.get(number, frozenset())
        if len(mapped) == 1:
            attrition.add(f"{kind}s mapped back from SNOMED CT to ICD-10-CM (kept)")
            return Code("icd-10-cm", min(mapped))
        which = "several codes" if mapped else "no code"
        attrition.add(f"{kind}s of SNOMED CT that {which} of ICD-10-CM map to (kept as they are)")
        return standard

    def _is_snomed(self, id: int) -> bool:
        found = self._concepts.get(id)
        return found is not None and found.vocabulary == "SNOMED"

    def _read(self, ids: Iterable[int]) -> Iterator[tuple[int, Concept]]:
        from sqlalchemy import select

        concept = self._database.table("concept")
        query = select(concept).where(concept.c.concept_id.in_(list(ids)))
        for row in self._database.rows(query, about="concept"):
            yield (
                row["concept_id"],
                Concept(row["concept_name"], row["vocabulary_id"], row["concept_code"]),
            )

    def _read_mapped(self, ids: list[int]) -> dict[int, frozenset[str]]:
        """The codes of ICD-10-CM that map to each standard concept, in either direction."""
        found: dict[int, set[str]] = {}
        if ids:
            for here, there, relationship in (
                ("concept_id_1", "concept_id_2", "Mapped from"),
                ("concept_id_2", "concept_id_1", "Maps to"),
            ):
                query = self._mapping(ids, here, there, relationship)
                for row in self._database.rows(query, about="concept_relationship"):
                    found.setdefault(row["standard"], set()).add(row["concept_code"])
        return {standard: frozenset(codes) for standard, codes in found.items()}

    def _mapping(
        self, ids: list[int], here: str, there: str, relationship: str
    ) -> Select[tuple[int, str]]:
        from sqlalchemy import func, select

        concept = self._database.table("concept")
        related = self._database.table("concept_relationship")
        return (
            select(related.c[here].label("standard"), concept.c.concept_code)
            .join_from(related, concept, concept.c.concept_id == related.c[there])
            .where(
                related.c[here].in_(ids),
                related.c.relationship_id == relationship,
                func.coalesce(related.c.invalid_reason, "") == "",
                concept.c.vocabulary_id == "ICD10CM",
            )
        )


def _known(concept: Concept | None) -> Code | None:
    if concept is None or concept.vocabulary not in SYSTEMS:
        return None
    return Code(SYSTEMS[concept.vocabulary], concept.code)
