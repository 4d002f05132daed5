"""CodeRule, a label set drawn from the public tables of codes, the same at every side.

The codes that a rule draws depend on the table, and so on the package that carries it: a study
says which one it was drawn from, and whoever's table draws others refuses it (`pin`, `same`).
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Annotated

from pydantic import Field

from privacy.spec import Spec
from tasks import icd, icd_table
from tasks.icd_table import IcdSystem

MOST_CODES = 20_000

Systems = tuple[IcdSystem, ...]
_Names = Annotated[tuple[Annotated[str, Field(max_length=50)], ...], Field(max_length=1_000)]


class CodeRule(Spec):
    """Which codes of the tables are asked: those in any chapter, in any block or with any prefix
    that is named; all where none is named. Never from counts of patients, which are private.

    In a study of several systems each name has its system in front, as in `icd-9-cm:250`.

    Attributes:
        chapters: Names of chapters, such as `9`.
        blocks: Names of blocks, such as `I30-I52`.
        prefixes: How a code begins as printed, such as `I5` or `250.`.
    """

    chapters: _Names = ()
    blocks: _Names = ()
    prefixes: _Names = ()


def named(code: str, system: IcdSystem, systems: Systems) -> str:
    """The name of an output: the code, behind its system's name where a study has several. So a
    chapter `9` or a `B20` (HIV disease; in ICD-10-PCS the plain X-ray of a heart) is only one.
    """
    return code if len(systems) == 1 else f"{system}:{code}"


def split(name: str, systems: Systems) -> tuple[IcdSystem, str] | None:
    """The system and the code of an output's name; None where it names none of the systems."""
    if len(systems) == 1:
        return systems[0], name
    front, colon, code = name.partition(":")
    for system in systems:
        if colon and front == system:
            return system, code
    return None


@cache
def drawn(rule: CodeRule, systems: Systems, level: icd.Level) -> tuple[str, ...]:
    """The names of the outputs that a rule draws, in the tables' order.

    Raises:
        ValueError: A chapter, block or prefix is not in the tables, or it draws too many.
    """
    chosen = _chosen(rule, systems, level)
    everything = not any(any(parts.values()) for parts in chosen.values())
    found = tuple(
        named(code, system, systems)
        for system in systems
        for code in icd.codes(system, level)
        if everything or _in(code, system, level, chosen[system])
    )
    if len(found) > MOST_CODES:
        raise ValueError(
            f"rule: it draws {len(found):,} codes, a study may ask for {MOST_CODES:,}; "
            "name chapters, blocks or prefixes"
        )
    return found


def pin(systems: Systems, outputs: tuple[str, ...], meanings: tuple[tuple[str, ...], ...]) -> str:
    """What codes were drawn from, such as `simple-icd-10-cm 1.5.0 #0123456789abcdef`: the packages
    in words, and a hash of the outputs and of what they mean.
    """
    content = json.dumps([outputs, meanings], separators=(",", ":")).encode()
    return f"{_packages(systems)} #{hashlib.sha256(content).hexdigest()[:16]}"


def same(table: str, here: str) -> None:
    """Checks that a study's `table` draws what the one here draws, whatever its version.

    Raises:
        ValueError: It does not; says which versions are needed.
    """
    theirs, hash_mark, content = table.partition(" #")
    ours, _, wanted = here.partition(" #")
    if not hash_mark or content != wanted:
        raise ValueError(
            f"table: the study's codes were drawn from {theirs}, and the tables here ({ours}) "
            f"draw other codes or titles: install {theirs}, or draw the study anew without 'table'"
        )


def _packages(systems: Systems) -> str:
    return ", ".join(dict.fromkeys(icd_table.release(system) for system in systems))


def _chosen(
    rule: CodeRule, systems: Systems, level: icd.Level
) -> dict[IcdSystem, dict[str, list[str]]]:
    """What the rule names of each system, checked."""
    found: dict[IcdSystem, dict[str, list[str]]] = {system: {} for system in systems}
    for key, names in rule:
        for position, name in enumerate(names):
            where = f"rule.{key}[{position}] {name!r}"
            parts = split(name, systems)
            if parts is None:
                fronts = " or ".join(f"{system}:" for system in systems)
                raise ValueError(f"{where} must begin with {fronts}: there are several systems")
            system, code = parts
            if key not in _KEYS.get(level, (key,)):
                raise ValueError(f"{where}: a {level} is not drawn by {key}")
            if key == "prefixes" and not _begins(code, system, level):
                raise ValueError(f"{where}: no {level} code of {icd.NAMES[system]} begins so")
            if key != "prefixes" and code not in _listed(key, system):
                raise ValueError(
                    f"{where} is not one of the {key} of {icd.NAMES[system]} "
                    f"(such as {', '.join(_listed(key, system)[:3])})"
                )
            found[system].setdefault(key, []).append(code)
    return found


_KEYS: dict[str, tuple[str, ...]] = {"chapter": ("chapters",), "block": ("chapters", "blocks")}
"""What may draw a chapter and a block; the other levels are drawn by anything."""


def _begins(prefix: str, system: IcdSystem, level: icd.Level) -> bool:
    return bool(prefix) and any(code.startswith(prefix) for code in icd.codes(system, level))


def _listed(key: str, system: IcdSystem) -> tuple[str, ...]:
    return icd.codes(system, "chapter" if key == "chapters" else "block")


def _in(code: str, system: IcdSystem, level: icd.Level, chosen: dict[str, list[str]]) -> bool:
    chapter, block = icd.place(code, system, level)
    return (
        chapter in chosen.get("chapters", ())
        or block in chosen.get("blocks", ())
        or code.startswith(tuple(chosen.get("prefixes", ())))
    )
