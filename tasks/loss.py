"""The loss: one number per patient, from that patient alone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from tasks.bags import Batch


def patient_losses(
    logits: Float[Tensor, "P S L"], batch: Batch, *, exclusive: bool = False
) -> Float[Tensor, " P"]:
    """Cross-entropy, averaged over the patient's own stays.

    Args:
        logits: Of every stay.
        batch: The patients.
        exclusive: Whether exactly one output is true of a stay (`Task.exclusive`): softmax over
            the outputs. Otherwise each output is a yes or no, and their mean is taken.
    """
    if exclusive:
        each = -(log_softmax(logits, dim=-1) * batch.y).sum(-1)
    else:
        each = binary_cross_entropy_with_logits(logits, batch.y, reduction="none").mean(-1)
    real = batch.stays.to(each.dtype)
    return (each * real).sum(-1) / real.sum(-1).clamp(min=1)


def log_odds(logits: Float[Tensor, "*N L"]) -> Float[Tensor, "*N L"]:
    """The log-odds of each of L exclusive outputs: its logit less the log-sum-exp of the others'.

    Where the logit of a yes or no is compared with a fixed edge, this is what an exclusive
    output has instead: its sigmoid is the output's probability under softmax.
    """
    # Sums over those before and those after: log(p / (1 - p)) loses every digit as p nears 1.
    nothing = torch.full_like(logits[..., :1], -torch.inf)
    before = torch.cat([nothing, logits[..., :-1].logcumsumexp(-1)], -1)
    after = torch.cat([logits.flip(-1)[..., :-1].logcumsumexp(-1).flip(-1), nothing], -1)
    return logits - torch.logaddexp(before, after)
