"""Heads of a site's own, made from the federation's: what a simulation and a deployed site share.

Nothing is released, so nothing is noised: these heads train without privacy on patients of the
site that uses them. What the site's own tune patients do not prefer is not taken, so that the
federation's head itself may be the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from client.local import Bags
from client.unreleased import Tell, build_head, train_round, trained, tuned
from privacy.randomness import stream
from tasks.heads.head import Head, SummedHead, Weights
from tasks.strategy import FedAvgSpec
from tasks.study import Study

ROUNDS = 5
"""Most rounds of the study's length that a site goes on alone."""

PULLS = (1e-3, 1e-2, 1e-1)
"""Weights of the pull towards the federation's head that are tried."""

Kind = Literal["federated", "fine-tuned", "mean-regularised"]


@dataclass(frozen=True, slots=True)
class Personal:
    """A head that a site may use.

    Attributes:
        kind: How it was made; `federated` is the federation's, as it came.
        head: With its weights.
        pull: Of `mean-regularised`, the weight of the pull that did best.
        tune_f1: Micro-F1 on the site's tune patients; None without tune patients.
        threshold: At which that is.
    """

    kind: Kind
    head: Head
    pull: float | None = None
    tune_f1: float | None = None
    threshold: float | None = None


def federated(
    study: Study, bags: Bags, *, start: Weights, threshold: float | None = None
) -> Personal:
    """The federation's head."""
    head = build_head(study, bags, start)
    return _scored("federated", study, head, bags, threshold)


def fine_tuned(
    study: Study,
    name: str,
    bags: Bags,
    *,
    start: Weights,
    threshold: float | None = None,
    tell: Tell = lambda: None,
) -> Personal:
    """The federation's head, trained on at one site for some rounds; the best of them, or none.

    Args:
        study: From `unreleased`, without privacy, with the federation's head.
        name: Of the site; seeds the sampling.
        bags: The site's patients: those of `train` are trained on, those of `tune` choose.
        start: The federation's weights.
        threshold: At which tune patients are scored; the best one for them where there is none.
        tell: Is told before each round.
    """
    few = study.model_copy(update={"rounds": min(study.rounds, ROUNDS)})
    head = build_head(few, bags, start)
    if not isinstance(head, SummedHead):  # sums have no steps to go on with
        seed = f"{name}/fine-tuned"
        head = trained(few, seed, bags, start=start, threshold=threshold, tell=tell)
    return _scored("fine-tuned", study, head, bags, threshold)


def mean_regularised(
    study: Study,
    name: str,
    bags: Bags,
    *,
    start: Weights,
    threshold: float | None = None,
    tell: Tell = lambda: None,
) -> Personal:
    """The same, held near the federation's head (the last round of mean-regularised multi-task
    learning, Liu et al. 2022, arXiv:2206.07902); the best pull, or none of it.

    Args:
        study: From `unreleased`, without privacy, with the federation's head.
        name: Of the site; seeds the sampling.
        bags: As for `fine_tuned`.
        start: The federation's weights.
        threshold: As for `fine_tuned`.
        tell: Is told before each pull.
    """
    kind: Kind = "mean-regularised"
    head = build_head(study, bags, start)
    found = [_scored(kind, study, head, bags, threshold)]
    for mu in [] if isinstance(head, SummedHead) else _pulls(study):
        tell()
        pulled = _pulled(study, name, bags, start=start, mu=mu)
        found.append(_scored(kind, study, pulled, bags, threshold, pull=mu))
    return preferred(found)


def preferred(heads: Sequence[Personal]) -> Personal:
    """The one that does best on the tune patients, the first of equals."""
    return max(heads, key=lambda one: one.tune_f1 or 0.0)


def _pulls(study: Study) -> list[float]:
    """Beyond 1 a pull of plain gradient descent throws further than it was away."""
    rate = study.optimizer.learning_rate if study.optimizer.kind == "sgd" else 0
    return [mu for mu in PULLS if mu * rate <= 1]


def tries(study: Study) -> int:
    """How often `fine_tuned` and `mean_regularised` together tell."""
    return min(study.rounds, ROUNDS) + len(_pulls(study))


def _scored(
    kind: Kind,
    study: Study,
    head: Head,
    bags: Bags,
    threshold: float | None,
    *,
    pull: float | None = None,
) -> Personal:
    found = tuned(study, head, bags, threshold=threshold)
    return Personal(kind, head, pull, tune_f1=found.micro_f1, threshold=found.threshold)


def _pulled(study: Study, name: str, bags: Bags, *, start: Weights, mu: float) -> Head:
    """One long round, because the pull is towards where a round began."""
    steps = min(study.rounds, ROUNDS) * study.steps
    held = {"strategy": FedAvgSpec(proximal_mu=mu), "rounds": 1, "steps": steps}
    of = study.model_copy(update=held)
    head = build_head(of, bags, start)
    train_round(of, head, bags, numbers=stream(f"baseline/{study.seed}/{name}/{mu}"))
    return head
