"""off: ordinary training, without privacy, said out loud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from privacy import moments
from privacy.budget import Spend
from privacy.closed_form import batches
from privacy.mechanism import Mechanism, Memory, Training, poisson


class Off(Mechanism):
    """The same steps as `dp-sgd` without clipping and without noise; for a head that follows from
    sums over patients, the exact sums.

    Guarantees:
        None. Its spend has noise multiplier 0, which the ledger counts as infinite epsilon; a
        site takes part only if its policy names `off` and sets no ceiling.
    """

    kind: ClassVar[str] = "off"
    by_sums: ClassVar[bool] = True

    @property
    def promise(self) -> None:
        """See `Mechanism.promise`: nothing."""

    @property
    def largest_clip(self) -> None:
        """See `Mechanism.largest_clip`: nothing is clipped."""

    def spend(
        self, *, study: str, round: int, rounds: int, steps: int, sample_rate: float
    ) -> Spend:
        """See `Mechanism.spend`: no noise."""
        del rounds
        return Spend(
            study=study, round=round, noise_multiplier=0, sample_rate=sample_rate, steps=steps
        )

    def fit(self, head: nn.Module, patients: Sequence[Any], training: Training) -> Memory:
        """See `Mechanism.fit`. Sums are taken over all patients, once."""
        spend = training.receipt.spend
        if spend.noise_multiplier != 0:
            raise ValueError("'off' adds no noise, but its receipt says that it does")
        if training.pairs is not None:
            total = moments.summed(batches(head, patients, training), moments.zero(head))
            total.write(head, patients=training.declared_patients)
            return {}
        optimizer = training.learner(iter(p for p in head.parameters() if p.requires_grad))
        head.train()
        for sample in poisson(
            patients, sample_rate=spend.sample_rate, steps=spend.steps, stream=training.stream
        ):
            optimizer.zero_grad()
            for start in range(0, max(1, len(sample)), training.at_once):
                some = training.losses(head, sample[start : start + training.at_once])
                (some.sum() / training.expected).backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()
        return {}
