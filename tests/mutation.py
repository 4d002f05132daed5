"""One line of code that a guarantee rests on, and what takes its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One line that is changed, and the tests of which one must fail.

    Attributes:
        name: What is lost.
        file: Where.
        before: What stands there, once.
        after: What takes its place.
        tests: Files, or tests in them.
    """

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]
