"""ICD-10-CM codes: writing them one way, their categories and what they mean.

The table (`tasks.icd_table`) is loaded on first use.
"""

from __future__ import annotations

import re
from typing import Literal

from tasks.icd_table import titles

Level = Literal["category", "full"]

# A letter, a digit, a digit or letter; then up to four more (ICD-10-CM Official Guidelines,
# section I.A.2: categories have three characters, codes up to seven).
_SHAPE = re.compile(r"([A-Z][0-9][0-9A-Z])(?:\.?([0-9A-Z]{1,4}))?")


def written(code: str) -> str | None:
    """The code as ICD-10-CM prints it, with a dot after the third character: `i10` -> `I10`,
    `E1165` -> `E11.65`. None where it has not the shape of one.

    >>> written("e1165"), written("I10"), written("4112"), written(" n17.9 ")
    ('E11.65', 'I10', None, 'N17.9')
    """
    match = _SHAPE.fullmatch(code.strip().upper())
    if match is None:
        return None
    return f"{match[1]}.{match[2]}" if match[2] else match[1]


def at_level(code: str, level: Level) -> str | None:
    """The code at a level, as printed; None where the table has no such category, or, for
    `full`, where the code has not the shape of one.
    """
    found = written(code)
    if found is None or not is_category(found[:3]):
        return None
    return found[:3] if level == "category" else found


def is_category(code: str) -> bool:
    """Whether ICD-10-CM has this three-character category."""
    return len(code) == 3 and code in titles()


def is_code(code: str, level: Level) -> bool:
    """Whether ICD-10-CM has this code, and at this level."""
    if level == "category":
        return is_category(code)
    return code in titles()


def title(code: str) -> str:
    """What a code means, such as `Essential (primary) hypertension`.

    Raises:
        ValueError: ICD-10-CM has no such code.
    """
    found = titles().get(written(code) or "")
    if found is None:
        raise ValueError(f"{code} is not in ICD-10-CM")
    return found
