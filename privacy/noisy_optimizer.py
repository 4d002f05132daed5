"""Opacus's optimizer with noise from our stream and a clip that may change between steps."""

from __future__ import annotations

import torch
from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
from torch import Tensor

from privacy.randomness import Stream


class NoisyOptimizer(DPOptimizerFastGradientClipping):  # type: ignore[misc]  # has no types
    """Adds noise to a sum of clipped gradients, divides by a public number, steps.

    Guarantees:
        Unit: one patient. Neighbours: one patient added or removed. Sensitivity of the sum in
        L2 norm: `max_grad_norm`, the clip, where the weights' `grad` holds what
        `privacy.clipped_sums` left there. The noise that is added to it at every step has
        standard deviation `noise_multiplier * max_grad_norm`, from `stream`.

    Opacus keeps count and scales; the sum and the source of the noise are ours.

    Args:
        optimizer: Takes the step.
        noise_multiplier: Deviation of the noise over the clip.
        clip: L2 norm that each patient's gradient was cut to.
        expected: Patients in a step as public numbers have it; the normaliser.
        stream: Source of the noise.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        clip: float,
        expected: float,
        stream: Stream,
    ) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip,
            expected_batch_size=expected,
            loss_reduction="mean",
        )
        self._stream = stream

    def add_noise(self) -> None:
        """Adds noise to each sum of clipped gradients."""
        std = self.noise_multiplier * self.max_grad_norm
        for parameter in self.params:
            total: Tensor = parameter.summed_grad
            noise = self._stream.normal(tuple(total.shape)) * std
            # The sum is taken in double precision and rounded once.
            noisy = (total.double() + noise.to(total.device)).to(total.dtype)
            parameter.grad = noisy.view_as(parameter)
