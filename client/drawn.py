"""Names for a simulated study, drawn from published records when it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from privacy.spec import Spec, read_toml
from tasks.icd_rules import MOST_CODES
from tasks.records import Patient
from tasks.study import COMPARE, SIMULATION, Study
from tasks.term_coding import TermCoding

NAMES = "names"


class Drawn(Spec):
    """The most frequent terms of the training patients become what a `term-coding` study asks.

    For published records alone: of private ones such a list is a release of counts, which would
    need noise and a charge (a hospital's study lists its terms). What was drawn stands in the run's
    own study file.

    Attributes:
        most: How many terms.
    """

    most: Annotated[int, Field(ge=1, le=MOST_CODES)]

    def names(self, patients: Iterable[Patient], *, system: str) -> tuple[str, ...]:
        """The terms that most training patients have, the most frequent first, ties by name.

        Args:
            patients: Of all sites. Who is in no part of the source's own split counts, also where a
                site's split will hold them out: let the source bring a split where scores matter.
            system: Whose codes count.

        Raises:
            ValueError: There are none, or fewer than asked for.
        """
        counts: Counter[str] = Counter()
        for patient in patients:
            if patient.part in (None, "train"):
                counts.update(
                    {
                        code.code
                        for stay in patient.stays
                        for code in stay.codes
                        if code.system == system
                    }
                )
        if len(counts) < self.most:
            raise ValueError(
                f"simulation.names: the patients to draw from have {len(counts):,} terms of "
                f"{system}, not {self.most:,}"
            )
        ranked = sorted(counts, key=lambda name: (-counts[name], name))
        return tuple(ranked[: self.most])


def waits(table: Mapping[str, Any]) -> bool:
    """Whether the task of a study file waits for its names."""
    task = table.get("task")
    return isinstance(task, dict) and task.get("kind") == TermCoding.kind and NAMES not in task


def before(study_file: Path) -> tuple[Study, bool]:
    """A study file as it stands, and whether its task waits for its names: it then asks for one
    that nobody has, and its digest is nobody's. What it costs is the same with any names.

    Raises:
        ValueError: It does not fit.
    """
    table = read_toml(study_file)
    for of_others in (SIMULATION, COMPARE):
        table.pop(of_others, None)
    waiting = waits(table)
    if waiting:
        table["task"] = table["task"] | {NAMES: ["-"]}
    return Study.parse_table(table, where=str(study_file)), waiting


def named(table: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A study file's table with the names that its task asks for, and without the rule that drew
    them: it can be simulated again as it is.
    """
    simulation = {key: value for key, value in table[SIMULATION].items() if key != NAMES}
    task = table["task"] | {NAMES: list(names)}
    return {**table, "task": task, SIMULATION: simulation}
