"""StrategySpec: how the coordinator makes one update of many. The doing is in `server`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from privacy.spec import Kind, Registry


class StrategySpec(Kind):
    """Names an aggregation. Other packages add kinds under `fedward.strategies`.

    Attributes:
        minimum_sites: Fewer good updates than this, and the study stops.
        timeout: Seconds that the coordinator waits for a round's replies.
        averages: Whether the next weights are the sites' mean, weighted by declared patients, and
            nothing else; heads that follow from sums need that.
    """

    averages: ClassVar[bool] = False

    minimum_sites: Annotated[int, Field(ge=1)] = 2
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3600


class FedAvgSpec(StrategySpec):
    """Mean of the sites' weights, weighted by declared patients (McMahan et al. 2017,
    arXiv:1602.05629).
    """

    kind: ClassVar[str] = "fedavg"
    averages: ClassVar[bool] = True


STRATEGIES = Registry("fedward.strategies", StrategySpec, FedAvgSpec)

AnyStrategy = Annotated[StrategySpec, STRATEGIES]
