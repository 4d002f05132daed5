"""What sites send to a strategy."""

from __future__ import annotations

import numpy as np

from privacy.release import Release, ReleaseHeader
from tasks.strategy import STRATEGIES, StrategySpec

HEX = "a" * 64
SHAPES = {"b": (3,), "a": (2, 3), "c": (1,)}
PATIENTS = (100, 300, 50, 50, 500, 120, 80)
N = len(PATIENTS)


def release(number: int, update: dict[str, np.ndarray], patients: int) -> Release:
    header = ReleaseHeader(
        study=HEX, round=1, site=f"site-{number}", code=HEX, encoder=HEX, declared_patients=patients
    )
    return Release(header, {k: np.asarray(v, np.float32) for k, v in update.items()}, ())


def drawn(seed: int, around: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """Each site's weights after a round: odd, and different in every array."""
    random = np.random.default_rng(seed)
    return [
        {k: np.float32(v + random.standard_t(3, v.shape)) for k, v in around.items()}
        for _ in PATIENTS
    ]


def table(kind: str, **keys: object) -> StrategySpec:
    return STRATEGIES.parse({"kind": kind, **keys})


def start() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {k: np.float32(random.normal(size=shape)) for k, shape in SHAPES.items()}
