"""Each patient's own gradient, as `dp-sgd` has it before it clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from privacy.mechanism import Losses


def patient_gradients(
    head: nn.Module, patients: Sequence[Any], losses: Losses[Any]
) -> dict[str, Tensor]:
    """The gradient of each patient's loss, (P, ...) by the parameter's name.

    For audits: nothing is clipped and no noise is added, so the result is as private as the
    patients are. Opacus writes each gradient down here, where `dp-sgd` sums without that
    (`privacy.clipped_sums`); every head that the one trains the other can audit. A patient whose
    gradient is not finite, or longer than `LONGEST`, counts as zero, as there.

    Args:
        head: Left as it was, without gradients.
        patients: At least one.
        losses: As in `privacy.mechanism.Training`.
    """
    from opacus.grad_sample import GradSampleModule

    from privacy.clipped_sums import forget, quiet_hooks

    trained = {name: p for name, p in head.named_parameters() if p.requires_grad}
    was_training = head.training
    model = GradSampleModule(head, loss_reduction="mean")
    model.train()
    try:
        with quiet_hooks():
            losses(model, patients).mean().backward()  # type: ignore[no-untyped-call]  # torch's own
        found = {
            name: torch.zeros(len(patients), *p.shape)
            if vars(p)["grad_sample"] is None  # no loss reaches it
            else vars(p)["grad_sample"].detach()
            for name, p in trained.items()
        }
        _silence(list(found.values()))
    finally:
        model.to_standard_module()
        forget(head)
        for parameter in trained.values():
            parameter.grad = None
        head.train(was_training)
    return found


def _silence(samples: Sequence[Tensor]) -> None:
    """Zeroes the gradients of each patient whose norm over all of them `dp-sgd` counts as zero."""
    from privacy.clipped_sums import LONGEST

    squares = torch.stack([g.double().flatten(1).norm(dim=1) for g in samples]).square().sum(0)
    broken = ~(squares.sqrt() <= LONGEST)
    for sample in samples:
        sample[broken] = 0
