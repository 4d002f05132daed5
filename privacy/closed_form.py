"""gaussian-sums: a head that follows from sums over patients, from one noisy sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from privacy import gaussian_sums, moments
from privacy.accounting import noise_multiplier
from privacy.budget import Budget, Spend
from privacy.mechanism import Mechanism, Memory, Training
from privacy.moments import Moments, Pairs

PATIENTS_AT_A_TIME = 64

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class GaussianSums(Mechanism):
    """Cut each patient's moments, sum them, add Gaussian noise: once in a study.

    Guarantees:
        Unit: one patient with all of that patient's notes, who is one row of moments (see
        `privacy.moments`). Neighbours: data sets that differ by one added or removed patient.
        Sensitivity: each row is cut to L2 norm `clip`, so the sum of rows changes by at most
        `clip` in L2 norm; noise of standard deviation `noise_multiplier * clip` is added to every
        number of the row, and so of `noise_multiplier * clip / cross_scale` to every number of
        the sum of `z y'`. No patients give noise alone. The sum is divided by the declared
        number of patients, which is public.
        All patients are in the sum: the cost is that of one Gaussian mechanism at sampling rate
        1, with the noise for which the ledger's own accountants find at most (epsilon, delta).
        That is up to 2% more than `gaussian_sums.least_noise`, because they do not know that
        this mechanism has an exact formula.
        The head's weights are these sums; what is solved from them, and how much it is
        regularised, is post-processing and needs no trust.
    Needs:
        A head whose weights are `gram` and `cross` (`Training.pairs`), and a study of one round
        with one step at sampling rate 1.

    Attributes:
        epsilon: For the whole study at one site, greater than 0 and finite.
        delta: As in `Budget`.
        clip: L2 norm that each patient's row is cut to. With inputs of length at most r and k
            targets that are true of each stay, a row is no longer than r^2 sqrt(1 + k
            cross_scale^2 / r^2).
        cross_scale: How much of the row the targets have: more of it gives the sums with targets
            less noise, and those without more.
    """

    kind: ClassVar[str] = "gaussian-sums"
    by_steps: ClassVar[bool] = False
    by_sums: ClassVar[bool] = True
    epsilon: _Positive
    delta: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5
    clip: _Positive = 1.0
    cross_scale: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.5

    @property
    def promise(self) -> Budget:
        """See `Mechanism.promise`."""
        return Budget(epsilon=self.epsilon, delta=self.delta)

    @property
    def largest_clip(self) -> float:
        """See `Mechanism.largest_clip`: of a patient's row of moments, which takes the place of
        a gradient.
        """
        return self.clip

    def spend(
        self, *, study: str, round: int, rounds: int, steps: int, sample_rate: float
    ) -> Spend:
        """See `Mechanism.spend`.

        Raises:
            ValueError: The study is not of one round with one step at rate 1.
        """
        if (rounds, steps, sample_rate) != (1, 1, 1):
            raise ValueError("gaussian-sums sums once: rounds, steps and sample_rate must be 1")
        noise = noise_multiplier(self.promise, sample_rate=1, steps=1)
        return gaussian_sums.spend(study=study, round=round, noise_multiplier=noise)

    def fit(self, head: nn.Module, patients: Sequence[Any], training: Training) -> Memory:
        """See `Mechanism.fit`.

        Raises:
            ValueError: The receipt is for something else, or the head is no such head.
        """
        spend = training.receipt.spend
        if not spend.noise_multiplier > 0:
            raise ValueError("gaussian-sums was given a receipt without noise")
        if (spend.steps, spend.sample_rate) != (1, 1):
            raise ValueError("gaussian-sums was given a receipt for steps that it does not take")
        total = moments.summed(
            batches(head, patients, training),
            moments.zero(head),
            clip=self.clip,
            cross_scale=self.cross_scale,
        )
        noisy = self._noisy(total, training, noise=spend.noise_multiplier)
        noisy.write(head, patients=training.declared_patients)
        return {}

    def _noisy(self, total: Moments, training: Training, *, noise: float) -> Moments:
        row = torch.cat([total.gram.flatten(), total.cross.flatten() * self.cross_scale])
        made = gaussian_sums.with_noise(
            row.numpy(), clip=self.clip, noise_multiplier=noise, stream=training.stream
        )
        of_gram, of_cross = made[: total.gram.numel()], made[total.gram.numel() :]
        return Moments(
            torch.from_numpy(of_gram).reshape(total.gram.shape),
            torch.from_numpy(of_cross / self.cross_scale).reshape(total.cross.shape),
        )


def batches(head: nn.Module, patients: Sequence[Any], training: Training) -> Iterator[Pairs]:
    """All patients' pairs, some patients at a time.

    Raises:
        ValueError: The head learns by steps.
    """
    if training.pairs is None:
        raise ValueError("this head does not follow from sums over patients")
    for start in range(0, len(patients), PATIENTS_AT_A_TIME):
        with torch.no_grad():
            yield training.pairs(head, patients[start : start + PATIENTS_AT_A_TIME])
