"""The supervised probe: a ridge regression on frozen vectors, scored at every site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.spec import Spec
from tasks.bags import PatientBag

ALPHAS = (0.1, 1.0, 10.0)
"""Penalties; the one that does best on the tune patients is kept."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some patients of a site.

    Attributes:
        rows: The mean chunk vector of each stay, (N, D).
        targets: The outputs that are true of each stay.
        owners: The number of each stay's patient, (N,).
    """

    rows: NDArray[np.float64]
    targets: tuple[tuple[int, ...], ...]
    owners: NDArray[np.int64]

    @property
    def patients(self) -> int:
        """How many patients: a site's own number."""
        return len(np.unique(self.owners))

    def truth(self, outputs: int) -> NDArray[np.bool_]:
        """(N, L)."""
        truth = np.zeros((len(self.targets), outputs), bool)
        for number, target in enumerate(self.targets):
            truth[number, list(target)] = True
        return truth

    def carriers(self, outputs: int) -> NDArray[np.int64]:
        """Patients of whom each output is true, (L,)."""
        pairs = {
            (int(owner), output)
            for owner, target in zip(self.owners, self.targets, strict=True)
            for output in target
        }
        return np.bincount([output for _, output in pairs], minlength=outputs).astype(np.int64)


def part_of(bags: Sequence[PatientBag], *, dim: int) -> Part:
    """A part of a site's patients, one row a stay."""
    rows = [stay.mean(0, dtype=np.float64) for bag in bags for stay in bag.vectors]
    return Part(
        rows=np.array(rows) if rows else np.zeros((0, dim)),
        targets=tuple(target for bag in bags for target in bag.targets),
        owners=np.repeat(np.arange(len(bags)), [len(bag.vectors) for bag in bags]),
    )


def joined(parts: Sequence[Part]) -> Part:
    """Several parts as one; nobody is in two."""
    before = np.cumsum([0, *(len(part.rows) for part in parts)])
    owners = [part.owners + start for part, start in zip(parts, before, strict=False)]
    return Part(
        rows=np.concatenate([part.rows for part in parts]),
        targets=tuple(target for part in parts for target in part.targets),
        owners=np.concatenate(owners),
    )


class ProbeScore(Spec):
    """What a probe that was fitted at one site scores on the held-out stays of another.

    Attributes:
        fitted: Site.
        scored: Site; the same one where it is judged at home.
        auroc: Mean over outputs that are true of some stays and false of others.
        auprc: Average precision over all pairs of stay and output.
        chance: The share of pairs that are true, which `auprc` has by guessing.
    """

    fitted: str
    scored: str
    auroc: float
    auprc: float
    chance: float


class Probe:
    """Ridge on a site's own training stays, with one number for each vector's entry and output.

    Args:
        train: Fitted to.
        tune: Choose the penalty; without any it is 1.
        outputs: L.
    """

    def __init__(self, train: Part, tune: Part, *, outputs: int) -> None:
        from sklearn.linear_model import Ridge

        self._outputs = outputs
        truth = train.truth(outputs).astype(np.float64)
        made = [Ridge(alpha=alpha).fit(train.rows, truth) for alpha in ALPHAS]
        self._model = made[1]
        if len(tune.rows) and tune.truth(outputs).any():
            self._model = max(made, key=lambda model: _precision(tune, outputs, _said(model, tune)))

    def score(
        self, part: Part, *, shown: NDArray[np.bool_], fitted: str, scored: str
    ) -> ProbeScore | None:
        """Its score on other stays; None where these outputs say nothing there.

        Args:
            part: Held out.
            shown: Outputs that may be counted there, (L,).
            fitted: Site's name.
            scored: Site's name.
        """
        from sklearn.metrics import average_precision_score, roc_auc_score

        truth = part.truth(self._outputs)
        both = shown & truth.any(0) & ~truth.all(0)
        if not both.any():
            return None
        said, true = _said(self._model, part)[:, both], truth[:, both]
        return ProbeScore(
            fitted=fitted,
            scored=scored,
            auroc=float(
                np.mean([roc_auc_score(t, s) for t, s in zip(true.T, said.T, strict=True)])
            ),
            auprc=float(average_precision_score(true.ravel(), said.ravel())),
            chance=float(true.mean()),
        )


def _said(model: Any, part: Part) -> NDArray[np.float64]:
    said: NDArray[np.float64] = model.predict(part.rows)
    return said.reshape(len(part.rows), -1)


def _precision(part: Part, outputs: int, said: NDArray[np.float64]) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(part.truth(outputs).ravel(), said.ravel()))
