"""Why exact tallies are no default: what a coordinator that chooses weights learns from them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from client.counting import exact
from tasks.bags import PatientBag
from tasks.binning import folded
from tasks.heads.linear import Linear
from tasks.tallies import EDGES, LABELS

DIM, OUTPUTS, PATIENTS = 32, 64, 300
STUDY = SimpleNamespace(
    outputs=tuple(range(OUTPUTS)),
    encoder=SimpleNamespace(dim=DIM),
    task=SimpleNamespace(exclusive=False, rollups={}),
)
SMALLEST = 10


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_exact_tallies_show_one_patients_vector_whatever_count_is_hidden():
    """The attack of PRIVACY.md: all but one stay are pushed off the histogram."""
    draw = np.random.default_rng(0)
    vectors = unit(draw.normal(size=(PATIENTS, DIM)) + 1).astype(np.float32)
    bags = [PatientBag((row[None],), ((),)) for row in vectors]

    def ask(weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        head = Linear().build(dim=DIM, outputs=OUTPUTS)
        with torch.no_grad():
            head.out.weight.copy_(torch.from_numpy(weight))
            head.out.bias.copy_(torch.from_numpy(bias))
        tallies = {t.name: t for t in exact(STUDY, head, bags[:20], bags, smallest=SMALLEST)}
        return folded(tallies[LABELS].sums.sum(0))

    def beyond(thresholds: np.ndarray) -> np.ndarray:
        """How many stays lie beyond each threshold along a direction."""
        steep = 1e5
        counts = ask(np.tile(steep * along, (OUTPUTS, 1)), -steep * thresholds)
        return counts[:, len(EDGES) // 2 + 1 :].sum(1)

    along = unit(draw.normal(size=DIM))
    low, high = -1.0, 1.0
    for _ in range(4):  # to where the outermost stay is
        thresholds = np.linspace(low, high, OUTPUTS)
        last = np.flatnonzero(beyond(thresholds) >= 1)[-1]
        low, high = thresholds[last], thresholds[min(last + 1, OUTPUTS - 1)]
    thresholds = np.linspace(low - 0.3, low, OUTPUTS)
    gap = low - thresholds[np.flatnonzero(beyond(thresholds) >= 2)[-1]]

    # Each output shows one coordinate of that stay; all other stays fall off the left end.
    steep, spread = 40 / gap, 7.0
    weight = np.zeros((OUTPUTS, DIM))
    weight[:DIM] = steep * along + spread * np.eye(DIM)
    shown = ask(weight, np.full(OUTPUTS, -steep * low))[:DIM, 1:-1]
    assert (shown.sum(1) == 1).all()
    guess = unit((EDGES[shown.argmax(1)] + 0.125) / spread)
    likeness = vectors @ guess
    assert likeness.max() > 0.99
    assert likeness.argmax() == (vectors @ along).argmax()
