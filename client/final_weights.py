"""The federation's final weights at a site: what a study's last question brought, or a file.

They are public to the sites of the study. What came in a message has passed the door; a file is
held against the very same rules here.

Guarantees:
    A set that came for a study's vectors stays against others that come when the site was charged
    for no further round since: who asks a study's last question again after its end (a coordinator
    that was taken over, or a copy of the run) gets an answer, and puts nothing under the heads
    that the site makes for its own patients. What came before the end, or was damaged, makes room,
    and so does the set of a run before this one. An operator who means others gives their file. No
    promise to patients rests on which set it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from client.site import Site
from privacy.errors import EncoderDiffers, ReleaseBlocked, SiteError
from privacy.files import drafts, remove, replacing
from privacy.weights import check_weights
from tasks.heads.head import Weights
from tasks.heads.weights_file import SiteOwn, load_weights
from tasks.study import Study

IDENTITY = "encoder"
CHARGES = "charges"


def kept_at(site: Site, digest: str) -> Path:
    """The file of a study's final weights."""
    return site.at(site.heads) / f"{digest}.federated.safetensors"


def keep(site: Site, study: Study, weights: Weights, *, identity: str) -> None:
    """Keeps the weights of a study's last question, whole or not at all, mode 0600.

    Args:
        site: Where.
        study: Whose weights.
        weights: As they passed the door.
        identity: Of the encoder that the site and the others share.

    Raises:
        SiteError: Others for the same vectors are kept, and stay.
        StoreFull: The disk has no room.
    """
    path, charges = kept_at(site, study.digest), len(_charged(site, study))
    held = _held(path, study, identity=identity)
    if held is not None and held.charges >= charges:
        if _same(held.weights, weights):
            return
        raise SiteError(
            f"these are others than study {study.name}'s last question brought to {site.name} "
            "first, and those stay; if these are meant, give the coordinator's final.safetensors "
            "as --weights"
        )
    write(path, save(dict(weights), {IDENTITY: identity, CHARGES: str(charges)}))


def read(site: Site, study: Study, *, identity: str, file: Path | None = None) -> Weights:
    """A study's final weights.

    Args:
        site: Whose.
        study: Whose weights.
        identity: Of the encoder that made the site's vectors.
        file: The coordinator's `final.safetensors`; what the last question brought where there
            is none.

    Raises:
        SiteError: They are not here, or are not what the study trains.
        EncoderDiffers: They were trained on the vectors of another encoder, as far as that is
            known: a coordinator's file does not say.
    """
    path = kept_at(site, study.digest) if file is None else file
    if not path.exists():
        if file is not None:
            raise SiteError(f"{file} is not there; give the coordinator's final.safetensors")
        raise SiteError(
            f"no final weights of study {study.name} are kept at {site.name}: its last question "
            f"brings them, and {len(set(_charged(site, study)))} of its {study.rounds} rounds "
            "were charged here; where the study has ended, ask the coordinator for the run's "
            "final.safetensors and give it as --weights"
        )
    try:
        said = _metadata(path).get(IDENTITY, identity)
        weights = _checked(path, study)
    except (ReleaseBlocked, SiteOwn) as error:
        raise SiteError(
            f"{path.name} does not hold the final weights of study {study.name}: {error}"
        ) from None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise SiteError(
            f"{path.name} cannot be read as weights ({type(error).__name__}); ask the coordinator "
            "for the run's final.safetensors and give it as --weights"
        ) from None
    if said != identity:
        raise EncoderDiffers(
            f"the final weights of study {study.name} were trained on vectors of {said[:12]}, "
            f"those of {site.name} are of {identity[:12]}; install the same encoder"
        )
    return weights


def write(path: Path, content: bytes) -> None:
    """Writes a file of weights, whole or not at all, mode 0600 in a folder of mode 0700.

    Raises:
        StoreFull: The disk has no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as file:
        file.buffer.write(content)


def forget(site: Site, digest: str | None = None) -> int:
    """Removes a study's final weights, or all; how many there were."""
    return remove(*site.at(site.heads).glob(f"{digest or '*'}.federated.safetensors"))


def remove_drafts(site: Site) -> None:
    """Removes what killed processes left; only where nobody else can be writing one."""
    remove(*drafts(site.at(site.heads)))


def _charged(site: Site, study: Study) -> list[int]:
    """The number of each round that the ledger was charged for, as often as it was."""
    return [spend.round for spend in site.open_ledger().spends(study=study.digest)]


@dataclass(frozen=True, slots=True)
class _Held:
    """A kept set, and how many charges stood in the ledger when it came."""

    weights: Weights
    charges: int


def _held(path: Path, study: Study, *, identity: str) -> _Held | None:
    """What is kept for these vectors; nothing where it cannot be gone on from."""
    try:
        said, weights = _metadata(path), _checked(path, study)
        charges = int(said.get(CHARGES, 0))
    except (ReleaseBlocked, SiteOwn, OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return _Held(weights, charges) if said.get(IDENTITY) == identity else None


def _checked(path: Path, study: Study) -> Weights:
    """Weights of a file that the study's head could have sent."""
    weights = load_weights(path)
    check_weights(weights, study.contract())
    return weights


def _same(some: Weights, others: Weights) -> bool:
    return all(np.array_equal(value, others[name]) for name, value in some.items())


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})
