"""Head, the small trained model on top of frozen vectors, and HeadSpec, which names one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from privacy.spec import Kind
from tasks.heads.questions import Questions

Number = Annotated[float, Field(allow_inf_nan=False)]

Weights = dict[str, NDArray[np.float32]]

Shapes = dict[str, tuple[int, ...]]

Line = tuple[Float[Tensor, "D L"], Float[Tensor, " L"]]
"""A linear map and an intercept, float64."""


class Head(nn.Module):
    """Scores each output for each stay.

    A subclass is made of layers that Opacus has per-sample gradients for, mixes no patients
    (no batch norm) and lets padding change nothing.
    """

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S L"]:
        """Logits; those of padded stays mean nothing."""

    @abstractmethod
    def start(self, generator: torch.Generator) -> None:
        """Sets every trained weight in place; called without gradients."""


class SummedHead(Head):
    """A head that follows from sums over patients: its weights are the parameters `gram` (K, K)
    and `cross` (K, L), the patients' mean moments (`privacy.moments`).
    """

    gram: nn.Parameter
    cross: nn.Parameter

    @abstractmethod
    def inputs(
        self, x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
    ) -> Float[Tensor, "P S K"]:
        """What each stay is regressed from; that of padded stays means nothing."""


class HeadSpec(Kind):
    """Names a head in a study. Other packages add kinds under `fedward.heads`.

    Attributes:
        by_sums: Whether it builds a `SummedHead`. Such a study has one round with one step at
            sampling rate 1, a mechanism that sums and a strategy that averages.
        is_line: Whether its logits are a linear map of the stay's mean vector, which `line` gives.
    """

    by_sums: ClassVar[bool] = False
    is_line: ClassVar[bool] = False

    @property
    def reads_terms(self) -> bool:
        """Whether the head asks for the outputs' other terms (`Task.terms`), too. Where no head
        does, they are not embedded.
        """
        return False

    @property
    def takes_line(self) -> bool:
        """Whether it can start from such a map (`on_line`)."""
        return False

    def line(self, weights: Weights) -> Line:
        """The linear map and intercept of the logits that trained weights give."""
        raise NotImplementedError(f"{self.kind} is no linear map of the mean vector")

    def on_line(self, line: Line, own: Weights) -> Weights:
        """The weights with which the head starts from such a map.

        Args:
            line: Of logits.
            own: What it starts from otherwise; not changed.
        """
        raise NotImplementedError(f"{self.kind} does not start from a linear map")

    @abstractmethod
    def build(self, *, dim: int, outputs: int, questions: Questions | None = None) -> Head:
        """The head, untrained; its trained weights are those of `initial`.

        Args:
            dim: D.
            outputs: L.
            questions: The encoder's vectors of what each output means. They are frozen, never
                sent, and not needed to know the shapes: without them they are zeros.
        """

    def initial(self, *, dim: int, outputs: int, generator: torch.Generator) -> Weights:
        """The weights that training starts from, the same for the same generator state."""
        head = self.build(dim=dim, outputs=outputs)
        with torch.no_grad():
            head.start(generator)
        return weights_of(head)


def fitting(questions: Questions | None, *, dim: int, outputs: int) -> Questions:
    """The questions; zeros where there are none.

    Raises:
        ValueError: They are not those of so many outputs, or not so wide.
    """
    if questions is None:
        return Questions.one_each(torch.zeros(outputs, dim))
    if (questions.outputs, questions.vectors.shape[1]) != (outputs, dim):
        raise ValueError(f"questions must have shape {(outputs, dim)}")
    return questions


def mean_chunk(
    x: Float[Tensor, "P S C D"], chunks: Bool[Tensor, "P S C"]
) -> Float[Tensor, "P S D"]:
    """The mean of each stay's real chunks; zeros for a stay without any."""
    real = chunks.unsqueeze(-1).to(x.dtype)
    return (x * real).sum(2) / real.sum(2).clamp(min=1)


def weights_of(head: nn.Module) -> Weights:
    """A copy of a head's trained weights by name, float32."""
    return {
        name: value.detach().cpu().numpy().astype(np.float32, copy=True)
        for name, value in head.named_parameters()
        if value.requires_grad
    }


def shapes_of(head: nn.Module) -> Shapes:
    """The shapes of a head's trained weights by name."""
    return {
        name: tuple(value.shape) for name, value in head.named_parameters() if value.requires_grad
    }


def set_weights(head: nn.Module, weights: Weights) -> None:
    """Copies weights into a head.

    Raises:
        ValueError: Names or shapes are not the head's.
    """
    own = {name: value for name, value in head.named_parameters() if value.requires_grad}
    if set(own) != set(weights):
        raise ValueError(f"the head trains {sorted(own)}, not {sorted(weights)}")
    with torch.no_grad():
        for name, value in own.items():
            if tuple(value.shape) != weights[name].shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}")
            value.copy_(torch.from_numpy(weights[name]))


def plain(value: Tensor) -> NDArray[np.float32]:
    """A copy as weights are kept."""
    return value.detach().cpu().numpy().astype(np.float32, order="C", copy=True)


def normal_(value: Tensor, generator: torch.Generator, *, fan_in: int) -> None:
    """Fills a tensor with a normal of standard deviation 1/sqrt(fan_in)."""
    value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
