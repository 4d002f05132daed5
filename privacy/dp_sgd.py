"""dp-sgd: patient-level DP-SGD (Abadi et al. 2016, arXiv:1607.00133) through Opacus."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from privacy.accounting import noise_multiplier
from privacy.budget import Budget, Spend
from privacy.ledger import Receipt
from privacy.mechanism import Learner, Losses, Mechanism, poisson


class DpSgd(Mechanism):
    """Clip each patient's gradient, add Gaussian noise to the sum, step.

    Guarantees:
        Unit: one patient with all of that patient's notes. Neighbours: data sets that differ
        by one added or removed patient. Sensitivity: the sum of clipped per-patient gradients
        changes by at most `clip` in L2 norm when one patient is added or removed; noise of
        standard deviation `noise_multiplier * clip` is added to it at every step, an empty
        sample included. The sum is divided by `sample_rate * declared_patients`, both public.
        A study of `rounds * steps` such steps is (epsilon, delta)-DP; what the optimizer makes
        of the noisy gradients is post-processing.
        A patient whose gradient is not finite counts as zero: weights chosen for it could
        otherwise make one patient's overflow spoil the sum, and so show that the patient is there.
    Needs:
        One loss per patient that depends on no other patient (no batch norm, masked pools).

    Attributes:
        epsilon: For the whole study at one site, greater than 0 and finite.
        delta: As in `Budget`.
        clip: L2 norm that each patient's gradient is cut to.
    """

    kind: ClassVar[str] = "dp-sgd"
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @property
    def promise(self) -> Budget:
        """See `Mechanism.promise`."""
        return Budget(epsilon=self.epsilon, delta=self.delta)

    def spend(
        self, *, study: str, round: int, rounds: int, steps: int, sample_rate: float
    ) -> Spend:
        """See `Mechanism.spend`: noise calibrated so that all rounds together cost `epsilon`."""
        noise = noise_multiplier(self.promise, sample_rate=sample_rate, steps=rounds * steps)
        return Spend(
            study=study,
            round=round,
            noise_multiplier=noise,
            sample_rate=sample_rate,
            steps=steps,
        )

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
        """See `Mechanism.fit`."""
        spend = receipt.spend
        if not spend.noise_multiplier > 0:
            raise ValueError("dp-sgd was given a receipt without noise")
        self._steps(
            head,
            poisson(
                patients,
                sample_rate=spend.sample_rate,
                steps=spend.steps,
                generator=generator,
            ),
            noise=spend.noise_multiplier,
            expected=spend.sample_rate * declared_patients,
            losses=losses,
            learner=learner,
            generator=generator,
        )

    def _steps(
        self,
        head: nn.Module,
        samples: Any,
        *,
        noise: float,
        expected: float,
        losses: Losses[Any],
        learner: Learner,
        generator: torch.Generator,
    ) -> None:
        """One noisy step per sample. Opacus's PrivacyEngine is not used: it takes the sample
        rate and the normaliser from the true number of patients, which is private.
        """
        from opacus.grad_sample import GradSampleModule
        from opacus.optimizers import DPOptimizer

        logging.getLogger("opacus").setLevel(logging.ERROR)
        model = GradSampleModule(head, loss_reduction="mean")
        optimizer = DPOptimizer(
            learner(iter(p for p in head.parameters() if p.requires_grad)),
            noise_multiplier=noise,
            max_grad_norm=self.clip,
            expected_batch_size=expected,
            loss_reduction="mean",
            generator=generator,
            # Adds noise in five draws, so that the low bits of a float do not give the
            # sum away (Holohan and Braghin 2021, arXiv:2107.10138).
            secure_mode=True,
        )
        model.train()
        try:
            with warnings.catch_warnings():
                # Opacus registers full backward hooks; torch warns where no input needs a
                # gradient, which is always so here: the vectors are frozen.
                warnings.filterwarnings("ignore", message="Full backward hook is firing")
                for sample in samples:
                    optimizer.zero_grad()
                    per_patient = losses(model, sample)
                    loss = per_patient.mean() if len(sample) else per_patient.sum()
                    loss.backward()  # type: ignore[no-untyped-call]
                    _silence(head)
                    optimizer.step()
        finally:
            model.to_standard_module()
            # Opacus leaves the clipped sum without noise, and inputs, on the head; whoever
            # pickled it would write them down.
            for value in head.parameters():
                vars(value).pop("summed_grad", None)
            for module in head.modules():
                vars(module).pop("activations", None)


def _silence(head: nn.Module) -> None:
    """Zeroes the gradient of each patient whose own joint norm is not finite."""
    samples: list[Tensor] = [vars(p)["grad_sample"] for p in head.parameters() if p.requires_grad]
    squares = torch.stack([g.flatten(1).norm(dim=1) for g in samples]).square().sum(0)
    broken = ~torch.isfinite(squares)
    if broken.any():
        for sample in samples:
            sample[broken] = 0
