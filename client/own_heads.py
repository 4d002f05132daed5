"""Heads of a site's own, on its disk: trained without privacy, and so as private as the patients.

Guarantees:
    - A head is in one file, mode 0600, whole or not at all.
    - It says which patients made it, by keyed hash: those trained on and those who chose it. So a
      patient's purge finds every head that the patient had a part in, whatever the study's
      cohort is by then.
    - Nothing that answers the coordinator can import this module; import-linter keeps that.
Not guaranteed:
    What somebody does with a copy of the file.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AwareDatetime, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from client import final_weights
from client.personal import Kind
from client.site import Site
from client.withdrawn import HASH_BYTES
from privacy.errors import SiteError
from privacy.files import remove
from privacy.release import Hex, SiteName
from privacy.spec import Spec
from tasks.heads.head import Weights
from tasks.heads.weights_file import PATIENTS, WEIGHTS, weights_in

FACTS = "own"
ENDING = ".own.safetensors"


class Facts(Spec):
    """What a head of a site's own is.

    Attributes:
        site: Whose.
        study: Digest of the study that it goes on from.
        encoder: Identity of the encoder and chunking that its vectors are of.
        kind: How it was made.
        pull: Of `mean-regularised`, the weight of the pull.
        threshold: At which it did best on the site's tune patients; a logit.
        start: SHA-256 of the federation's final weights.
        code: Fingerprint of the code that made it.
        at: When, UTC.
    """

    site: SiteName
    study: Hex
    encoder: Hex
    kind: Kind
    pull: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None
    start: Hex
    code: Hex
    at: AwareDatetime


@dataclass(frozen=True, slots=True)
class OwnHead:
    """A head of a site's own.

    Attributes:
        facts: See `Facts`.
        weights: By name, float32.
        patients: Keyed hashes of those who made it.
    """

    facts: Facts
    weights: Weights
    patients: frozenset[bytes]


def path_of(site: Site, digest: str) -> Path:
    """The file of a study's head of the site's own."""
    return site.at(site.heads) / f"{digest}{ENDING}"


def keep(site: Site, facts: Facts, weights: Weights, *, patients: Collection[bytes]) -> Path:
    """Writes a head in the place of the study's last one; its file.

    Raises:
        StoreFull: The disk has no room.
    """
    path = path_of(site, facts.study)
    hashes = np.frombuffer(b"".join(sorted(patients)), np.uint8).reshape(-1, HASH_BYTES)
    arrays = {WEIGHTS + name: value for name, value in weights.items()} | {PATIENTS: hashes}
    final_weights.write(path, save(arrays, {FACTS: facts.canonical()}))
    return path


def read(path: Path) -> OwnHead:
    """Reads a head.

    Raises:
        SiteError: It is not there, or is damaged.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = Facts.model_validate_json((file.metadata() or {})[FACTS])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no map
        hashes = np.asarray(arrays.pop(PATIENTS), np.uint8).reshape(-1, HASH_BYTES)
        return OwnHead(facts, weights_in(arrays), frozenset(row.tobytes() for row in hashes))
    except (OSError, SafetensorError, LookupError, TypeError, ValueError):
        raise SiteError(
            f"{path.name} is not there or damaged; `fedward site personalise` makes it again"
        ) from None


def files(site: Site) -> list[Path]:
    """The files of all heads of the site's own."""
    return sorted(site.at(site.heads).glob(f"*{ENDING}"))


def forget(site: Site, digest: str) -> int:
    """Removes a study's head of the site's own; how many there were, 0 or 1."""
    return remove(path_of(site, digest))


def forget_patient(site: Site, patient: bytes) -> int:
    """Removes every head that a patient had a part in; how many.

    One that cannot be read is removed, too: nobody can tell who made it.

    Args:
        site: Whose heads.
        patient: The keyed hash.
    """
    return remove(*(path for path in files(site) if _made_by(path, patient)))


def _made_by(path: Path, patient: bytes) -> bool:
    try:
        return patient in read(path).patients
    except SiteError:
        return True
