"""The sources that a site may name."""

from __future__ import annotations

from typing import Annotated

from client.sources.jsonl import Jsonl
from client.sources.source import Source
from client.sources.synthetic.source import SyntheticSource
from client.sources.vaers import Vaers
from privacy.spec import Registry

SOURCES: Registry[Source] = Registry(
    "fedward.sources",
    Source,  # type: ignore[type-abstract]
    Jsonl,
    SyntheticSource,
    Vaers,
)

AnySource = Annotated[Source, SOURCES]
