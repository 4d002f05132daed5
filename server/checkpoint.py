"""Checkpoints: all that a study needs to go on after a round, in one file, whole or not at all.

The file is safetensors: the weights, what the strategy keeps, the sum of the last rounds' weights
and the tallies are its arrays (`weights/NAME`, `strategy/NAME`, `last/NAME`, `tallies/SITE/NAME`),
everything else is JSON in its metadata.
Which MLflow run it belongs to stands beside it (`server.tracking`), because MLflow may not have
been there to ask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from privacy.files import sync_folder
from privacy.release import Hello
from privacy.spec import Spec, one_line
from tasks.heads.head import Weights
from tasks.heads.weights_file import WEIGHTS, load_weights
from tasks.strategy import Arrays

FOLDER = "checkpoints"
FINAL = "final.safetensors"
STATE, STRATEGY, LAST, TALLIES = "state", "strategy/", "last/", "tallies/"


class CheckpointBroken(Exception):
    """A checkpoint is not what was written, or is another study's; says what to do."""


class State(Spec):
    """What a study needs to go on, besides arrays.

    Attributes:
        study: Digest.
        round: That the weights are of; the next one is the next to ask for.
        encoder: Identity of the encoder that the sites agreed on.
        sites: Every site that took part so far, as it said hello.
        charges: By site and round, how often the site was charged at most.
        receipts: The latest charge's number in each site's ledger. It never falls but where a
            ledger was lost.
        bytes_down: That the round sent to all sites.
        bytes_up: That came from them.
        seconds: That it took so far: its metrics come with the next round.
    """

    study: str
    round: Annotated[int, Field(ge=0)]
    encoder: str | None = None
    sites: dict[str, Hello] = {}
    charges: dict[str, dict[int, int]] = {}
    receipts: dict[str, int] = {}
    bytes_down: int = 0
    bytes_up: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A study after a round.

    Attributes:
        state: See `State`.
        weights: After the round.
        tallies: Of the weights before it, by site and name: what came with the round's updates.
        strategy: What the strategy is to be told in the next round, by name.
        last: Sum of the weights of the last rounds, where the study ends with their mean.
    """

    state: State
    weights: Weights
    tallies: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    strategy: Arrays = field(default_factory=dict)
    last: Arrays = field(default_factory=dict)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes `checkpoints/round-NNNNN.safetensors` below a run's folder."""
    path = folder / FOLDER / f"round-{checkpoint.state.round:05d}.safetensors"
    arrays: dict[str, Any] = {WEIGHTS + name: value for name, value in checkpoint.weights.items()}
    arrays |= {STRATEGY + name: value for name, value in checkpoint.strategy.items()}
    arrays |= {LAST + name: value for name, value in checkpoint.last.items()}
    for site, tallies in checkpoint.tallies.items():
        arrays |= {f"{TALLIES}{site}/{name}": value for name, value in tallies.items()}
    _write(path, arrays, {STATE: checkpoint.state.model_dump_json()})
    return path


def latest_checkpoint(folder: Path, *, study: str) -> Checkpoint | None:
    """The last checkpoint of a run; None where there is none.

    Args:
        folder: The run's.
        study: Digest of the study that must be its.

    Raises:
        CheckpointBroken: It is damaged, or another study's.
    """
    found = sorted((folder / FOLDER).glob("round-*.safetensors"))
    if not found:
        return None
    checkpoint = _read(found[-1])
    if checkpoint.state.study != study:
        raise CheckpointBroken(f"{found[-1]} is of study {checkpoint.state.study}, not {study}")
    return checkpoint


def save_weights(path: Path, weights: Weights) -> None:
    """Writes weights to a file; a crash leaves the old file or the new one, never half of one."""
    _write(path, dict(weights), None)


def _read(path: Path) -> Checkpoint:
    try:
        with safe_open(path, framework="numpy") as file:
            state = State.model_validate_json((file.metadata() or {}).get(STATE, ""))
        arrays = load_file(path)
    except ValidationError as error:
        raise CheckpointBroken(_broken(path, one_line(error))) from None
    except (OSError, SafetensorError) as error:
        raise CheckpointBroken(_broken(path, type(error).__name__)) from None
    tallies: dict[str, dict[str, NDArray[Any]]] = {}
    for name, value in arrays.items():
        if name.startswith(TALLIES):
            site, _, tally = name.removeprefix(TALLIES).partition("/")
            tallies.setdefault(site, {})[tally] = value
    strategy, last = (
        {n.removeprefix(of): arrays[n] for n in sorted(arrays) if n.startswith(of)}
        for of in (STRATEGY, LAST)
    )
    return Checkpoint(state, load_weights(path), tallies, strategy, last)


def _broken(path: Path, what: str) -> str:
    return (
        f"{path} is damaged ({what}); restore it from a backup, or move it away to go on from the "
        "round before: sites that keep their answer to it are not charged again, others are"
    )


def _write(path: Path, arrays: Mapping[str, Any], metadata: dict[str, str] | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    content = save({n: np.ascontiguousarray(arrays[n]) for n in sorted(arrays)}, metadata)
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
