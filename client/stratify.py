"""Stratified splits of pooled records: each part has about the same share of every output.

For experiments on records that lie in one place; a real site's split is its own. Rare codes are
dealt out first (Sechidis et al. 2011, iterative stratification), over patients, so that all stays
of one stay together. The package `iterative-stratification` does the dealing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from privacy.spec import Spec
from tasks.records import Part, Patient
from tasks.task import Task


class Stratified(Spec):
    """A stratified split of all sites' patients together.

    Attributes:
        seed: The same seed deals the same patients the same way.
        tune: Share of patients whose tallies choose the threshold.
        heldout: Share whose tallies score the study. Edin et al. 2023 (arXiv:2304.10909) train on
            73%, tune on 11% and hold out 16%.
    """

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    tune: Annotated[float, Field(gt=0, lt=1)] = 0.11
    heldout: Annotated[float, Field(gt=0, lt=1)] = 0.16

    @model_validator(mode="after")
    def _trains(self) -> Self:
        if self.tune + self.heldout >= 1:
            raise ValueError("tune and heldout together must leave somebody to train on")
        return self


def true_outputs(patients: Iterable[Patient], task: Task) -> dict[str, frozenset[str]]:
    """For each patient, by id, the outputs that are true of any stay.

    Patients without a label have none and are dealt out too: whether a study takes them is not
    asked here.
    """
    return {patient.id: outputs_of(patient, task) for patient in patients}


def outputs_of(patient: Patient, task: Task) -> frozenset[str]:
    """The outputs that are true of any of a patient's stays."""

    def no_one(_: str) -> None:
        return None

    return frozenset[str]().union(*(label.target for label in task.labels(patient, no_one)))


def stratify(
    sites: Mapping[str, Mapping[str, frozenset[str]]],
    outputs: Sequence[str],
    *,
    how: Stratified,
) -> dict[str, dict[str, Part]]:
    """Every patient's part, by site and id.

    Args:
        sites: For each site and patient the outputs that are true.
        outputs: L names.
        how: Seed and shares.

    Raises:
        ValueError: There are too few patients to divide.
    """
    people = [(site, patient) for site in sorted(sites) for patient in sorted(sites[site])]
    number = {output: n for n, output in enumerate(outputs)}
    truth = np.zeros((len(people), len(outputs) + 1), np.int8)
    for row, (site, patient) in enumerate(people):
        truth[row, [number[output] for output in sites[site][patient]]] = 1
    # A patient without any output is of a kind too, and dealt out as evenly.
    truth[:, -1] = ~truth[:, :-1].any(1)
    parts: dict[str, dict[str, Part]] = {site: {} for site in sites}
    rest, heldout = _dealt(truth, how.heldout, seed=how.seed)
    train, tune = _dealt(truth[rest], how.tune / (1 - how.heldout), seed=how.seed)
    groups: tuple[tuple[Part, NDArray[np.int64]], ...] = (
        ("heldout", heldout),
        ("tune", rest[tune]),
        ("train", rest[train]),
    )
    for part, rows in groups:
        for row in rows:
            site, patient = people[row]
            parts[site][patient] = part
    return parts


def _dealt(
    truth: NDArray[np.int8], share: float, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by whether they lie outside or inside a share, each in order."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    outside, inside = next(splitter.split(np.zeros(len(truth)), truth))
    return np.sort(outside), np.sort(inside)
