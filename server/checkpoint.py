"""Checkpoints: the weights after each round, as safetensors, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.numpy import load_file, save

from tasks.heads.head import Weights


def save_weights(path: Path, weights: Weights) -> None:
    """Writes weights to a file; a crash leaves the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(save({name: weights[name] for name in sorted(weights)}))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load_weights(path: Path) -> Weights:
    """Reads weights."""
    return dict(load_file(path))
