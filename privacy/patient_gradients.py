"""Each patient's own gradient, as `dp-sgd` takes it before it clips."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from privacy.mechanism import Losses


def patient_gradients(
    head: nn.Module, patients: Sequence[Any], losses: Losses[Any]
) -> dict[str, Tensor]:
    """The gradient of each patient's loss, (P, ...) by the parameter's name.

    For audits: nothing is clipped and no noise is added, so the result is as private as the
    patients are. The same hooks of Opacus as in `dp-sgd`, so that every head that it trains can
    be audited. A patient whose gradient is not finite counts as zero, as there.

    Args:
        head: Left as it was, without gradients.
        patients: At least one.
        losses: As in `privacy.mechanism.Training`.
    """
    from opacus.grad_sample import GradSampleModule

    from privacy.noisy_optimizer import forget, silence

    logging.getLogger("opacus").setLevel(logging.ERROR)
    trained = {name: p for name, p in head.named_parameters() if p.requires_grad}
    was_training = head.training
    model = GradSampleModule(head, loss_reduction="mean")
    model.train()
    try:
        with warnings.catch_warnings():
            # As in `dp_sgd`: the vectors are frozen, so no input needs a gradient.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            losses(model, patients).mean().backward()  # type: ignore[no-untyped-call]
        silence(head)
        found = {name: vars(p)["grad_sample"].detach() for name, p in trained.items()}
    finally:
        model.to_standard_module()
        forget(head)
        for parameter in trained.values():
            parameter.grad = None
        head.train(was_training)
    return found
