"""Questions: what the outputs mean, as the frozen encoder reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True, slots=True)
class Questions:
    """The encoder's vectors of what L outputs mean: one or more an output.

    They are made at each side from the study's public texts; nobody trains or sends them.

    Attributes:
        vectors: Of unit length, (N, D), in order of the outputs; of each output its question
            first, then its other terms.
        of: Whose output each is, from 0; every output has at least one.
        outputs: L.
    """

    vectors: Float[Tensor, "N D"]
    of: Int[Tensor, " N"]
    outputs: int

    @classmethod
    def one_each(cls, vectors: Float[Tensor, "L D"]) -> Self:
        """One question an output."""
        return cls(vectors, torch.arange(len(vectors)), len(vectors))

    @classmethod
    def grouped(cls, groups: Sequence[Float[Tensor, "K D"]]) -> Self:
        """For each output its vectors; each is brought to unit length.

        Raises:
            ValueError: An output has none.
        """
        if not all(len(group) for group in groups):
            raise ValueError("an output has no question")
        numbers = [number for number, group in enumerate(groups) for _ in range(len(group))]
        vectors = normalize(torch.cat(list(groups)), dim=1)
        return cls(vectors, torch.tensor(numbers), len(groups))

    def first(self) -> Self:
        """Each output's question alone."""
        first = torch.searchsorted(self.of, torch.arange(self.outputs))
        return type(self).one_each(self.vectors[first])

    def mean(self) -> Self:
        """The mean of each output's vectors, of unit length."""
        sums = torch.zeros(self.outputs, self.vectors.shape[1], dtype=self.vectors.dtype)
        return type(self).one_each(normalize(sums.index_add(0, self.of, self.vectors), dim=1))
