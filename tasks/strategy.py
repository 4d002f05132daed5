"""StrategySpec: how the coordinator makes one update of many. `server.strategy` does ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from privacy.spec import Kind, Registry

Arrays = dict[str, NDArray[np.float64]]
"""By name, in double precision: sums of many updates lose nothing that counts."""

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, slots=True)
class Update:
    """A site's weights after a round; they were checked.

    Attributes:
        site: Name.
        declared_patients: The site's public number.
        weights: By name, sorted.
    """

    site: str
    declared_patients: int
    weights: Mapping[str, NDArray[np.float64]]


class StrategySpec(Kind):
    """Names an aggregation. Other packages add kinds under `fedward.strategies`.

    Attributes:
        minimum_sites: Fewer good updates than this, and the study stops.
        sites_per_round: So many of the sites that are there are asked in a round, drawn from the
            study's seed, the round's number and the sites' names; None asks all. Who is not asked
            is not charged. The noise of a private study is that of a site asked in every round,
            since the draw could come out so: k of n spends less, and promises no more.
        proximal_mu: Weight of the proximal term of FedProx (Li et al. 2020, arXiv:1812.06127) in
            every local step: `mu / 2 * ||w - w_round||^2`. 0 is none; 0.001 to 1 is usual. See
            `privacy.proximal`.
        weight_power: A site's weight, where the strategy weighs, is its declared patients to this
            power: 1 counts patients, 0 sites. Under privacy the noise in a site's mean gradient
            falls with its patients, so 2 weighs by the inverse of the noise's variance: least noise
            in the mean (Aitken 1935), and less say for small sites.
        mean_of_last: The study's final weights are the mean of those after its last so many rounds
            (Polyak and Juditsky 1992); 1 takes the last round's. It is made of what was released,
            so it costs no privacy, and takes out noise that the rounds do not share.
        timeout: Seconds that the coordinator waits for a round's replies.
    """

    minimum_sites: Annotated[int, Field(ge=1)] = 2
    sites_per_round: Annotated[int, Field(ge=1)] | None = None
    proximal_mu: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    weight_power: Annotated[float, Field(ge=0, le=4)] = 1.0
    mean_of_last: Annotated[int, Field(ge=1)] = 1
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600

    @model_validator(mode="after")
    def _asks_enough(self) -> Self:
        if self.sites_per_round is not None and self.sites_per_round < self.minimum_sites:
            raise ValueError("sites_per_round must not be below minimum_sites")
        return self

    @property
    def averages(self) -> bool:
        """Whether the next weights are the sites' mean, weighted by declared patients, and nothing
        else; heads that follow from sums need that.
        """
        return False

    def aggregate(
        self, updates: Sequence[Update], *, round: int, weights: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """The next weights, and what the next round is to be told. For kinds of other packages.

        It runs at the coordinator, and must rest on its arguments alone: a study that goes on
        after a crash calls it with the state that the checkpoint has.

        Args:
            updates: In order of site; at least `minimum_sites`.
            round: From 1.
            weights: That the round began with.
            state: What the round before returned; empty in the first.
        """
        del updates, round, weights, state
        raise NotImplementedError(f"{type(self).__name__} has no method aggregate")


class FedAvgSpec(StrategySpec):
    """Mean of the sites' weights, weighted by declared patients (McMahan et al. 2017,
    arXiv:1602.05629).

    Attributes:
        server_learning_rate: How far the weights go from where the round began towards the mean;
            1 goes there, more goes beyond (Reddi et al. 2021, arXiv:2003.00295).
    """

    kind: ClassVar[str] = "fedavg"
    server_learning_rate: Rate = 1.0

    @property
    def averages(self) -> bool:
        """See `StrategySpec.averages`."""
        return self.server_learning_rate == 1 and self.weight_power == 1


class FedAvgMSpec(StrategySpec):
    """The way to the weighted mean as a gradient, followed with momentum (Hsu et al. 2019,
    arXiv:1909.06335).

    Velocity is `momentum` times itself plus the way; the weights go `server_learning_rate` times
    it. Where rounds go one way, that is `server_learning_rate / (1 - momentum)` times the way.

    Attributes:
        server_learning_rate: See above.
        momentum: Share of the velocity that a round keeps; 0 is `fedavg`.
    """

    kind: ClassVar[str] = "fedavgm"
    server_learning_rate: Rate = 1.0
    momentum: Decay = 0.9


class FedProxSpec(StrategySpec):
    """`fedavg` of sites that are held near the round's weights (Li et al. 2020, arXiv:1812.06127).

    The term acts at the sites. Every kind can have it; this one always has.

    Attributes:
        proximal_mu: See `StrategySpec`.
    """

    kind: ClassVar[str] = "fedprox"
    proximal_mu: Rate = 0.1


class FedAdamSpec(StrategySpec):
    """Adam at the coordinator, on the way to the weighted mean (Reddi et al. 2021,
    arXiv:2003.00295).

    A weight goes about `server_learning_rate` in a round, however short the way: noise is enlarged
    where there is little else. Flower's second moment starts at 0 where the paper's starts at
    tau squared, and it corrects the start as Adam does, counting one round more than there were.

    Attributes:
        server_learning_rate: Eta; Flower's default is 0.1.
        beta_1: Share of the first moment that a round keeps.
        beta_2: Share of the second.
        tau: Ways much shorter than this are not enlarged.
    """

    kind: ClassVar[str] = "fedadam"
    server_learning_rate: Rate = 0.1
    beta_1: Decay = 0.9
    beta_2: Decay = 0.99
    tau: Rate = 1e-3


class FedYogiSpec(StrategySpec):
    """As `fedadam`, with a second moment that falls slowly (Reddi et al. 2021, arXiv:2003.00295).

    Flower's second moment starts at 0 where the paper's starts at tau squared; nothing is
    corrected for it.

    Attributes:
        server_learning_rate: Eta; Flower's default is 0.01.
        beta_1: Share of the first moment that a round keeps.
        beta_2: One minus how fast the second follows.
        tau: Ways much shorter than this are not enlarged.
    """

    kind: ClassVar[str] = "fedyogi"
    server_learning_rate: Rate = 0.01
    beta_1: Decay = 0.9
    beta_2: Decay = 0.99
    tau: Rate = 1e-3


class FedAdagradSpec(StrategySpec):
    """As `fedadam`, with the sum of all squares so far: steps only shorten (Reddi et al. 2021,
    arXiv:2003.00295). Flower's has no first moment, and its sum starts at 0.

    Attributes:
        server_learning_rate: Eta; Flower's default is 0.1.
        tau: Ways much shorter than this are not enlarged.
    """

    kind: ClassVar[str] = "fedadagrad"
    server_learning_rate: Rate = 0.1
    tau: Rate = 1e-3


class FedMedianSpec(StrategySpec):
    """Median of each weight over the sites (Yin et al. 2018, arXiv:1803.01498).

    Every site counts as one, whatever it declares: a liar cannot declare itself a majority. Less
    than half of the sites may lie.

    Attributes:
        minimum_sites: At least 3, since the median of two is their mean.
    """

    kind: ClassVar[str] = "fedmedian"
    weight_power: Annotated[float, Field(ge=1, le=1)] = 1.0  # nobody is weighed
    minimum_sites: Annotated[int, Field(ge=3)] = 3


class FedTrimmedAvgSpec(StrategySpec):
    """Mean of each weight without its smallest and largest values (Yin et al. 2018,
    arXiv:1803.01498).

    Every site counts as one, whatever it declares. As many sites may lie as are cut at each end.

    Attributes:
        trimmed_share: Share of the sites cut at each end, rounded down to sites.
        minimum_sites: So many that at least one is cut at each end.
    """

    kind: ClassVar[str] = "fedtrimmedavg"
    weight_power: Annotated[float, Field(ge=1, le=1)] = 1.0  # nobody is weighed
    trimmed_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    minimum_sites: Annotated[int, Field(ge=3)] = 5

    @model_validator(mode="after")
    def _trims(self) -> Self:
        if int(self.trimmed_share * self.minimum_sites) < 1:
            raise ValueError("trimmed_share of minimum_sites must be at least one site")
        return self


class KrumSpec(StrategySpec):
    """The weights of the one site that lies nearest to its neighbours (Blanchard et al. 2017,
    arXiv:1703.02757).

    Of n sites each is scored by the squared distances to its n - `malicious_sites` - 2 nearest;
    the lowest score wins. Declared patients count for nothing, and all other sites' training is
    lost: good against liars, poor at learning.

    Attributes:
        malicious_sites: How many may lie; f of the paper.
        minimum_sites: At least 2 f + 3, as the paper wants.
    """

    kind: ClassVar[str] = "krum"
    weight_power: Annotated[float, Field(ge=1, le=1)] = 1.0  # nobody is weighed
    malicious_sites: Annotated[int, Field(ge=0)] = 1
    minimum_sites: Annotated[int, Field(ge=1)] = 5

    @model_validator(mode="after")
    def _outvotes(self) -> Self:
        _outvoted(self.malicious_sites, self.minimum_sites)
        return self


class MultiKrumSpec(StrategySpec):
    """Mean of the sites with the best scores of `krum`, weighted by declared patients (Blanchard
    et al. 2017, arXiv:1703.02757).

    The scores do not weigh. A liar near enough to the others to be selected counts by what it
    declares.

    Attributes:
        malicious_sites: How many may lie; f of the paper.
        sites_to_select: How many are averaged; None selects all that answered but
            `malicious_sites`.
        minimum_sites: At least 2 f + 3, as the paper wants.
    """

    kind: ClassVar[str] = "multikrum"
    malicious_sites: Annotated[int, Field(ge=0)] = 1
    sites_to_select: Annotated[int, Field(ge=1)] | None = None
    minimum_sites: Annotated[int, Field(ge=1)] = 5

    @model_validator(mode="after")
    def _outvotes(self) -> Self:
        _outvoted(self.malicious_sites, self.minimum_sites)
        honest = self.minimum_sites - self.malicious_sites
        if self.sites_to_select is not None and self.sites_to_select > honest:
            raise ValueError("sites_to_select must leave out as many sites as may lie")
        return self


def _outvoted(malicious: int, minimum: int) -> None:
    if minimum < 2 * malicious + 3:
        raise ValueError("minimum_sites must be at least twice malicious_sites plus three")


STRATEGIES = Registry(
    "fedward.strategies",
    StrategySpec,
    FedAvgSpec,
    FedAvgMSpec,
    FedProxSpec,
    FedAdamSpec,
    FedYogiSpec,
    FedAdagradSpec,
    FedMedianSpec,
    FedTrimmedAvgSpec,
    KrumSpec,
    MultiKrumSpec,
)

AnyStrategy = Annotated[StrategySpec, STRATEGIES]
