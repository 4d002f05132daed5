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
    each = [pair for bag in bags for pair in zip(bag.vectors, bag.targets, strict=True)]
    kept, true = [vectors for vectors, _ in each], [targets for _, targets in each]
    who, stay = _places([len(bag.vectors) for bag in bags])
    row, chunk = _places([len(vectors) for vectors in kept])
    size = (len(bags), stay.max(initial=0) + 1, chunk.max(initial=0) + 1)
    # Written with a few large assignments: samples of thousands are put together at every step.
    x = np.zeros((*size, dim), np.float32)
    y = np.zeros((*size[:2], outputs), np.float32)
    real_chunks, real_stays = np.zeros(size, np.bool_), np.zeros(size[:2], np.bool_)
    real_stays[who, stay] = True
    if each:
        real_chunks[who[row], stay[row], chunk] = True
        x[who[row], stay[row], chunk] = np.concatenate(kept)
        row, _ = _places([len(targets) for targets in true])
        y[who[row], stay[row], [number for targets in true for number in targets]] = 1
    return Batch(
        x=torch.from_numpy(x),
        chunks=torch.from_numpy(real_chunks),
        stays=torch.from_numpy(real_stays),
        y=torch.from_numpy(y),
    )


def _places(counts: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each of the things that some owners have, one owner after the other: the owner's number
    and the thing's among the owner's own.
    """
    many = np.asarray(counts, np.int64)
    owner = np.repeat(np.arange(len(many)), many)
    return owner, np.arange(len(owner)) - np.repeat(many.cumsum() - many, many)
