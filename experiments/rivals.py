"""Rivals that cost next to nothing: ridge regression, and what the outputs mean without training.

Rounds of training have to beat both. Neither has privacy, and neither is part of a federation.
"""

from __future__ import annotations

from collections.abc import Mapping

from client.local import Bags
from client.unreleased import build_head, train_round, tune_f1
from experiments.baselines import Scored, scored, together
from privacy.off import Off
from privacy.randomness import stream
from tasks.heads.code_query import CodeQuery
from tasks.heads.head import weights_of
from tasks.heads.ridge import Ridge
from tasks.strategy import FedAvgSpec
from tasks.study import OptimizerSpec, Study

RIDGES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Penalties that are tried; the best for the tune patients is taken."""


def headless(study: Study) -> Study:
    """The study without what these rivals do not ask about."""
    changed = {"head": Ridge(), "privacy": Off(), "strategy": FedAvgSpec()}
    once = {"rounds": 1, "steps": 1, "sample_rate": 1.0, "optimizer": OptimizerSpec()}
    return study.model_copy(update=changed | once)


def closed_form(study: Study, sites: Mapping[str, Bags]) -> Scored:
    """Ridge regression on everybody's records: what one round of sums gives without privacy, to
    the last digit, however the records are divided (`tasks.heads.ridge`).

    Args:
        study: Whose task and vectors it uses.
        sites: By name; one of them alone gives what that site reaches by itself.
    """
    once = headless(study)
    everybody = together(sites)
    summed = build_head(once, everybody, once.initial())
    numbers = stream(f"baseline/{study.seed}/closed form")
    train_round(once, summed, everybody, numbers=numbers)
    weights = weights_of(summed)
    best = max(
        (once.model_copy(update={"head": Ridge(ridge=penalty)}) for penalty in RIDGES),
        key=lambda one: tune_f1(one, build_head(one, everybody, weights), everybody) or 0.0,
    )
    return scored(best, sites, build_head(best, everybody, weights))


def untrained(study: Study, sites: Mapping[str, Bags]) -> Scored:
    """`code-query` as it starts: cosines of chunks with the outputs' titles, whatever further terms
    the study's own head reads. Only the threshold is chosen, on the tune patients.

    Args:
        study: Whose task and vectors it uses.
        sites: By name.
    """
    start = headless(study).model_copy(update={"head": CodeQuery(terms="none")})
    return scored(start, sites, build_head(start, together(sites), start.initial()))
