"""Gradient inversion: from one patient's update back to the vector of that patient's note.

Why sending "only head weights" is no protection: for one patient the gradient of a first linear
layer is an outer product, of the bias gradient and the pooled chunk vector. Dividing the one by
the other gives the vector exactly; the nearest vector known names the note, and text can be
recovered from vectors (Morris et al. 2023, arXiv:2310.06816).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from client import local
from experiments.audit.run import Audited, build_head
from privacy.ledger import Receipt
from privacy.mechanism import Mechanism
from privacy.off import Off
from privacy.randomness import Stream, stream
from tasks.bags import PatientBag
from tasks.heads.head import Weights, set_weights, weights_of
from tasks.heads.linear import Linear
from tasks.study import Study

MOST_PATIENTS = 300
BARE = ("linear", "mlp", "ridge")
"""Heads whose first layer, or sums, show the pooled vector; for others `linear` stands in."""

Vectors = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was recovered under one mechanism.

    Attributes:
        cosines: Of the recovered and the true vector, one for each patient, (N,).
        found: Whether the nearest of the site's note vectors is that patient's, (N,).
    """

    cosines: Vectors
    found: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Of patients whose note was found."""
        return float(self.found.mean())


@dataclass(frozen=True, slots=True)
class Inversion:
    """The demonstration's result.

    Attributes:
        head: Kind of head that was inverted.
        notes: Note vectors that the nearest is looked for among.
        off: With privacy off.
        on: With the study's mechanism; None where that is `off`.
    """

    head: str
    notes: int
    off: Recovered
    on: Recovered | None

    @property
    def chance(self) -> float:
        """Share found by picking any note."""
        return 1 / self.notes


def invert(
    this: Audited, *, seed: int = 0, progress: Callable[[str, int, int], None] = lambda *_: None
) -> Inversion:
    """Recovers one note from each of the site's first `MOST_PATIENTS` training patients.

    Each patient trains alone, one step at rate 1, with the last stay only, so that there is one
    note to find: what a coordinator could arrange, or meet by chance. The noise is what the study
    adds to each step. "Note" is a stay's mean chunk vector: in a bag, notes of a stay are one.

    Args:
        this: Study and site.
        seed: Of the noise.
        progress: Is told what happens.

    Raises:
        ValueError: The site has no training patients.
    """
    if not this.bags.train:
        raise ValueError(f"{this.site.name} has no training patients, so no note to recover")
    study = _bare(this.study)
    on = None if isinstance(study.privacy, Off) else study.privacy
    modes: list[Mechanism] = [Off()] if on is None else [Off(), on]
    patients = [
        PatientBag(bag.vectors[-1:], bag.targets[-1:]) for bag in this.bags.train[:MOST_PATIENTS]
    ]
    notes = _unit(np.stack([stay.mean(0) for bag in this.bags.train for stay in bag.vectors]))
    owner = np.repeat(np.arange(len(this.bags.train)), [len(b.vectors) for b in this.bags.train])
    numbers = stream(f"inversion/{seed}")
    start = _start(study, numbers)
    found = []
    for number, mechanism in enumerate(modes):
        cosines, hits = [], []
        for patient, bag in enumerate(patients):
            progress("inverting", number * len(patients) + patient, len(modes) * len(patients))
            after = _one_step(
                this, study, mechanism=mechanism, bag=bag, start=start, numbers=numbers
            )
            vector = _unit(recovered(start, after)[None])[0]
            cosines.append(float(vector @ _unit(bag.vectors[0].mean(0)[None])[0]))
            hits.append(bool(vector.any()) and owner[np.argmax(notes @ vector)] == patient)
        found.append(Recovered(np.array(cosines), np.array(hits)))
    progress("inverting", len(modes) * len(patients), len(modes) * len(patients))
    return Inversion(study.head.kind, len(notes), found[0], found[1] if on else None)


def recovered(before: Weights, after: Weights) -> Vectors:
    """The pooled vector that explains one step's change of the first layer best, (D,).

    By least squares over the outputs: with the change of the weights G (H, D) and of the biases
    b (H,) both from one patient's step, G = b v^T, so v = G^T b / |b|^2. Zeros where no bias
    moved. The learning rate, the clip and the normaliser cancel. One patient's sum `z z'` has z
    for its first eigenvector, with a constant behind it that gives the sign.
    """
    if "gram" in after:
        gram = after["gram"].astype(np.float64)
        first = np.linalg.eigh(gram + gram.T).eigenvectors[:, -1]
        shown: Vectors = first[:-1] * np.sign(first[-1])
        return shown
    weight = _first_layer(before)
    bias = weight.removesuffix("weight") + "bias"
    moved = (after[weight] - before[weight]).astype(np.float64)
    pushed = (after[bias] - before[bias]).astype(np.float64)
    square = float(pushed @ pushed)
    vector: Vectors = moved.T @ pushed / square if square > 0 else np.zeros(moved.shape[1])
    return vector


def _first_layer(weights: Weights) -> str:
    """The name of the first map that has a bias."""
    return next(
        name
        for name in weights
        if name.endswith("weight") and name.removesuffix("weight") + "bias" in weights
    )


def _bare(study: Study) -> Study:
    if study.head.kind in BARE:
        return study
    return study.model_copy(update={"head": Linear()})


def _start(study: Study, numbers: Stream) -> Weights:
    """The study's first weights, which let gradients through to the first layer.

    A later map that starts at zero stops them; from the second round it does not, and a malicious
    coordinator sends what it likes in the first.
    """
    weights: Weights = study.initial()
    if study.head.by_sums:  # no step, so no gradient that could be stopped
        return weights
    first = _first_layer(weights)
    for name, value in weights.items():
        if name != first and value.ndim > 1 and not value.any():
            drawn = numbers.normal(value.shape).numpy() / value.shape[1] ** 0.5
            weights[name] = drawn.astype(np.float32)
    return weights


def _one_step(
    this: Audited,
    study: Study,
    *,
    mechanism: Mechanism,
    bag: PatientBag,
    start: Weights,
    numbers: Stream,
) -> Weights:
    """The weights that the coordinator gets back."""
    alone = study.model_copy(update={"privacy": mechanism})
    # The noise of the study as it is, but one step that the patient is in for certain. Nothing
    # is charged: this is a demonstration on simulated patients, and no claim is made of it.
    spend = alone.spend(1).model_copy(update={"sample_rate": 1.0, "steps": 1})
    head = build_head(alone, this.bags)
    set_weights(head, start)
    local.fit(
        alone,
        head,
        [bag],
        receipt=Receipt(id=1, spend=spend),
        declared_patients=1,
        stream=numbers,
    )
    return weights_of(head)


def _unit(rows: Sequence[object] | NDArray[np.floating]) -> Vectors:
    """Rows scaled to length 1, float64; zeros stay."""
    values = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: Vectors = values / np.where(lengths > 0, lengths, 1)
    return scaled
