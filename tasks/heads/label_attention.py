"""label-attention: every output has its own attention over the chunks and its own score."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tasks.heads.head import Head, HeadSpec, Number, fitting, normal_
from tasks.heads.questions import Questions


class LabelAttentionHead(Head):
    """Two linear maps of each chunk, D to L. See `LabelAttention`."""

    titles: Tensor

    def __init__(self, spec: LabelAttention, dim: int, questions: Questions) -> None:
        super().__init__()
        self.spec = spec
        self.pick = nn.Linear(dim, questions.outputs, bias=False)
        self.score = nn.Linear(dim, questions.outputs)
        self.register_buffer("titles", questions.mean().vectors, persistent=False)

    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """See `Head.forward`."""
        picked, scored = self.pick(x * self.spec.rate), self.score(x * self.spec.rate)
        if self.spec.start_from == "titles":
            known = x @ self.titles.T
            picked = picked + known * self.spec.sharpness
            scored = scored + known * self.spec.scale
        # As in `CodeQueryHead`: padding gets no weight, and a stay of padding only no NaN.
        hidden = ~chunks.unsqueeze(-1)
        weights = picked.masked_fill(hidden, torch.finfo(x.dtype).min).softmax(2)
        logits: Tensor = (weights * scored).sum(2)
        return logits

    def start(self, generator: torch.Generator) -> None:
        """See `Head.start`: what the titles do not give starts at zero, or else at random."""
        self.score.weight.zero_()
        self.score.bias.fill_(self.spec.bias)
        if self.spec.start_from == "titles":
            self.pick.weight.zero_()
        else:
            normal_(self.pick.weight, generator, fan_in=self.pick.weight.shape[1])


class LabelAttention(HeadSpec):
    """Attention per label (Mullenbach et al. 2018, arXiv:1802.05695) on frozen chunk vectors:
    `softmax_c(A_l h_c)` weighs a stay's chunks and `B_l h_c` scores them; 2 D + 1 numbers are
    trained for each output.

    Attributes:
        start_from: `titles` starts both maps at the frozen vectors of what the outputs mean
            (their mean, where an output has several terms); `random` starts them without.
        sharpness: Factor on the vectors in the map that picks.
        scale: Factor on them in the map that scores.
        rate: Factor on the input of what is trained: how fast it moves away from its start.
        bias: As in `Linear`; where the scores start at the titles, it lies below them.
    """

    kind: ClassVar[str] = "label-attention"
    start_from: Literal["titles", "random"] = "titles"
    sharpness: Number = 15.0
    scale: Number = 30.0
    rate: Number = 10.0
    bias: Number = -11.0

    @property
    def reads_terms(self) -> bool:
        """See `HeadSpec.reads_terms`."""
        return self.start_from == "titles"

    def build(self, *, dim: int, outputs: int, questions: Questions | None = None) -> Head:
        """See `HeadSpec.build`."""
        return LabelAttentionHead(self, dim, fitting(questions, dim=dim, outputs=outputs))
