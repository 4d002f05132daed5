"""The sources that a site may name."""

from __future__ import annotations

from typing import Annotated

from client.sources.fhir import Fhir
from client.sources.jsonl import Jsonl
from client.sources.source import Source
from client.sources.synthetic.source import SyntheticSource
from privacy.spec import Registry

SOURCES: Registry[Source] = Registry("fedward.sources", Source, Fhir, Jsonl, SyntheticSource)  # type: ignore[type-abstract]

AnySource = Annotated[Source, SOURCES]
