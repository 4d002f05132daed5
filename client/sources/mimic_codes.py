"""Codes as MIMIC stores them: without their dots, and with the version beside them.

Files whose codes became numbers or dates are refused by the rules of `client.sources.mangled`. Of
the others:

| what the file has | becomes |
| --- | --- |
| a code that the public table of ICD-9-CM does not have | kept, counted |
| an empty code, or one without a version | left out, counted |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from client.sources.mangled import CodeCheck, public
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import System

Sort = Literal["diagnoses", "procedures"]

_SYSTEMS: dict[tuple[Sort, str], System] = {
    ("diagnoses", "9"): "icd-9-cm",
    ("diagnoses", "10"): "icd-10-cm",
    ("procedures", "9"): "icd-9-cm-procedures",
    ("procedures", "10"): "icd-10-pcs",
}

_AGAIN = "take the file as PhysioNet gives it, or write this column as text"


class Found(NamedTuple):
    """A code of a file and how often it stands there.

    Attributes:
        file: The file's name.
        version: As in the file; None where it is empty.
        code: As in the file; None where it is empty.
        number: Of records.
    """

    file: str
    version: str | None
    code: str | None
    number: int


def system_of(sort: Sort, version: str) -> System | None:
    """The coding system of a version, 9 or 10."""
    return _SYSTEMS.get((sort, version))


def check(found: Iterable[Found], sort: Sort, column: str, attrition: Attrition) -> None:
    """Refuses files whose codes are mangled, and counts what is odd but may be so.

    Args:
        found: Every code of every file, each once.
        sort: Of what.
        column: That holds them.
        attrition: Where odd codes are counted.

    Raises:
        SourceBroken: Names the file, the column and one code as an example.
    """
    mangled = CodeCheck(advice=_AGAIN, categories=False)
    for one in found:
        if one.code is None or one.version is None:
            what = "codes that are empty" if one.code is None else "codes without a version"
            attrition.add(what, one.file, one.number)
            continue
        system = system_of(sort, one.version)
        if system is None:
            raise SourceBroken(
                f"{one.file}: column icd_version must be 9 or 10 in every record; {_AGAIN}"
            )
        mangled.see(one.code, system, file=one.file, column=column)
        if system in ("icd-9-cm", "icd-9-cm-procedures"):
            plain = one.code.replace(".", "").upper()
            if plain not in public(system):
                rule = "codes that the public table of ICD-9-CM does not have (kept)"
                attrition.add(rule, one.file, one.number)
    mangled.end()
