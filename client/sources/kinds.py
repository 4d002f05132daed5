"""The sources that a site may name."""

from __future__ import annotations

from typing import Annotated

from client.sources.share import Share
from client.sources.source import Source
from client.sources.whole import GROUP, OURS
from privacy.spec import Registry

SOURCES: Registry[Source] = Registry(GROUP, Source, *OURS, Share)  # type: ignore[type-abstract]

AnySource = Annotated[Source, SOURCES]
