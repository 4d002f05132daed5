"""The sources that read records; `client.sources.kinds` adds the one that reads a source."""

from __future__ import annotations

from typing import Annotated

from client.sources.fhir import Fhir
from client.sources.jsonl import Jsonl
from client.sources.mimic_iii import MimicIII
from client.sources.mimic_iv import MimicIV
from client.sources.omop import Omop
from client.sources.source import Source
from client.sources.synthetic.source import SyntheticSource
from client.sources.tabular import Csv, Parquet
from client.sources.vaers import Vaers
from privacy.spec import Registry

GROUP = "fedward.sources"
OURS: tuple[type[Source], ...] = (
    Jsonl,
    Csv,
    Parquet,
    MimicIII,
    MimicIV,
    Omop,
    Fhir,
    Vaers,
    SyntheticSource,
)

WHOLE: Registry[Source] = Registry(
    GROUP,
    Source,  # type: ignore[type-abstract]  # mypy asks for a concrete one
    *OURS,
)

WholeSource = Annotated[Source, WHOLE]
