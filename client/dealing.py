"""Deals pooled patients out to the sites of a run, once, into files of ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from client.partition import Partition
from client.sources.share import write_ids
from client.sources.source import Attrition, Source
from client.stratify import outputs_of
from privacy.files import locked, replacing
from tasks.records import Part, Patient
from tasks.study import Study

DONE = "training-patients.json"
LONGEST_SECONDS = 86_400.0
"""How long another process may take to read the pooled records."""


@dataclass(frozen=True, slots=True)
class Dealt:
    """One site's share.

    Attributes:
        name: Of the site.
        file: Its patients; see `client.sources.share`.
        training_patients: How many of them are trained on.
    """

    name: str
    file: Path
    training_patients: int


def dealt(
    how: Partition,
    source: Source,
    *,
    study: Path,
    part: Callable[[Patient], Part | None],
    data: Path,
    folder: Path,
) -> tuple[Dealt, ...]:
    """Every site's share, from the folder where the records were dealt before.

    Args:
        how: Kind, seed and number of sites.
        source: The pooled records; read once.
        study: The study file; its task's outputs count.
        part: Of a patient in the split.
        data: Where the source's relative paths start.
        folder: Of the run; gets a file for each site, then one that says that all are there.

    Raises:
        SourceBroken: The records cannot be read.
        ValueError: There are too few patients.
    """
    files = {name: folder / f"{name}.json" for name in how.names}
    with locked(folder / "partition.lock", exclusive=True, wait=LONGEST_SECONDS):
        if not (folder / DONE).exists():
            task = Study.read(study).task if how.by_outputs else None
            outputs: dict[str, frozenset[str]] = {}
            trained: set[str] = set()
            for patient in source.patients(root=data, attrition=Attrition()):
                outputs[patient.id] = frozenset() if task is None else outputs_of(patient, task)
                if part(patient) == "train":
                    trained.add(patient.id)
            training: Counter[str] = Counter()
            for name, ids in how.deal(outputs).items():
                write_ids(files[name], ids)
                training[name] = len(trained.intersection(ids))
            with replacing(folder / DONE) as file:
                json.dump(training, file)
        numbers = json.loads((folder / DONE).read_text("utf-8"))
    return tuple(Dealt(name, file.resolve(), numbers[name]) for name, file in files.items())
