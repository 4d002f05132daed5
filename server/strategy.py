"""Aggregation: Flower's strategies, for what they do once the replies have been checked.

Flower's own loop (`Strategy.start`) is not used: one malformed reply ends the whole run there,
NaN is averaged in without a word, and it cannot stop early or resume. `server.rounds` checks
every reply first and hands only good ones to the strategy.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, Strategy

from privacy.release import Release
from tasks.heads.head import Weights
from tasks.strategy import FedAvgSpec, StrategySpec

WEIGHT = "declared-patients"


def build(spec: StrategySpec) -> Strategy:
    """Flower's strategy of a spec.

    Raises:
        ValueError: Nothing here does what the spec names.
    """
    logging.getLogger("flwr").setLevel(logging.WARNING)
    if isinstance(spec, FedAvgSpec):
        return FedAvg(weighted_by_key=WEIGHT)
    raise ValueError(f"no strategy of kind {spec.kind!r} is built in")


def aggregate(strategy: Strategy, round: int, releases: Sequence[Release]) -> Weights:
    """The next weights.

    Args:
        strategy: From `build`.
        round: This round, from 1.
        releases: Checked updates, in an order that does not depend on arrival (floating-point
            sums do). Each counts by its site's declared patients, never by a true number.
    """
    replies = [
        Message(
            RecordDict(
                {
                    "arrays": ArrayRecord(
                        {name: Array(np.asarray(value)) for name, value in release.update.items()}
                    ),
                    "metrics": MetricRecord({WEIGHT: release.header.declared_patients}),
                }
            ),
            dst_node_id=number,
            message_type=MessageType.TRAIN,
        )
        for number, release in enumerate(releases, 1)
    ]
    arrays, _ = strategy.aggregate_train(round, replies)
    if arrays is None:
        raise ValueError("the strategy aggregated nothing")
    return {
        name: np.asarray(arrays[name].numpy(), dtype=np.float32) for name in sorted(arrays.keys())
    }
