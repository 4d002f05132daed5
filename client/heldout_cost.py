"""What a study costs tune and held-out patients, whose tallies stand on a line of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from client.promises import heldout_in_words
from client.site import Site
from privacy import accounting, gaussian_sums
from privacy.budget import Spend
from privacy.spec import Spec
from tasks.study import Study


class HeldoutCost(Spec):
    """What a study costs tune and held-out patients; an epsilon of None is infinite.

    Attributes:
        metrics: How their counts leave.
        releases: Of counts, at most (`Policy.most_charges`); each is charged, up to the ceiling.
            A coordinator that means well and is not disturbed asks for one a round and one of the
            final weights.
        delta: Of every epsilon here; of `policy.heldout` where there is one.
        epsilon_a_release: What one by itself costs.
        epsilon_study: What the study's releases by themselves cost.
        epsilon_before: What all studies so far cost.
        epsilon_after: What they will have cost with this one.
        epsilon_lifetime: The ceiling; None where there is none.
        left: What is left of it afterwards; None where it has no end.
        in_words: What will hold for them afterwards.
    """

    metrics: Literal["exact", "noised", "withheld"]
    releases: int
    delta: float
    epsilon_a_release: float | None
    epsilon_study: float | None
    epsilon_before: float | None
    epsilon_after: float | None
    epsilon_lifetime: float | None
    left: float | None
    in_words: str


def delta_of(site: Site) -> float:
    """The delta of the line of tune and held-out patients."""
    policy = site.policy
    return policy.lifetime.delta if policy.metrics == "exact" else policy.heldout.delta


def heldout_cost(site: Site, study: Study, spent: Sequence[Spend]) -> HeldoutCost:
    """What a study costs tune and held-out patients.

    Args:
        site: Whose.
        study: The study.
        spent: What was charged for them so far, by any study.
    """
    policy, delta = site.policy, delta_of(site)
    releases = 0 if policy.metrics == "withheld" else policy.most_charges(study, "heldout")
    noise = policy.tally_noise if policy.metrics == "noised" else 0.0
    one = gaussian_sums.spend(study=study.digest, round=1, noise_multiplier=noise)

    def several(number: int) -> list[Spend]:
        return [one.model_copy(update={"steps": number})] if number > 0 else []

    done = sum(spend.study == study.digest for spend in spent)
    before = accounting.epsilon(spent, delta=delta)
    after = accounting.epsilon([*spent, *several(releases - done)], delta=delta)
    ceiling = policy.heldout.epsilon if policy.metrics == "noised" else math.inf
    if policy.metrics == "noised":  # where the ceiling is reached, counts stay at the site
        after = max(before, min(after, ceiling))
    return HeldoutCost(
        metrics=policy.metrics,
        releases=releases,
        delta=delta,
        epsilon_a_release=_finite(accounting.epsilon(several(min(releases, 1)), delta=delta)),
        epsilon_study=_finite(accounting.epsilon(several(releases), delta=delta)),
        epsilon_before=_finite(before),
        epsilon_after=_finite(after),
        epsilon_lifetime=_finite(ceiling),
        left=_finite(max(0.0, ceiling - after)) if math.isfinite(ceiling) else None,
        in_words=heldout_in_words(site, _finite(after), delta=delta),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
