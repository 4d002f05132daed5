"""A head of each site's own in a simulation, as a deployed site would make it
(`client.personal`), scored at the federation's threshold.
"""

from __future__ import annotations

from client import personal
from client.local import Bags
from experiments.baselines import Scored, scored
from tasks.heads.head import Weights
from tasks.study import Study


def fine_tuned(
    study: Study, name: str, bags: Bags, *, start: Weights, threshold: float | None
) -> Scored:
    """See `client.personal.fine_tuned`.

    Args:
        study: From `client.unreleased.without_privacy`, with the federation's head.
        name: Of the site; seeds the sampling.
        bags: The site's patients.
        start: The federation's weights.
        threshold: The federation's.
    """
    found = personal.fine_tuned(study, name, bags, start=start, threshold=threshold)
    return scored(study, {name: bags}, found.head, threshold=threshold)


def mean_regularised(
    study: Study, name: str, bags: Bags, *, start: Weights, threshold: float | None
) -> Scored:
    """See `client.personal.mean_regularised`.

    Args:
        study: From `client.unreleased.without_privacy`, with the federation's head.
        name: Of the site; seeds the sampling.
        bags: The site's patients.
        start: The federation's weights.
        threshold: The federation's.
    """
    found = personal.mean_regularised(study, name, bags, start=start, threshold=threshold)
    return scored(study, {name: bags}, found.head, threshold=threshold)
