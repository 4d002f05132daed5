"""The sources that a site may name."""

from __future__ import annotations

from typing import Annotated

from client.sources.share import Share
from client.sources.source import Source
from client.sources.whole import GROUP, OURS
from privacy.spec import Registry

SOURCES: Registry[Source] = Registry(
    GROUP,
    Source,  # type: ignore[type-abstract]  # mypy asks for a concrete one
    *OURS,
    Share,
)

AnySource = Annotated[Source, SOURCES]
