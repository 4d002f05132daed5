"""Bags: one patient is one row, with the chunk vectors of all stays in it.

Dimension letters: P patients, S stays, C chunks, D width of a vector, L outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from privacy.spec import Spec


class BagSpec(Spec):
    """How large a bag may grow; what is beyond is left out, oldest stays and last chunks first.

    Attributes:
        stays: Most stays of a patient; the latest are kept.
        chunks: Most chunks of a stay; those of the newest note come first.
    """

    stays: Annotated[int, Field(ge=1, le=1024)] = 8
    chunks: Annotated[int, Field(ge=1, le=65536)] = 64


@dataclass(frozen=True, slots=True)
class PatientBag:
    """One patient.

    Attributes:
        vectors: For each stay its chunk vectors, float32 (C, D) with C at least 1.
        targets: For each stay the numbers of the outputs that are true.
    """

    vectors: tuple[NDArray[np.float32], ...]
    targets: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some patients, padded with zeros to the largest of them; the masks say what is real."""

    x: Float[Tensor, "P S C D"]
    chunks: Bool[Tensor, "P S C"]
    stays: Bool[Tensor, "P S"]
    y: Float[Tensor, "P S L"]


def collate(bags: Sequence[PatientBag], *, dim: int, outputs: int) -> Batch:
    """Pads patients into a batch; no patients give a batch with P = 0 and S = C = 1.

    Args:
        bags: The patients.
        dim: D.
        outputs: L.
    """
    stays = max((len(bag.vectors) for bag in bags), default=1)
    chunks = max((len(stay) for bag in bags for stay in bag.vectors), default=1)
    x = torch.zeros(len(bags), stays, chunks, dim)
    y = torch.zeros(len(bags), stays, outputs)
    real_chunks = torch.zeros(len(bags), stays, chunks, dtype=torch.bool)
    real_stays = torch.zeros(len(bags), stays, dtype=torch.bool)
    for p, bag in enumerate(bags):
        for s, (vectors, target) in enumerate(zip(bag.vectors, bag.targets, strict=True)):
            x[p, s, : len(vectors)] = torch.from_numpy(vectors)
            real_chunks[p, s, : len(vectors)] = True
            real_stays[p, s] = True
            y[p, s, list(target)] = 1
    return Batch(x=x, chunks=real_chunks, stays=real_stays, y=y)
