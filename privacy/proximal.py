"""The proximal term of FedProx (Li et al. 2020, arXiv:1812.06127), for every mechanism."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from privacy.mechanism import Learner


def held(learner: Learner, *, mu: float) -> Learner:
    """A learner whose steps also follow the gradient of `mu / 2 * ||w - w_round||^2`.

    `w_round` are the weights that the optimizer is made with: those that the round began with.

    Guarantees:
        Costs no privacy. The term's gradient, `mu * (w - w_round)`, rests on weights that are
        public or were released by noisy steps before, and on no patient; it is added where the
        optimizer takes its step, which is after `dp-sgd` has clipped, summed, noised and scaled,
        so it is post-processing. Unit, neighbours and sensitivity stay those of the mechanism:
        no patient's gradient holds the term, so no clip cuts it and none is cut more for it.

    The gradient of a step is a sum over patients divided by their expected number, so `mu`
    weighs against the mean loss of a patient, whatever the size of the site.

    Args:
        learner: Makes the optimizer.
        mu: 0 gives the learner as it is.
    """
    if mu == 0:
        return learner

    def build(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = learner(parameters)
        start = [
            (value, value.detach().clone())
            for group in optimizer.param_groups
            for value in group["params"]
        ]

        depth = 0

        def pull(*_: Any) -> None:
            nonlocal depth
            depth += 1
            if depth > 1:  # a step that calls its parent class's: torch runs hooks at each
                return
            with torch.no_grad():
                for value, began in start:
                    away = mu * (value - began)
                    value.grad = away if value.grad is None else value.grad + away

        def done(*_: Any) -> None:
            nonlocal depth
            depth -= 1

        optimizer.register_step_pre_hook(pull)
        optimizer.register_step_post_hook(done)
        return optimizer

    return build
