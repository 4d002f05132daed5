"""Baselines that are kept: the same training on the same vectors is done once.

Many cells of a comparison have the same baselines, because these know neither the strategy nor the
privacy of the federation. A file is found by everything that its numbers come from: the study as
the baselines train it, the very vectors and answers of the patients, and the code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from client.local import Bags
from experiments.baselines import Scored
from experiments.fingerprint import results_fingerprint
from privacy.files import locked, replacing
from tasks.bags import PatientBag
from tasks.study import About, Study

LONGEST_SECONDS = 7 * 24 * 3600.0
"""For another process that trains the same baseline."""

_SCORED = TypeAdapter(Scored)


def kept(
    folder: Path, what: str, study: Study, sites: Mapping[str, Bags], train: Callable[[], Scored]
) -> Scored:
    """A baseline from its file, or trained and put there.

    Args:
        folder: Where the files are.
        what: Which baseline, such as `alone`.
        study: From `baselines.without_privacy`.
        sites: Whose patients it learns from, by the site's name.
        train: Makes it.
    """
    path = folder / f"{_key(what, study, sites)}.json"
    with locked(path.with_suffix(".lock"), exclusive=True, wait=LONGEST_SECONDS):
        found = _read(path)
        if found is None:
            found = train()
            with replacing(path) as file:
                file.write(_SCORED.dump_json(found, ensure_ascii=True).decode())
    return found


def _read(path: Path) -> Scored | None:
    """None also where the file is damaged: it is made again."""
    try:
        return _SCORED.validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _key(what: str, study: Study, sites: Mapping[str, Bags]) -> str:
    nameless = study.model_copy(update={"name": "baseline", "about": About()})
    digest = hashlib.sha256(f"{what}\0{nameless.digest}\0{results_fingerprint()}\0".encode())
    for name, bags in sorted(sites.items()):
        digest.update(f"{name}\0".encode())
        for asked in (bags.questions.vectors, bags.questions.of):
            digest.update(np.ascontiguousarray(asked.numpy()).data)
        for part in (bags.train, bags.tune, bags.heldout):
            digest.update(f"{len(part)}\0".encode())
            for bag in part:
                _add(digest, bag)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, bag: PatientBag) -> None:
    for vectors, target in zip(bag.vectors, bag.targets, strict=True):
        digest.update(f"{vectors.shape}{target}\0".encode())
        digest.update(np.ascontiguousarray(vectors).data)
