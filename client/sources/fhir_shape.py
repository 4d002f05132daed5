"""What stands in a FHIR resource: a field of another shape than FHIR's counts as absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Line:
    """One resource of an export.

    Attributes:
        place: Its file and line.
        resource: What the line says.
    """

    place: str
    resource: dict[str, Any]


class Coding(NamedTuple):
    """One code of a CodeableConcept; what it does not say is empty."""

    system: str
    code: str
    display: str


def within(value: object, *path: str) -> object:
    """What stands at the end of a path of names; None where there is nothing.

    >>> within({"subject": {"reference": "Patient/1"}}, "subject", "reference")
    'Patient/1'
    """
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text(value: object, *path: str) -> str:
    """The string at the end of a path; empty where there is none."""
    found = within(value, *path)
    return found if isinstance(found, str) else ""


def listed(value: object, *path: str) -> list[dict[str, Any]]:
    """The objects of the list at the end of a path; one object alone is a list of one."""
    found = within(value, *path)
    if isinstance(found, dict):
        return [found]
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def codings(value: object, *path: str) -> list[Coding]:
    """The codes of the CodeableConcepts at the end of a path."""
    return [
        Coding(text(one, "system"), text(one, "code"), text(one, "display"))
        for concept in listed(value, *path)
        for one in listed(concept, "coding")
    ]
