"""Checks of a kind: each a name, and what breaks it in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from privacy.spec import Kind, Spec

K = TypeVar("K", bound=Kind)


class Checked(Spec):
    """What came of one check.

    Attributes:
        what: What was checked, as a sentence that holds where it passed.
        broken: What breaks it, at most a few; none where it passed.
    """

    what: str
    broken: tuple[str, ...] = ()


MOST_SAID = 3

Check = Callable[[K], Iterator[str]]


class Checks(Generic[K]):
    """The checks of one seam, in order.

    Args:
        named: By the sentence that holds where it passes, the function that yields what breaks it.
    """

    def __init__(self, named: Mapping[str, Check[K]]) -> None:
        self._named = named

    def run(self, kind: K) -> Iterator[Checked]:
        """Each check of one kind as it is made. An exception of the kind's own breaks a check."""
        for what, check in self._named.items():
            broken: list[str] = []
            try:
                for said in check(kind):
                    broken.append(said)
                    if len(broken) == MOST_SAID:
                        break
            except Exception as error:  # noqa: BLE001 - whatever a stranger's code raises
                broken.append(f"raises {type(error).__name__}: {error}")
            yield Checked(what=what, broken=tuple(broken))


def round_trip(kind: Kind) -> Iterator[str]:
    """Whether a kind survives its own JSON, as a study does on its way to a site."""
    again = type(kind).model_validate_json(kind.model_dump_json())
    if again != kind:
        yield "what is read back from its JSON is not equal to it"
    if again.canonical() != kind.canonical():
        yield "its canonical JSON changes when it is read back"
