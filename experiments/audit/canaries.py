"""Canaries: patients that nobody is, made to show in an update as much as a patient can."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privacy.randomness import Stream
from tasks.bags import PatientBag
from tasks.study import Study

MOST_CHUNKS = 64
"""Of a canary's stay, where the study allows more: beyond, they would only cost memory."""


def canaries(study: Study, number: int, numbers: Stream) -> list[PatientBag]:
    """Canaries that fill the study's bag, made without a look at any site's data.

    Each has one random direction, a vector of unit length, and one random set of true outputs
    (each with chance one half). Every chunk of every stay repeats them: pooled chunks would
    average independent vectors away, and stays that are alike add up fully in a mechanism that
    takes the stay for the unit. For a mechanism that keeps its promise a canary is one patient
    like any other, with one clipped gradient.

    Args:
        study: Gives the sizes.
        number: How many.
        numbers: Where directions and targets come from.
    """
    dim, outputs = study.encoder.dim, len(study.outputs)
    stays, chunks = study.bag.stays, min(study.bag.chunks, MOST_CHUNKS)
    found = []
    for _ in range(number):
        direction = numbers.normal((dim,)).numpy()
        vector = (direction / np.linalg.norm(direction)).astype(np.float32)
        true = tuple(np.flatnonzero(numbers.uniform(outputs) < 0.5).tolist())
        stay = np.repeat(vector[None], chunks, axis=0)
        found.append(PatientBag((stay,) * stays, (true,) * stays))
    return found


def coins(number: int, numbers: Stream) -> NDArray[np.bool_]:
    """Which canaries are in, (number,): each by a fair coin of its own."""
    return numbers.uniform(number) < 0.5


def included(some: Sequence[PatientBag], by: NDArray[np.bool_]) -> list[PatientBag]:
    """The canaries whose coin says so, in order."""
    return [canary for canary, coin in zip(some, by.tolist(), strict=True) if coin]
