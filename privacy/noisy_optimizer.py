"""Opacus's optimizer with noise from our stream and a clip that may change between steps."""

from __future__ import annotations

import torch
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from privacy.randomness import Stream


class NoisyOptimizer(DPOptimizer):  # type: ignore[misc]  # Opacus has no types
    """Clips each patient's gradient, sums, adds noise, divides by a public number, steps.

    Guarantees:
        Unit: one patient. Neighbours: one patient added or removed. Sensitivity of the sum in
        L2 norm: `max_grad_norm`, the clip. The noise that is added to it at every step has
        standard deviation `noise_multiplier * max_grad_norm`, from `stream`.

    Opacus clips, sums and scales; only the source of the noise is ours.

    Args:
        optimizer: Takes the step.
        noise_multiplier: Deviation of the noise over the clip.
        clip: L2 norm that each patient's gradient is cut to.
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


def patient_norms(head: nn.Module) -> Tensor:
    """Each sampled patient's own gradient norm over all parameters, (P,), float32."""
    samples: list[Tensor] = [vars(p)["grad_sample"] for p in head.parameters() if p.requires_grad]
    return torch.stack([g.flatten(1).norm(dim=1) for g in samples]).square().sum(0).sqrt()


def silence(head: nn.Module) -> None:
    """Zeroes the gradient of each patient whose own norm is not finite."""
    broken = ~torch.isfinite(patient_norms(head))
    if broken.any():
        for parameter in head.parameters():
            if parameter.requires_grad:
                vars(parameter)["grad_sample"][broken] = 0


def forget(head: nn.Module) -> None:
    """Takes off what Opacus leaves on a head: the clipped sum without noise, and inputs; whoever
    pickled the head would write them down.
    """
    for value in head.parameters():
        vars(value).pop("summed_grad", None)
    for module in head.modules():
        vars(module).pop("activations", None)
