"""A head of each site's own, made from the federation's: it never leaves the site.

Nothing is released, so nothing is noised: these heads train without privacy on patients of the
site that uses them. They are scored at the federation's threshold, and what the site's own tune
patients do not prefer is not taken, so that the federation's head itself may be the answer.
"""

from __future__ import annotations

from client.local import Bags
from experiments.baselines import Scored, build_head, scored, train_round, trained, tune_f1
from privacy.randomness import stream
from tasks.heads.head import Head, SummedHead, Weights
from tasks.strategy import FedAvgSpec
from tasks.study import Study

ROUNDS = 5
"""Most rounds of the study's length that a site goes on alone."""

PULLS = (1e-3, 1e-2, 1e-1)
"""Weights of the pull towards the federation's head that are tried."""


def fine_tuned(
    study: Study, name: str, bags: Bags, *, start: Weights, threshold: float | None
) -> Scored:
    """The federation's head, trained on at one site for some rounds; the best of them.

    Args:
        study: From `baselines.without_privacy`, with the federation's head.
        name: Of the site; seeds the sampling.
        bags: The site's patients.
        start: The federation's weights.
        threshold: The federation's.
    """
    few = study.model_copy(update={"rounds": min(study.rounds, ROUNDS)})
    head = build_head(few, bags, start)
    if not isinstance(head, SummedHead):  # sums have no steps to go on with
        head = trained(few, f"{name}/fine-tuned", bags, start=start, threshold=threshold)
    return scored(few, {name: bags}, head, threshold=threshold)


def mean_regularised(
    study: Study, name: str, bags: Bags, *, start: Weights, threshold: float | None
) -> Scored:
    """The same, held near the federation's head (the last round of mean-regularised multi-task
    learning, Liu et al. 2022, arXiv:2206.07902); the best pull, or none of it.

    Args:
        study: From `baselines.without_privacy`, with the federation's head.
        name: Of the site; seeds the sampling.
        bags: The site's patients.
        start: The federation's weights.
        threshold: The federation's.
    """
    heads = [build_head(study, bags, start)]
    if not isinstance(heads[0], SummedHead):
        # Beyond 1 a pull of plain gradient descent throws further than it was away.
        rate = study.optimizer.learning_rate if study.optimizer.kind == "sgd" else 0
        pulls = [mu for mu in PULLS if mu * rate <= 1]
        heads += [_pulled(study, name, bags, start=start, mu=mu) for mu in pulls]
    best = max(heads, key=lambda head: tune_f1(study, head, bags, threshold=threshold) or 0.0)
    return scored(study, {name: bags}, best, threshold=threshold)


def _pulled(study: Study, name: str, bags: Bags, *, start: Weights, mu: float) -> Head:
    """One long round, because the pull is towards where a round began."""
    steps = min(study.rounds, ROUNDS) * study.steps
    held = {"strategy": FedAvgSpec(proximal_mu=mu), "rounds": 1, "steps": steps}
    of = study.model_copy(update=held)
    head = build_head(of, bags, start)
    train_round(of, head, bags, numbers=stream(f"baseline/{study.seed}/{name}/{mu}"))
    return head
