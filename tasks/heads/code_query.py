"""code-query: every code asks each chunk its own question."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from tasks.heads.head import Head, HeadSpec, Number, mean_chunk


class CodeQueryHead(Head):
    """Two D x D maps and a bias per code around frozen question vectors. See `CodeQuery`."""

    questions: Tensor

    def __init__(self, spec: CodeQuery, dim: int, questions: Float[Tensor, "L D"]) -> None:
        super().__init__()
        outputs = len(questions)
        self.spec = spec
        self.pick = nn.Linear(dim, dim, bias=False)
        self.score = nn.Linear(dim, dim, bias=False)
        # A bias per code, written as a map of one constant: Opacus knows Linear, and a bare
        # parameter would need a rule of its own.
        self.bias = nn.Linear(1, outputs, bias=False)
        self.residual = nn.Linear(dim, outputs, bias=False) if spec.residual else None
        self.register_buffer("questions", questions, persistent=False)

    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """See `Head.forward`."""
        picked = self.pick(x) @ self.questions.T * self.spec.sharpness
        scored = self.score(x) @ self.questions.T * self.spec.scale
        # Padding gets no weight. A stay of padding only would give NaN with -inf; with the
        # least finite number its weights are uniform, and its logits are never read.
        hidden = ~chunks.unsqueeze(-1)
        weights = picked.masked_fill(hidden, torch.finfo(x.dtype).min).softmax(2)
        constant = torch.full_like(x[:, :, 0, :1], self.spec.bias_scale)
        logits: Tensor = (weights * scored).sum(2) + self.bias(constant)
        if self.residual is not None:
            logits = logits + self.residual(mean_chunk(x, chunks) * self.spec.residual_scale)
        return logits

    def start(self, generator: torch.Generator) -> None:
        """See `Head.start`: identities, a constant bias, a zero residual."""
        del generator
        nn.init.eye_(self.pick.weight)
        nn.init.eye_(self.score.weight)
        self.bias.weight.fill_(self.spec.bias / self.spec.bias_scale)
        if self.residual is not None:
            self.residual.weight.zero_()


class CodeQuery(HeadSpec):
    """`q = U h_c . v_l` picks chunks (softmax over a stay's chunks), `z = W h_c . v_l` scores
    them, summed, plus a bias per code. `v_l` is the frozen encoder's vector of what the code
    means, so about 2 D^2 numbers are trained whatever the number of codes, and a code that no
    hospital ever gave still has a score. U and W start at the identity.

    Attributes:
        sharpness: Factor on q: how strongly the best chunk outweighs the others.
        scale: Factor on z: cosines lie in [-1, 1], logits do not.
        bias: As in `Linear`.
        bias_scale: How fast the biases learn beside the maps: they are trained as
            `bias_scale * b`.
        residual: Adds a zero-started linear map of the stay's mean vector (D numbers a code).
        residual_scale: Factor on that map's input.
    """

    kind: ClassVar[str] = "code-query"
    sharpness: Number = 15.0
    scale: Number = 30.0
    bias: Number = -11.0
    bias_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    residual: bool = False
    residual_scale: Number = 1.0

    def build(
        self, *, dim: int, outputs: int, questions: Float[Tensor, "L D"] | None = None
    ) -> Head:
        """See `HeadSpec.build`."""
        if questions is None:
            questions = torch.zeros(outputs, dim)
        if tuple(questions.shape) != (outputs, dim):
            raise ValueError(f"questions must have shape {(outputs, dim)}")
        return CodeQueryHead(self, dim, questions)
