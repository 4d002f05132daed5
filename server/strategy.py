"""Aggregation: Flower's strategies, for what they do once the replies have been checked.

Flower's own loop (`Strategy.start`) is not used: one malformed reply ends the whole run there,
NaN is averaged in without a word, and it cannot stop early or resume. `server.rounds` checks
every reply first and hands only good ones on. A strategy of Flower's is made anew in each round
and told what the round before left: so a study that was broken off goes on bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedYogi,
    Krum,
    MultiKrum,
)
from flwr.serverapp.strategy.fedopt import FedOpt

from privacy.release import Release
from privacy.weights import LARGEST_WEIGHT
from tasks import strategy as specs
from tasks.heads.head import Weights
from tasks.strategy import Arrays, StrategySpec, Update

WEIGHT = "declared-patients"
MOMENTUM = "momentum_vector"
MOMENTS = ("m_t", "v_t")


class StrategyBroken(Exception):
    """A strategy cannot be used, or made weights that nobody can go on with."""


def check(spec: StrategySpec) -> None:
    """Finds out whether anything here does what a spec names, before a site is asked.

    Raises:
        StrategyBroken: Nothing does.
    """
    if type(spec) not in _FLOWERS and type(spec).aggregate is StrategySpec.aggregate:
        raise StrategyBroken(
            f"nothing does what the strategy {spec.kind!r} names: {type(spec).__module__}."
            f"{type(spec).__qualname__} needs a method aggregate"
        )


def aggregate(
    spec: StrategySpec, releases: Sequence[Release], *, round: int, weights: Weights, state: Arrays
) -> tuple[Weights, Arrays]:
    """The next weights in single precision, and what the next round is to be told.

    Args:
        spec: How.
        releases: Checked updates, in any order. Each counts by its site's declared patients,
            never by a true number.
        round: This round, from 1.
        weights: That the round began with.
        state: What the round before returned; empty in the first.

    Raises:
        StrategyBroken: What came out is not weights of this study.
    """
    check(spec)
    # Floating-point sums depend on the order, which must not depend on who was fastest.
    updates = [
        Update(release.header.site, release.header.declared_patients, _double(release.update))
        for release in sorted(releases, key=lambda release: release.header.site)
    ]
    flower = _FLOWERS.get(type(spec))
    before = _double(weights)
    if flower is None:
        after, left = spec.aggregate(updates, round=round, weights=before, state=dict(state))
    else:
        strategy = flower(spec, len(updates))
        _recall(strategy, before, state)
        after = _aggregated(strategy, updates, round, power=spec.weight_power)
        left = _left(strategy, sorted(before))
    return _checked(spec, after, before), left


def final_mean(
    spec: StrategySpec, weights: Weights, *, round: int, rounds: int, state: Arrays
) -> tuple[Weights, Arrays]:
    """The weights that a round ends with: after the last the mean that `mean_of_last` asks for,
    otherwise what came.

    Args:
        spec: Of how many rounds.
        weights: After the round, from `aggregate`.
        round: From 1.
        rounds: Of the study.
        state: What the round before returned here; empty in the first.

    Returns:
        Also what the next round is to be told here: the sum so far, where there is one.
    """
    first = rounds - spec.mean_of_last + 1
    if spec.mean_of_last == 1 or round < first:
        return weights, {}
    sums = {name: value + state.get(name, 0.0) for name, value in _double(weights).items()}
    if round < rounds:
        return weights, sums
    mean = {name: value / spec.mean_of_last for name, value in sums.items()}
    return {name: np.asarray(value, np.float32) for name, value in mean.items()}, {}


def _weight(declared: int, power: float) -> float:
    """A site's weight. Declared patients themselves stay whole numbers."""
    return declared if power == 1 else float(declared) ** power


def _aggregated(strategy: FedAvg, updates: Sequence[Update], round: int, *, power: float) -> Arrays:
    replies = [
        Message(
            RecordDict(
                {
                    "arrays": _record(update.weights),
                    "metrics": MetricRecord({WEIGHT: _weight(update.declared_patients, power)}),
                }
            ),
            dst_node_id=number,
            message_type=MessageType.TRAIN,
        )
        for number, update in enumerate(updates, 1)
    ]
    arrays, _ = strategy.aggregate_train(round, replies)
    return {} if arrays is None else {name: array.numpy() for name, array in arrays.items()}


def _recall(strategy: FedAvg, weights: Arrays, state: Arrays) -> None:
    """Tells a strategy what its own loop would have: where the round began, what was before."""
    held: dict[str, dict[str, Any]] = {}
    for key, value in sorted(state.items()):
        owner, _, name = key.partition("/")
        held.setdefault(owner, {})[name] = value
    if isinstance(strategy, FedAvgM):
        strategy.current_arrays = _record(weights)
        if MOMENTUM in held:
            strategy.momentum_vector = list(held[MOMENTUM].values())
    elif isinstance(strategy, FedOpt):
        strategy.current_arrays = dict(weights)
        strategy.m_t, strategy.v_t = (held.get(owner) for owner in MOMENTS)


def _left(strategy: FedAvg, names: Sequence[str]) -> Arrays:
    """What a strategy is to be told in the next round."""
    held: dict[str, Mapping[str, Any]] = {}
    if isinstance(strategy, FedAvgM) and strategy.momentum_vector is not None:
        held[MOMENTUM] = dict(zip(names, strategy.momentum_vector, strict=True))
    elif isinstance(strategy, FedOpt):
        held |= {owner: getattr(strategy, owner) or {} for owner in MOMENTS}
    return {f"{owner}/{name}": of[name] for owner, of in held.items() for name in sorted(of)}


def _checked(spec: StrategySpec, after: Arrays, before: Arrays) -> Weights:
    if {name: value.shape for name, value in after.items()} != {
        name: value.shape for name, value in before.items()
    }:
        raise StrategyBroken(f"the strategy {spec.kind!r} made weights of other names or shapes")
    for name, value in after.items():
        if not np.abs(value).max(initial=0) <= LARGEST_WEIGHT:
            raise StrategyBroken(
                f"the strategy {spec.kind!r} made weights beyond {LARGEST_WEIGHT:g} in {name}; "
                "take a lower learning rate, at the coordinator or at the sites"
            )
    return {name: np.asarray(after[name], dtype=np.float32) for name in sorted(after)}


def _double(weights: Mapping[str, Any]) -> Arrays:
    return {name: np.asarray(weights[name], dtype=np.float64) for name in sorted(weights)}


def _record(weights: Mapping[str, Any]) -> ArrayRecord:
    return ArrayRecord({name: Array(value) for name, value in weights.items()})


def _avgm(spec: Any, _: int) -> FedAvg:
    # Flower's is FedAvg itself where the rate is 1 and the momentum 0.
    return FedAvgM(
        weighted_by_key=WEIGHT,
        server_learning_rate=spec.server_learning_rate,
        server_momentum=getattr(spec, "momentum", 0.0),
    )


def _moments(cls: type[FedAdam | FedYogi]) -> Callable[[Any, int], FedAvg]:
    return lambda spec, _: cls(
        weighted_by_key=WEIGHT,
        eta=spec.server_learning_rate,
        beta_1=spec.beta_1,
        beta_2=spec.beta_2,
        tau=spec.tau,
    )


def _multikrum(spec: specs.MultiKrumSpec, answered: int) -> FedAvg:
    return MultiKrum(
        weighted_by_key=WEIGHT,
        num_malicious_nodes=spec.malicious_sites,
        num_nodes_to_select=spec.sites_to_select or answered - spec.malicious_sites,
    )


_FLOWERS: Mapping[type[StrategySpec], Callable[[Any, int], FedAvg]] = {
    specs.FedAvgSpec: _avgm,
    specs.FedAvgMSpec: _avgm,
    specs.FedProxSpec: lambda s, _: FedProx(weighted_by_key=WEIGHT, proximal_mu=s.proximal_mu),
    specs.FedAdamSpec: _moments(FedAdam),
    specs.FedYogiSpec: _moments(FedYogi),
    specs.FedAdagradSpec: lambda s, _: FedAdagrad(
        weighted_by_key=WEIGHT, eta=s.server_learning_rate, tau=s.tau
    ),
    specs.FedMedianSpec: lambda _, __: FedMedian(weighted_by_key=WEIGHT),
    specs.FedTrimmedAvgSpec: lambda s, _: FedTrimmedAvg(
        weighted_by_key=WEIGHT, beta=s.trimmed_share
    ),
    specs.KrumSpec: lambda s, _: Krum(
        weighted_by_key=WEIGHT, num_malicious_nodes=s.malicious_sites
    ),
    specs.MultiKrumSpec: _multikrum,
}
"""By spec, Flower's strategy for so many updates."""

logging.getLogger("flwr").setLevel(logging.WARNING)
