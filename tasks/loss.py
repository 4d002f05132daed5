"""The loss: one number per patient, from that patient alone."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tasks.bags import Batch


def patient_losses(logits: Float[Tensor, "P S L"], batch: Batch) -> Float[Tensor, " P"]:
    """Binary cross-entropy, averaged over outputs and then over the patient's own stays."""
    each = binary_cross_entropy_with_logits(logits, batch.y, reduction="none").mean(-1)
    real = batch.stays.to(each.dtype)
    return (each * real).sum(-1) / real.sum(-1).clamp(min=1)
