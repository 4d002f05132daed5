"""Mechanism: how a head is trained on patients, with its privacy inseparable from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from privacy.budget import Budget, Spend
from privacy.ledger import Receipt
from privacy.moments import Paired
from privacy.randomness import Stream
from privacy.spec import Kind

T = TypeVar("T")

Losses = Callable[[nn.Module, Sequence[T]], Tensor]
"""(head, patients) -> one loss per patient, shape (P,); with no patients, shape (0,)."""

Learner = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
"""Makes the optimizer for a head's parameters."""

Memory = Mapping[str, float]
"""What a mechanism carries from one round of a study to the next at a site."""


@dataclass(frozen=True, slots=True)
class Training:
    """What one round of training is given.

    Attributes:
        receipt: The charge for this round.
        losses: One number per patient, from that patient's data alone.
        learner: Makes the optimizer.
        declared_patients: The site's public, rounded number; with the sample rate it gives the
            normaliser of the gradient, so that the true number stays private.
        stream: Source of the sampling and the noise.
        memory: What the round before left.
        at_once: Most patients that are worked on at a time; memory, and nothing else.
        pairs: Where the head follows from sums over patients, what is summed; None where it
            learns by steps.
    """

    receipt: Receipt
    losses: Losses[Any]
    learner: Learner
    declared_patients: int
    stream: Stream
    memory: Memory = field(default_factory=dict)
    at_once: int = 1024
    pairs: Paired[Any] | None = None

    @property
    def expected(self) -> float:
        """Patients in a step as public numbers have it."""
        return self.receipt.spend.sample_rate * self.declared_patients


class Mechanism(Kind):
    """How a study trains at a site. Other packages add kinds under `fedward.mechanisms`.

    Guarantees:
        `fit` takes a `Receipt`, so it cannot be called before the ledger was charged, and it
        does what the receipt says: that noise, that rate, that many steps.

    Attributes:
        by_steps: Whether it fits heads that learn by steps along a loss (`Training.losses`).
        by_sums: Whether it fits heads that follow from sums over patients (`Training.pairs`).
    """

    by_steps: ClassVar[bool] = True
    by_sums: ClassVar[bool] = False

    @property
    @abstractmethod
    def promise(self) -> Budget | None:
        """What a whole study costs a patient of one site at most; None promises nothing."""

    @property
    @abstractmethod
    def largest_clip(self) -> float | None:
        """The largest norm that a patient's gradient may keep; None where nothing is clipped."""

    @abstractmethod
    def spend(
        self, *, study: str, round: int, rounds: int, steps: int, sample_rate: float
    ) -> Spend:
        """What one round costs, from public numbers only.

        Args:
            study: The study's digest.
            round: This round, from 1.
            rounds: All rounds of the study.
            steps: Steps in each round.
            sample_rate: Chance of each patient to be in a step.
        """

    @abstractmethod
    def fit(self, head: nn.Module, patients: Sequence[Any], training: Training) -> Memory:
        """Trains `head` in place for `receipt.spend.steps` steps.

        Args:
            head: Every parameter that requires a gradient is trained.
            patients: One item per patient, all of the patient's data in it.
            training: Everything else.

        Returns:
            What the next round of the same study wants to know; as private as the update is.
        """


def poisson(
    patients: Sequence[T], *, sample_rate: float, steps: int, stream: Stream
) -> Iterator[list[T]]:
    """`steps` Poisson samples: each patient is in each with chance `sample_rate`, independently.

    A sample may be empty; it still counts as a step. Opacus's sampler does the same from a
    generator of PyTorch, which is not cryptographic.
    """
    for _ in range(steps):
        drawn = np.flatnonzero(stream.uniform(len(patients)) < sample_rate)
        yield [patients[index] for index in drawn.tolist()]
