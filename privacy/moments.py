"""Moments: sums over patients of products of inputs and targets; a ridge regression follows.

A stay has an input z (K numbers) and targets y (L numbers). A patient's moments are the means over
the patient's stays of `z z'` (K, K) and `z y'` (K, L), so that a patient with many stays counts
for as much as one with a single stay. A patient's row is the first, flat, and then the second
times `cross_scale`, a public number, flat: K * K + K * L numbers.

Guarantees:
    Unit: one patient, who is one row. Neighbours: data sets that differ by one added or removed
    patient. Sensitivity: a row whose L2 norm is above `clip` is multiplied by what brings it
    there, so the sum of the rows changes by at most `clip` in L2 norm when a patient is added or
    removed, whatever the inputs and targets are.
    The norm is the row's own, found without the row: over stays s and t of the patient, with
    means taken over both,
        |row|^2 = mean (z_s . z_t)^2 + cross_scale^2 mean (z_s . z_t) (y_s . y_t).
    What rounding may take from it is added, so that a row is cut a little too much rather than
    too little. A patient with any number that is not finite counts as zero.

Cutting a row multiplies both of the patient's moments by one number, so what is regressed on is
the same patients with weights, and the two sums always fit each other.

The whole matrix `z z'` is summed, not its upper triangle, and each of its numbers gets noise of
its own. That costs nothing. The triangle alone, its off-diagonal numbers times sqrt(2), has the
same norm as the matrix; with equal noise on it they are known to a deviation of 1/sqrt(2), and so
they are when two numbers with independent noise are averaged. The triangle as it is has a
smaller norm for most inputs and the same for the worst, (1, 0, ...), so a clip that is sure to cut
nobody is no smaller. In return the difference between the two halves is noise alone: whoever
has the sum sees how much of it there is, whatever sites it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

T = TypeVar("T")

# Of the products in a norm: some hundred roundings of 2^-53 each, and to spare.
_ROUNDING = 1e-12
_HAIR = 1e-9


@dataclass(frozen=True, slots=True)
class Pairs:
    """What some patients' stays are regressed from and on.

    Attributes:
        inputs: z of each stay.
        targets: y of each stay.
        real: Which stays are any.
    """

    inputs: Float[Tensor, "P S K"]
    targets: Float[Tensor, "P S L"]
    real: Bool[Tensor, "P S"]

    def each(self) -> Iterator[Pairs]:
        """Those of each patient alone."""
        for one in range(len(self.real)):
            only = slice(one, one + 1)
            yield Pairs(self.inputs[only], self.targets[only], self.real[only])


Paired = Callable[[nn.Module, Sequence[T]], Pairs]
"""(head, patients) -> their pairs, a patient's from that patient's data alone."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over patients, float64.

    Attributes:
        gram: Of `z z'`.
        cross: Of `z y'`.
    """

    gram: Float[Tensor, "K K"]
    cross: Float[Tensor, "K L"]

    def write(self, head: nn.Module, *, patients: float) -> None:
        """Copies the means over so many patients into a head's parameters `gram` and `cross`."""
        with torch.no_grad():
            head.get_parameter("gram").copy_(self.gram / patients)
            head.get_parameter("cross").copy_(self.cross / patients)


def zero(head: nn.Module) -> Moments:
    """The sums over nobody, in the shapes of a head's parameters `gram` and `cross`."""
    gram, cross = head.get_parameter("gram"), head.get_parameter("cross")
    return Moments(
        torch.zeros(gram.shape, dtype=torch.float64), torch.zeros(cross.shape, dtype=torch.float64)
    )


def summed(
    batches: Iterable[Pairs],
    start: Moments,
    *,
    clip: float | None = None,
    cross_scale: float = 1.0,
) -> Moments:
    """The sums over all patients, each cut to norm `clip`; never holds a row.

    Args:
        batches: Each patient stands in one of them.
        start: From `zero`.
        clip: L2 norm that each patient's row is cut to; None cuts nobody.
        cross_scale: Factor on `z y'` in the row. The sum of it is given without the factor.
    """
    gram, cross = start.gram, start.cross
    for batch in batches:
        pairs = _readable(batch)
        weights = torch.ones(len(pairs.real), dtype=torch.float64)
        if clip is not None:
            weights = clip / (norms(pairs, cross_scale=cross_scale) * (1 + _HAIR)).clamp(min=clip)
        weighted = pairs.inputs * (weights / _stays(pairs))[:, None, None]
        z = pairs.inputs.flatten(0, 1)
        gram = gram + weighted.flatten(0, 1).T @ z
        cross = cross + weighted.flatten(0, 1).T @ pairs.targets.flatten(0, 1)
    return Moments(
        (gram + gram.T) / 2, cross
    )  # what rounding tells the halves apart by is no noise


def norms(pairs: Pairs, *, cross_scale: float) -> Float[Tensor, " P"]:
    """Each patient's row's L2 norm and a hair more, float64."""
    pairs = _readable(pairs)
    z, y = pairs.inputs, pairs.targets
    products, shared = z @ z.mT, y @ y.mT  # (P, S, S)
    squares = products.square().sum((1, 2)) + cross_scale**2 * (products * shared).sum((1, 2))
    lengths = (z.norm(dim=2) * y.norm(dim=2)).sum(1)
    squares = squares + _ROUNDING * (cross_scale * lengths).square()
    found: Tensor = squares.clamp(min=0).sqrt() / _stays(pairs)
    return found


def _stays(pairs: Pairs) -> Float[Tensor, " P"]:
    return pairs.real.sum(1).clamp(min=1).double()


def _readable(pairs: Pairs) -> Pairs:
    """In float64; zeros for stays that are none, and for all stays of a patient with a number
    that is not finite.
    """
    real = pairs.real.unsqueeze(-1)
    z = pairs.inputs.double().where(real, 0.0)
    y = pairs.targets.double().where(real, 0.0)
    finite = (z.isfinite().all(-1) & y.isfinite().all(-1)).all(-1)[:, None, None]
    return Pairs(z.where(finite, 0.0), y.where(finite, 0.0), pairs.real)
