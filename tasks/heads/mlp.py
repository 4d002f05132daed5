"""mlp: a multi-layer perceptron on the stay's mean vector, as Xu and Dray (2025) use."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from tasks.heads.head import Head, HeadSpec, Number, mean_chunk, normal_
from tasks.heads.questions import Questions

SIZES = {"small": (256,), "medium": (512,), "large": (1024, 512)}
"""Widths of the hidden layers of each preset."""


class MlpHead(Head):
    """Linear layers with ReLU between them. See `Mlp`."""

    def __init__(self, spec: Mlp, dim: int, outputs: int) -> None:
        super().__init__()
        self.spec = spec
        widths = (dim, *(spec.hidden or SIZES[spec.size]))
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(widths[-1], outputs)

    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """See `Head.forward`."""
        h = mean_chunk(x, chunks) * self.spec.scale
        for layer in self.hidden:
            h = torch.relu(layer(h))
        logits: Tensor = self.out(h)
        return logits

    def start(self, generator: torch.Generator) -> None:
        """See `Head.start`: He et al. (2015, arXiv:1502.01852), and a zero map last."""
        for name, value in self.hidden.named_parameters():
            if name.endswith("weight"):
                normal_(value, generator, fan_in=value.shape[1])
                value.mul_(2**0.5)
            else:
                value.zero_()
        self.out.weight.zero_()
        self.out.bias.fill_(self.spec.bias)


class Mlp(HeadSpec):
    """A multi-layer perceptron.

    Attributes:
        size: A preset of `hidden`, in the spirit of the three sizes that Xu and Dray compare:
            `small` is 256, `medium` 512, `large` 1024 and 512.
        hidden: Widths of the hidden layers, first to last, in place of `size`.
        scale: As in `Linear`.
        bias: As in `Linear`.
    """

    kind: ClassVar[str] = "mlp"
    size: Literal["small", "medium", "large"] = "medium"
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(max_length=8)] = ()
    scale: Number = 1.0
    bias: Number = -3.0

    def build(self, *, dim: int, outputs: int, questions: Questions | None = None) -> Head:
        """See `HeadSpec.build`; questions are not used."""
        del questions
        return MlpHead(self, dim, outputs)
