"""linear: one linear map of the stay's mean vector."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tasks.heads.head import Head, HeadSpec, Line, Number, Weights, mean_chunk, plain
from tasks.heads.questions import Questions


class LinearHead(Head):
    """Logits = A mean(chunks) * scale + b. See `Linear`."""

    def __init__(self, spec: Linear, dim: int, outputs: int) -> None:
        super().__init__()
        self.spec = spec
        self.out = nn.Linear(dim, outputs)

    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """See `Head.forward`."""
        logits: Tensor = self.out(mean_chunk(x, chunks) * self.spec.scale)
        return logits

    def start(self, generator: torch.Generator) -> None:
        """See `Head.start`: a zero map."""
        del generator
        self.out.weight.zero_()
        self.out.bias.fill_(self.spec.bias)


class Linear(HeadSpec):
    """A linear head; few trained numbers, so it bears noise well.

    Attributes:
        scale: The vectors have unit length; this factor on them sets how fast the map learns
            beside the bias.
        bias: Where every output's bias starts: a public constant, never a prevalence, because
            prevalences are counts of patients.
    """

    kind: ClassVar[str] = "linear"
    is_line: ClassVar[bool] = True
    scale: Number = 1.0
    bias: Number = -3.0

    @property
    def takes_line(self) -> bool:
        """See `HeadSpec.takes_line`."""
        return self.scale != 0

    def line(self, weights: Weights) -> Line:
        """See `HeadSpec.line`."""
        slope, intercept = (torch.from_numpy(weights[name]) for name in ("out.weight", "out.bias"))
        return slope.double().T * self.scale, intercept.double()

    def on_line(self, line: Line, own: Weights) -> Weights:
        """See `HeadSpec.on_line`: the same logits for every stay."""
        del own
        slope, intercept = line
        return {"out.weight": plain(slope.T / self.scale), "out.bias": plain(intercept)}

    def build(self, *, dim: int, outputs: int, questions: Questions | None = None) -> Head:
        """See `HeadSpec.build`; questions are not used."""
        del questions
        return LinearHead(self, dim, outputs)
