"""How well a round's weights do and what they cost: into the journal and the outbox."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from privacy import accounting
from privacy.budget import Spend
from privacy.release import Release
from server.journal import Journal, finite
from server.outbox import Outbox
from tasks import tallies
from tasks.metrics import best_threshold, level_metrics, metrics
from tasks.per_output import own_edges
from tasks.study import Study


@dataclass(slots=True)
class Cost:
    """What a round cost.

    Attributes:
        number: Of the round; 0 stands for the untrained weights.
        began: Of `time.monotonic`.
        bytes_down: To all sites.
        bytes_up: From all sites.
    """

    number: int
    began: float
    bytes_down: int = 0
    bytes_up: int = 0


def report(
    study: Study,
    journal: Journal,
    outbox: Outbox,
    *,
    of: Cost,
    releases: Mapping[str, Release],
    spent: Mapping[str, Sequence[Spend]],
) -> None:
    """Writes down a round, once: not where the journal of a study that goes on has it.

    Args:
        study: Which.
        journal: Gets an event.
        outbox: Gets the numbers.
        of: The round that made the weights.
        releases: Replies with tallies of these weights, by site.
        spent: All that each site's training patients were charged up to the round.
    """
    if any(event["event"] == "round" and event["number"] == of.number for event in journal.before):
        return
    pooled = tallies.added([release.tallies for release in releases.values()])
    threshold = best_threshold(pooled)
    own = own_edges(pooled, otherwise=threshold)
    whole = metrics(pooled, threshold=threshold, own=own)
    levels = level_metrics(pooled, threshold=threshold)
    sites = {
        name: metrics(tallies.by_name(release.tallies), threshold=threshold, own=own)
        for name, release in releases.items()
    }
    epsilons = {name: _epsilon(study, spends) for name, spends in spent.items()}
    known = [value for value in epsilons.values() if value is not None]
    seconds = time.monotonic() - of.began
    # The outbox first: what stands in the journal is not written a second time.
    outbox.round(
        of.number,
        metrics=whole,
        sites=sites,
        epsilons=epsilons,
        extra={
            "bytes_down": of.bytes_down,
            "bytes_up": of.bytes_up,
            "seconds": seconds,
            "sites": len(releases),
            **{
                f"{level}/{name}": value
                for level, found in levels.items()
                for name, value in found.model_dump(exclude={"threshold", "patients"}).items()
                if value is not None
            },
        },
    )
    journal.write(
        "round",
        number=of.number,
        metrics=whole.model_dump(),
        levels={level: found.model_dump() for level, found in levels.items()},
        sites={name: found.model_dump() for name, found in sites.items()},
        epsilon=max(known) if known else None,
        epsilons=epsilons,
        bytes_down=of.bytes_down,
        bytes_up=of.bytes_up,
        seconds=seconds,
    )


def _epsilon(study: Study, spends: Sequence[Spend]) -> float | None:
    """What these cost a patient; None where the study promises nothing."""
    promise = study.privacy.promise
    return None if promise is None else finite(accounting.epsilon(spends, delta=promise.delta))
