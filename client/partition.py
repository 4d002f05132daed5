"""Partitions: how a simulation makes sites of pooled records that name none.

| `kind` | every site has |
| --- | --- |
| `iid` | as many patients, drawn by lot |
| `quantity` | another number of patients, drawn by lot |
| `dirichlet` | as many patients, with another mix of outputs |

Where a column names the site, `client.simulation.Cut` follows it. Everybody goes to exactly one
site, with all stays. Who goes where follows from the ids, the seed and, for `dirichlet`, the true
outputs; not from the order of the records.

Our own, rather than the partitioners of `flwr-datasets`: those deal the rows of a Hugging Face
`Dataset` by one column with one label. Ours deal patients with several stays and outputs each, who
stream from a source; as a table they would lie on the disk a second time. It would also bring
`datasets` along, with pyarrow, pandas and a client of the hub, for what is two pages here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from privacy.spec import Spec

NONE = ""
"""Whose patients have no true output."""

MOST_SITES = 10_000

ROUNDING = 1e-6
"""Of a patient; far above what floating point loses of a site's share, far below a patient."""


class Partition(Spec):
    """How pooled patients are dealt out.

    Attributes:
        sites: How many; they are called `site-1`, `site-2` and so on.
        seed: The same seed deals the same patients alike. Of its own, so that the sites stay where
            the simulation's seed changes.
        least: A partition in which a site would have fewer patients than this is refused, or, for
            `quantity`, fills the site up.
    """

    sites: Annotated[int, Field(ge=1, le=MOST_SITES)]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    least: Annotated[int, Field(ge=1)] = 10

    @property
    def by_outputs(self) -> bool:
        """Whether it matters which outputs are true of a patient."""
        return False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sites, in order also as texts."""
        width = len(str(self.sites))
        return tuple(f"site-{number:0{width}}" for number in range(1, self.sites + 1))

    def deal(self, patients: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
        """The ids of each site's patients, by the site's name.

        Args:
            patients: By id, the outputs that are true of any stay; see `by_outputs`.

        Raises:
            ValueError: There are too few.
        """
        if len(patients) < self.sites * self.least:
            raise ValueError(
                f"simulation.partition: {self.sites:,} sites of at least {self.least:,} patients "
                f"cannot be made of {len(patients):,}; lower sites or least"
            )
        ids = sorted(patients)
        numbers = self._numbers([patients[one] for one in ids], np.random.default_rng(self.seed))
        found: dict[str, list[str]] = {name: [] for name in self.names}
        for one, number in zip(ids, numbers.tolist(), strict=True):
            found[self.names[number]].append(one)
        return found

    @abstractmethod
    def _numbers(
        self, outputs: Sequence[frozenset[str]], draws: np.random.Generator
    ) -> NDArray[np.int64]:
        """For each patient the number of a site, from 0, (P,)."""


class Iid(Partition):
    """By lot; the sizes of two sites differ by one at most."""

    kind: Literal["iid"] = "iid"

    def _numbers(
        self, outputs: Sequence[frozenset[str]], draws: np.random.Generator
    ) -> NDArray[np.int64]:
        return draws.permutation(np.arange(len(outputs)) % self.sites)


class Quantity(Partition):
    """By lot, into sites of different sizes.

    A site whose share is fewer than `least` patients gets `least`, and the others divide what is
    left by their shares.

    Attributes:
        shares: What each site gets, in any unit. Else they are drawn.
        alpha: Of the symmetric Dirichlet distribution that shares are drawn from: the smaller, the
            more they differ. Li et al. (2022), arXiv:2102.02079, call this quantity skew.
    """

    kind: Literal["quantity"] = "quantity"
    shares: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = ()
    alpha: Annotated[float, Field(gt=0, le=1e6)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if bool(self.shares) == (self.alpha is not None):
            raise ValueError("give either shares or alpha")
        if self.shares and len(self.shares) != self.sites:
            raise ValueError("give as many shares as sites")
        return self

    def _numbers(
        self, outputs: Sequence[frozenset[str]], draws: np.random.Generator
    ) -> NDArray[np.int64]:
        shares = (
            np.array(self.shares)
            if self.alpha is None
            else draws.dirichlet(np.full(self.sites, self.alpha))
        )
        sizes = sizes_by(shares, len(outputs), least=self.least)
        return draws.permutation(np.repeat(np.arange(self.sites), sizes))


class Dirichlet(Partition):
    """By outputs: sites as large as each other, of which each sees more of some outputs.

    Hsu et al. (2019), arXiv:1909.06335: each site draws its own mix of classes q from
    Dirichlet(alpha * p), where p is the mix of all patients, and draws patients without replacement
    by it. The sites draw in turn, one patient at a time, so none is left with the rest. Of a class
    that is dealt out nobody draws more; who has none left of any class in q draws another q, over
    those that are there.

    A patient's class is one of the true outputs, each as likely as the next, or that of having
    none: with one output a patient it is that of Hsu et al. Taking the rarest instead would leave
    frequent outputs nearly evenly spread, because almost every patient has a rare one, too.

    Attributes:
        alpha: The smaller, the fewer classes a site sees: of many it draws in effect about
            1 + alpha, since the squares of q sum to 1 / (1 + alpha) on average where no class is
            frequent. p sums to 1, so an alpha of the symmetric kind, the same for each of K
            classes, is K times that here.
    """

    kind: Literal["dirichlet"] = "dirichlet"
    alpha: Annotated[float, Field(gt=0, le=1e6)]

    @property
    def by_outputs(self) -> bool:
        """See `Partition.by_outputs`."""
        return True

    def _numbers(
        self, outputs: Sequence[frozenset[str]], draws: np.random.Generator
    ) -> NDArray[np.int64]:
        classes = _classes(outputs, draws)
        left = np.bincount(classes)
        order = draws.permutation(len(classes))
        waiting = [
            group.tolist()
            for group in np.split(order[np.argsort(classes[order], kind="stable")], left.cumsum())
        ]
        mix = draws.dirichlet(self.alpha * left / left.sum(), size=self.sites)  # (sites, classes)
        sums = mix.cumsum(1)
        numbers = np.empty(len(classes), np.int64)
        for turn, place in enumerate(draws.random(len(classes)).tolist()):
            site = turn % self.sites
            if sums[site, -1] <= 0:  # all that it asked for is dealt out, or too small a number
                there = np.flatnonzero(left)
                mix[site, there] = draws.dirichlet(self.alpha * left[there] / left.sum())
                sums[site] = mix[site].cumsum()
            one = _drawn(sums[site], place)
            numbers[waiting[one].pop()] = site
            left[one] -= 1
            if not left[one]:
                mix[:, one] = 0
                sums = mix.cumsum(1)
        return numbers


AnyPartition = Annotated[Iid | Quantity | Dirichlet, Field(discriminator="kind")]


def sizes_by(shares: NDArray[np.float64], total: int, *, least: int) -> NDArray[np.int64]:
    """Whole numbers that follow shares, none below `least`, which sum to `total`.

    Args:
        shares: Not negative, of any sum, (sites,).
        total: At least `least` for each.
        least: See `Quantity`.
    """
    low = np.zeros(len(shares), bool)
    while True:
        room = total - least * int(low.sum())
        quotas = np.where(low, least, room * (shares / shares[~low].sum()))
        # Not below by the rounding of a division alone: nobody would be left to give.
        if not (below := ~low & (quotas < least - ROUNDING)).any():
            break
        low |= below
    sizes = np.floor(quotas + ROUNDING).astype(np.int64)
    most_left = np.argsort(sizes - quotas, kind="stable")[: total - int(sizes.sum())]
    sizes[most_left] += 1
    return sizes


def _classes(outputs: Sequence[frozenset[str]], draws: np.random.Generator) -> NDArray[np.int64]:
    """For each patient the number of a true output that was drawn, or of none, (P,)."""
    drawn = [
        sorted(true)[int(place * len(true))] if true else NONE
        for true, place in zip(outputs, draws.random(len(outputs)).tolist(), strict=True)
    ]
    number = {name: n for n, name in enumerate(sorted(set(drawn)))}
    return np.array([number[name] for name in drawn], np.int64)


def _drawn(sums: NDArray[np.float64], place: float) -> int:
    """The class in which a number from [0, 1) falls, given the running sums of a mix."""
    total = sums[-1]
    # Rounded up to the total, it would fall beyond the last class.
    return int(np.searchsorted(sums, min(place * total, np.nextafter(total, 0)), side="right"))
