"""Heads with weights, and batches, that the tests of heads share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from tasks.bags import PatientBag, collate
from tasks.heads.code_query import CodeQuery
from tasks.heads.head import Head, HeadSpec
from tasks.heads.label_attention import LabelAttention
from tasks.heads.linear import Linear
from tasks.heads.mlp import Mlp
from tasks.heads.questions import Questions
from tasks.heads.random_features import RandomFeatures
from tasks.heads.ridge import Ridge

D, L = 4, 3
SPECS = {
    "linear": Linear(scale=2.0, bias=-1.0),
    "mlp": Mlp(hidden=(5, 3), scale=2.0, bias=-1.0),
    "code-query": CodeQuery(sharpness=3.0, scale=4.0, bias=-1.0, terms="none"),
    "code-query-residual": CodeQuery(
        sharpness=3.0, scale=4.0, bias=-1.0, terms="none", residual=True, residual_scale=2.0
    ),
    "code-query-mean": CodeQuery(sharpness=3.0, scale=4.0, bias=-1.0, terms="mean"),
    "code-query-each": CodeQuery(sharpness=3.0, scale=4.0, bias=-1.0, terms="each"),
    "code-query-pooled": CodeQuery(scale=4.0, bias=-1.0, pool="mean", residual=True),
    "label-attention": LabelAttention(sharpness=3.0, scale=4.0, rate=2.0, bias=-1.0),
    "label-attention-random": LabelAttention(start_from="random", rate=2.0, bias=-1.0),
    "random-features": RandomFeatures(features=5, scale=2.0, bent_scale=3.0, bias=-1.0),
    "ridge": Ridge(ridge=0.1, scale=4.0, middle=0.25),
}
every_head = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
seeds = st.integers(0, 2**32 - 1)


def questions(outputs: int = L) -> Tensor:
    return torch.arange(outputs * D, dtype=torch.float32).reshape(outputs, D).sin()


def asked() -> Questions:
    """Two terms of output 0, one of output 1 and three of output 2."""
    more = torch.arange(3 * D, dtype=torch.float32).reshape(3, D).cos()
    first = questions()
    vectors = torch.stack([first[0], more[0], first[1], first[2], more[1], more[2]])
    return Questions(vectors, torch.tensor([0, 0, 1, 2, 2, 2]), L)


def trained(spec: HeadSpec, *, seed: int | None = None) -> Head:
    """A head in float64 with weights that are nowhere zero: waves, or random."""
    head = spec.build(dim=D, outputs=L, questions=asked())
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for value in head.parameters():
            waves = np.cos(np.arange(value.numel())) * 0.5
            numbers = waves if seed is None else generator.normal(size=value.numel())
            value.copy_(torch.from_numpy(numbers.reshape(value.shape)))
    return head.double()


def tiny() -> tuple[Tensor, Tensor]:
    """Two patients of two stays of three chunks; patient 0 has a short stay, 1 a padded one."""
    x = torch.arange(2 * 2 * 3 * D, dtype=torch.float64).reshape(2, 2, 3, D).mul(0.7).sin()
    chunks = torch.tensor(
        [[[True, True, True], [True, False, False]], [[True, True, False], [False] * 3]]
    )
    return x * chunks.unsqueeze(-1), chunks


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """(x, chunks, stays) in float64 as `collate` makes them, of at least one patient."""
    generator = np.random.default_rng(draw(seeds))
    shapes = draw(
        st.lists(
            st.lists(st.integers(1, 4), min_size=1, max_size=3),
            min_size=1,
            max_size=3,
        )
    )
    bags = [
        PatientBag(
            tuple(generator.normal(size=(c, D)).astype(np.float32) for c in stays),
            tuple(() for _ in stays),
        )
        for stays in shapes
    ]
    batch = collate(bags, dim=D, outputs=L)
    return batch.x.double(), batch.chunks, batch.stays


def padded(x: Tensor, chunks: Tensor, by: tuple[int, int, int], *, filling: float) -> Any:
    """The batch with more patients, stays and chunks, none of them real."""
    p, s, c = (old + new for old, new in zip(x.shape, by, strict=False))
    wide = torch.full((p, s, c, D), filling, dtype=x.dtype)
    wide[: x.shape[0], : x.shape[1], : x.shape[2]] = x
    mask = torch.zeros(p, s, c, dtype=torch.bool)
    mask[: x.shape[0], : x.shape[1], : x.shape[2]] = chunks
    return wide, mask
