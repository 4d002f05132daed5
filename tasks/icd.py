"""ICD codes: writing them one way, what stands above them and what they mean.

| system | chapter | block | category | subcategory | full |
| --- | --- | --- | --- | --- | --- |
| `icd-10-cm` | `4` | `E08-E13` | `E11` | `E11.6` | `E11.65` |
| `icd-9-cm` | `3` | `249-259` | `250`, `V58`, `E849` | `250.0` | `250.00` |
| `icd-9-cm-procedures` | `7` | none | `38` | `38.9` | `38.93` |
| `icd-10-pcs` | `0` | `02` | `02H` | `02HV` | `02HV33Z` |

In ICD-10-PCS those are the section, the body system, the root operation and the body part. Of
blocks within blocks (ICD-10-CM's neoplasms) the innermost counts. A subcategory is the category and
one character more, or the category where a code has no more (`I10`) or only a placeholder
(`W19.XXXA`). The tables (`tasks.icd_table`) are loaded on first use, each when it is asked for.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal, NamedTuple

from tasks.icd_table import IcdSystem, table
from tasks.icd_table import terms as _terms

Level = Literal["chapter", "block", "category", "subcategory", "full"]

NAMES: dict[IcdSystem, str] = {
    "icd-10-cm": "ICD-10-CM",
    "icd-10-pcs": "ICD-10-PCS",
    "icd-9-cm": "ICD-9-CM",
    "icd-9-cm-procedures": "ICD-9-CM volume 3",
}

# What stands before the dot and after it. ICD-10-CM: a letter, a digit, a digit or letter; then up
# to four more (Official Guidelines, section I.A.2); the table of 2026 has a category QA0, too.
# ICD-10-PCS: seven, never I or O (Official Guidelines, A2). ICD-9-CM: causes of injury (E) have one
# character more before the dot.
_SHAPES: dict[IcdSystem, re.Pattern[str]] = {
    "icd-10-cm": re.compile(r"((?:[A-Z][0-9]|QA)[0-9A-Z])(?:\.?([0-9A-Z]{1,4}))?"),
    "icd-10-pcs": re.compile(r"([0-9A-HJ-NP-Z]{7})()"),
    "icd-9-cm": re.compile(
        r"(?=E[0-9]{3}(?:\.?[0-9])?$|[0-9V])([0-9]{3}|V[0-9]{2}|E[0-9]{3})(?:\.?([0-9]{1,2}))?"
    ),
    "icd-9-cm-procedures": re.compile(r"([0-9]{2})(?:\.?([0-9]{1,2}))?"),
}


class Above(NamedTuple):
    """What a code belongs to.

    Attributes:
        level: Which one; `full` for what stands below a subcategory.
        code: Its name.
        title: What it means.
    """

    level: Level
    code: str
    title: str


def written(code: str, system: IcdSystem = "icd-10-cm") -> str | None:
    """The code as its system prints it, with a dot where one belongs. None where it has not the
    shape of one. Zeros are never put in front: `4112` is 411.2, whatever it was in a spreadsheet.

    >>> written("e1165"), written("I10"), written("4112"), written(" n17.9 ")
    ('E11.65', 'I10', None, 'N17.9')
    >>> [written(code, "icd-9-cm") for code in ("04112", "25000", "v5861", "E8490", "38.93")]
    ['041.12', '250.00', 'V58.61', 'E849.0', None]
    >>> written("3893", "icd-9-cm-procedures"), written("02hv33z", "icd-10-pcs")
    ('38.93', '02HV33Z')
    """
    match = _SHAPES[system].fullmatch(code.strip().upper())
    if match is None:
        return None
    return f"{match[1]}.{match[2]}" if match[2] else match[1]


def at_level(code: str, system: IcdSystem, level: Level) -> str | None:
    """The code at a level, as printed. None where the table has no such category, or where the
    code has not the shape of one. A code of another year's release is known by its category.

    Raises:
        ValueError: The system has no such level.

    >>> at_level("25000", "icd-9-cm", "block"), at_level("W19XXXA", "icd-10-cm", "subcategory")
    ('249-259', 'W19')
    """
    found = written(code, system)
    if found is None:
        return None
    category = _category(found, system)
    place = table(system).places.get(category)
    if place is None:
        return None
    if level == "block":
        _has_blocks(system)
    named: dict[Level, str] = {
        "chapter": place[0],
        "block": place[1],
        "category": category,
        "subcategory": _subcategory(found, category),
        "full": found,
    }
    return named[level]


def is_category(code: str, system: IcdSystem = "icd-10-cm") -> bool:
    """Whether the system has this category."""
    return code in table(system).places


def is_code(code: str, level: Level, system: IcdSystem = "icd-10-cm") -> bool:
    """Whether the system's table has this code, as printed and at this level; `full` takes every
    line of the table, also those of ICD-10-CM that have codes below them.

    Raises:
        ValueError: The system has no such level.
    """
    if level == "full":
        return code in table(system).titles
    if level == "subcategory":
        here = table(system)
        named = code in here.titles or code in here.groups
        return named and _subcategory(code, _category(code, system)) == code
    return code in _all_codes(system, level)


def title(code: str, system: IcdSystem = "icd-10-cm", *, level: Level = "full") -> str:
    """What a code means, such as `Essential (primary) hypertension`.

    Args:
        code: Also a category or subcategory, as printed; a chapter or block with its level.
        system: Whose code it is.
        level: `chapter` or `block` for those; all others are told by their names.

    Raises:
        ValueError: The system has no such code.
    """
    here = table(system)
    if level in ("chapter", "block"):
        found = (here.chapters if level == "chapter" else here.blocks).get(code)
    else:
        name = written(code, system) or code
        found = here.titles.get(name) or here.groups.get(name)
    if found is None:
        raise ValueError(f"{code} is not in {NAMES[system]}")
    return found


def nearest_title(code: str, system: IcdSystem) -> str:
    """The title of a code, or of the nearest above it that the table has: for codes of releases
    that the table is not of.

    Raises:
        ValueError: The table has not even its category.
    """
    name = written(code, system) or code
    for end in range(len(name), 0, -1):
        here = table(system)
        found = here.titles.get(name[:end]) or here.groups.get(name[:end])
        if found is not None and _category(name[:end], system) in here.places:
            return found
    raise ValueError(f"{code} is not in {NAMES[system]}")


def terms(code: str, system: IcdSystem = "icd-10-cm") -> tuple[str, ...]:
    """Other words for a code: its inclusion terms and `Includes` notes. Only the table of
    ICD-10-CM has any.
    """
    if system != "icd-10-cm":
        return ()
    return tuple(_terms().get(written(code, system) or "", ()))


def wider_terms(
    code: str, system: IcdSystem = "icd-10-cm", *, level: Level = "full", most: int = 24
) -> tuple[str, ...]:
    """Other words for a code and for what it holds: its inclusion terms, then titles and inclusion
    terms of the codes right below it. Where there are more than `most`, those that stand evenly
    apart in the table are taken.

    Raises:
        ValueError: The system has no such level.

    >>> wider_terms("I48", most=3)
    ('Paroxysmal atrial fibrillation', 'Chronic atrial fibrillation', 'Atypical atrial flutter')
    """
    found = list(terms(code, system)) if level not in ("chapter", "block") else []
    for below in _right_below(code, system, level):
        found += [title(below, system), *terms(below, system)]
    unlike = [
        text for text in dict.fromkeys(found) if text != nearest_title_at(code, system, level)
    ]
    if len(unlike) <= most:
        return tuple(unlike)
    return tuple(unlike[number * len(unlike) // most] for number in range(most))


def nearest_title_at(code: str, system: IcdSystem, level: Level) -> str:
    """The title of a chapter or block, or the nearest one of a code.

    Raises:
        ValueError: The system has no such code or level.
    """
    if level in ("chapter", "block"):
        return title(code, system, level=level)
    return nearest_title(code, system)


def parents(code: str, system: IcdSystem = "icd-10-cm") -> tuple[Above, ...]:
    """What a code belongs to, nearest first, to its chapter. A block may have its category's name
    (`B20`).

    Raises:
        ValueError: The system has no such code.
    """
    here = table(system)
    name = written(code, system) or code
    category = _category(name, system)
    place = here.places.get(category)
    if place is None:
        raise ValueError(f"{code} is not in {NAMES[system]}")
    found: list[Above] = []
    for end in range(len(name) - 1, len(category) - 1, -1):
        above = name[:end]
        what = here.titles.get(above) or here.groups.get(above)
        if what is not None:
            found.append(Above(_level(above, category), above, what))
    chapter, block = place
    if block:
        found.append(Above("block", block, here.blocks[block]))
    return (*found, Above("chapter", chapter, here.chapters[chapter]))


def codes(system: IcdSystem, level: Level) -> tuple[str, ...]:
    """Every name that a code of the table has at a level, in the table's order.

    Raises:
        ValueError: The system has no such level.
    """
    return tuple(_all_codes(system, level))


def place(code: str, system: IcdSystem, level: Level) -> tuple[str, str]:
    """The chapter and the block of what the table has at a level; a chapter has no block.

    Raises:
        KeyError: The table has no such code.
    """
    if level == "chapter":
        return code, ""
    if level == "block":
        return _chapters_of_blocks(system)[code], code
    return table(system).places[_category(code, system)]


@cache
def _chapters_of_blocks(system: IcdSystem) -> dict[str, str]:
    return {block: chapter for chapter, block in table(system).places.values()}


@cache
def _all_codes(system: IcdSystem, level: Level) -> dict[str, None]:
    """As keys, in order."""
    here = table(system)
    match level:
        case "chapter":
            return dict.fromkeys(chapter for chapter, _ in here.places.values())
        case "block":
            _has_blocks(system)
            return dict.fromkeys(block for _, block in here.places.values())
        case "category":
            return dict.fromkeys(here.places)
        case "subcategory":
            full = _all_codes(system, "full")
            return dict.fromkeys(_subcategory(code, _category(code, system)) for code in full)
        case "full":
            # In order of the tree, what has codes below it stands right before one of them.
            listed = list(here.titles)
            following = [*listed[1:], ""]
            return dict.fromkeys(
                code
                for code, after in zip(listed, following, strict=True)
                if not after.startswith(code)
            )


def _category(code: str, system: IcdSystem) -> str:
    """The category of a code as printed."""
    if system == "icd-9-cm-procedures":
        return code[:2]
    return code[: 4 if system == "icd-9-cm" and code[:1] == "E" else 3]


def _subcategory(code: str, category: str) -> str:
    more = code[len(category) :]
    dot = more[:1] == "."
    if more[dot : dot + 1] in ("", "X") and dot == bool(more):
        return category
    return code[: len(category) + dot + 1]


def _level(code: str, category: str) -> Level:
    if code == category:
        return "category"
    return "subcategory" if code == _subcategory(code, category) else "full"


def _right_below(code: str, system: IcdSystem, level: Level) -> list[str]:
    """The categories of a chapter or block; of any other code those that only other codes below
    it stand above.
    """
    if level in ("chapter", "block"):
        of = 0 if level == "chapter" else 1
        return [category for category, where in table(system).places.items() if where[of] == code]
    found: list[str] = []
    for one in _members(system).get(_category(code, system), ()):
        # In order of the tree: what stands below the last one comes right behind it.
        if one != code and one.startswith(code) and not (found and one.startswith(found[-1])):
            found.append(one)
    return found


@cache
def _members(system: IcdSystem) -> dict[str, list[str]]:
    """The codes of each category."""
    found: dict[str, list[str]] = {}
    for code in table(system).titles:
        found.setdefault(_category(code, system), []).append(code)
    return found


def _has_blocks(system: IcdSystem) -> None:
    if not table(system).blocks:
        raise ValueError(f"{NAMES[system]} has no blocks; ask for its chapters or categories")
