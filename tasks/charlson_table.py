"""Charlson's diseases: which codes name them and what they weigh, from the library comorbidipy.

Only its two tables are loaded. Importing the package itself also imports pandas, and fails with
pandas 1.5 and later (comorbidipy 0.5).
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Literal

Weighting = Literal["charlson", "quan"]
Icd = Literal["icd9", "icd10"]

_PACKAGE = "comorbidipy"
_ALIAS = "_comorbidipy_tables"


def comorbidities(code: str, icd: Icd) -> frozenset[str]:
    """The diseases that a diagnosis names, by comorbidipy's names, such as `chf`; mostly none.

    A code may name two: hypertensive heart and kidney disease is both.

    Args:
        code: With or without its dot.
        icd: Its version.
    """
    plain = code.replace(".", "").strip().upper()
    found = _prefixes(icd)
    return frozenset(
        name for end in range(1, len(plain) + 1) for name in found.get(plain[:end], ())
    )


@cache
def weights(weighting: Weighting) -> dict[str, int]:
    """What each disease weighs."""
    table: dict[str, dict[str, dict[str, int]]] = _tables().weights
    found = table["charlson_icd10_quan"][weighting]
    # Quan et al. 2011, Am J Epidemiol 173:676, table 2; the library has 2.
    return found | {"aids": 4} if weighting == "quan" else found


@cache
def _prefixes(icd: Icd) -> dict[str, tuple[str, ...]]:
    """Beginnings of codes, and the diseases that they name."""
    table: dict[str, dict[str, tuple[str, ...]]] = _tables().mapping
    found: dict[str, tuple[str, ...]] = {}
    for name, prefixes in table[f"charlson_{icd}_quan"].items():
        for prefix in prefixes:
            found[prefix] = (*found.get(prefix, ()), name)
    return found


@cache
def _tables() -> ModuleType:
    """The library's module of weights, which also holds the mapping."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{_PACKAGE} is not installed", name=_PACKAGE)
    # Another name for its folder, so that its own __init__ does not run.
    package = ModuleType(_ALIAS)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[_ALIAS] = package
    return import_module(f"{_ALIAS}.weights")
