"""The heads that a study may name."""

from __future__ import annotations

from typing import Annotated

from privacy.spec import Registry
from tasks.heads.code_query import CodeQuery
from tasks.heads.head import HeadSpec
from tasks.heads.label_attention import LabelAttention
from tasks.heads.linear import Linear
from tasks.heads.mlp import Mlp
from tasks.heads.random_features import RandomFeatures
from tasks.heads.ridge import Ridge

HEADS: Registry[HeadSpec] = Registry(
    "fedward.heads",
    HeadSpec,  # type: ignore[type-abstract]  # mypy asks for a concrete one
    Linear,
    Mlp,
    LabelAttention,
    CodeQuery,
    RandomFeatures,
    Ridge,
)

AnyHead = Annotated[HeadSpec, HEADS]
