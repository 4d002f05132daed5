"""Mechanism: how a head is trained on patients, with its privacy inseparable from it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from privacy.budget import Budget, Spend
from privacy.ledger import Receipt
from privacy.spec import Kind

T = TypeVar("T")

Losses = Callable[[nn.Module, Sequence[T]], Tensor]
"""(head, patients) -> one loss per patient, shape (P,); with no patients, shape (0,)."""

Learner = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
"""Makes the optimizer for a head's parameters."""


class Mechanism(Kind):
    """How a study trains at a site. Other packages add kinds under `fedward.mechanisms`.

    Guarantees:
        `fit` takes a `Receipt`, so it cannot be called before the ledger was charged, and it
        does what the receipt says: that noise, that rate, that many steps.
    """

    @property
    @abstractmethod
    def promise(self) -> Budget | None:
        """What a whole study costs a patient of one site at most; None promises nothing."""

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
    def fit(
        self,
        head: nn.Module,
        patients: Sequence[Any],
        *,
        receipt: Receipt,
        losses: Losses[Any],
        learner: Learner,
        declared_patients: int,
        generator: torch.Generator,
    ) -> None:
        """Trains `head` in place for `receipt.spend.steps` steps.

        Args:
            head: Every parameter that requires a gradient is trained.
            patients: One item per patient, all of the patient's data in it.
            receipt: The charge for this call.
            losses: One number per patient, from that patient's data alone.
            learner: Makes the optimizer.
            declared_patients: The site's public, rounded number; with the sample rate it
                gives the normaliser of the gradient, so that the true number stays private.
            generator: Source of the sampling and the noise.
        """


def poisson(
    patients: Sequence[T], *, sample_rate: float, steps: int, generator: torch.Generator
) -> Iterator[list[T]]:
    """`steps` Poisson samples: each patient is in each with chance `sample_rate`, independently.

    A sample may be empty; it still counts as a step.
    """
    from opacus.utils.uniform_sampler import UniformWithReplacementSampler

    if not patients:  # Opacus's sampler refuses an empty set; an empty site still takes its steps
        yield from ([] for _ in range(steps))
        return
    sampler = UniformWithReplacementSampler(
        num_samples=len(patients), sample_rate=sample_rate, steps=steps, generator=generator
    )
    for drawn in sampler:
        yield [patients[index] for index in drawn]
