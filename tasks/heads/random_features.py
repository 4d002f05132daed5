"""random-features: a linear head on fixed random features of the stay's mean vector."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from privacy.randomness import stream
from tasks.heads.head import Head, HeadSpec, Line, Number, Weights, mean_chunk, plain
from tasks.heads.questions import Questions


class RandomFeaturesHead(Head):
    """A linear map of the mean vector and of ReLUs that nobody trains. See `RandomFeatures`."""

    def __init__(self, spec: RandomFeatures, dim: int, outputs: int) -> None:
        super().__init__()
        self.spec = spec
        self.out = nn.Linear(dim + spec.features, outputs)

    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """See `Head.forward`."""
        mean = mean_chunk(x, chunks)
        # Drawn when first needed: who asks for shapes alone waits for no numbers.
        directions, offsets = drawn(self.spec.seed, mean.shape[-1], self.spec.features)
        offsets = offsets.to(x.dtype) * self.spec.spread
        risen = torch.relu(mean @ directions.to(x.dtype) + offsets) - self.spec.middle
        bent = risen * (self.spec.bent_scale / self.spec.features**0.5)
        logits: Tensor = self.out(torch.cat([mean * self.spec.scale, bent], dim=-1))
        return logits

    def start(self, generator: torch.Generator) -> None:
        """See `Head.start`: a zero map."""
        del generator
        self.out.weight.zero_()
        self.out.bias.fill_(self.spec.bias)


class RandomFeatures(HeadSpec):
    """What a wide hidden layer gives without training it: the mean vector h and `relu(R h + r)`,
    R and r drawn once from a public seed (Rahimi and Recht 2008; ReLU features as in Cho and Saul
    2009), under one trained linear map. As easy to train under noise as `linear`, because the loss
    stays convex, and not as straight.

    Attributes:
        features: How many random features; each adds one trained number an output.
        seed: Of R and r, which are the same at every site and are never sent.
        spread: Standard deviation of r; the entries of R have 1, so those of R h have h's length.
        middle: Taken from every feature, so that they lie around zero.
        scale: As in `Linear`, of the mean vector.
        bent_scale: The same of the features, together.
        bias: As in `Linear`.
    """

    kind: ClassVar[str] = "random-features"
    features: Annotated[int, Field(ge=1, le=8192)] = 1024
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    middle: Number = 0.4
    scale: Number = 10.0
    bent_scale: Number = 10.0
    bias: Number = -3.0

    @property
    def takes_line(self) -> bool:
        """See `HeadSpec.takes_line`."""
        return self.scale != 0

    def on_line(self, line: Line, own: Weights) -> Weights:
        """See `HeadSpec.on_line`: the same logits for every stay, and none from the features."""
        slope, intercept = line
        weight = own["out.weight"].copy()
        weight[:, : len(slope)] = plain(slope.T / self.scale)
        return {"out.weight": weight, "out.bias": plain(intercept)}

    def build(self, *, dim: int, outputs: int, questions: Questions | None = None) -> Head:
        """See `HeadSpec.build`; questions are not used."""
        del questions
        return RandomFeaturesHead(self, dim, outputs)


@lru_cache(maxsize=8)
def drawn(seed: int, dim: int, features: int) -> tuple[Float[Tensor, "D K"], Float[Tensor, " K"]]:
    """Directions and offsets of unit deviation. From AES, whose bits are the same with every
    version of PyTorch and numpy, on every machine.
    """
    numbers = stream(f"random-features/{seed}")
    directions = numbers.normal((dim, features))
    return directions.float(), numbers.normal((features,)).float()
