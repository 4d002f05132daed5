"""Training that nobody releases: a head on a site's own records, without privacy.

What simulations measure a federation against, and what a deployed site makes for itself
(`client.personalise`), is trained here, by the same steps as a study's rounds. Nothing is charged,
because nothing leaves; so nothing that comes from here may ever be sent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from client import counting, local
from client.local import Bags
from client.simulation import rounded
from privacy.ledger import Receipt
from privacy.off import Off
from privacy.randomness import Stream, stream
from privacy.release import Tally
from tasks.heads.head import Head, Weights, set_weights
from tasks.metrics import Metrics, best_threshold, metrics
from tasks.strategy import FedAvgSpec
from tasks.study import OptimizerSpec, Study
from tasks.tallies import SCORES, TUNE, by_name, tune_tallies

Tell = Callable[[], None]
"""Called before each piece of work; what it raises ends the work."""


def without_privacy(study: Study) -> Study:
    """The study as it is trained alone; nobody's updates are put together. Nor does it start from
    an earlier study's weights: those have seen all sites.
    """
    return study.model_copy(update={"privacy": Off(), "strategy": FedAvgSpec(), "start": None})


def unclipped(study: Study) -> Study:
    """`without_privacy` where nobody gives a recipe: a rate of plain gradient descent that was
    chosen for clipped gradients is far too high for whole ones, so Adam's default takes its place.
    """
    without = without_privacy(study)
    if study.privacy.largest_clip is None or study.optimizer.kind != "sgd":
        return without
    return without.model_copy(update={"optimizer": OptimizerSpec()})


def trained(
    study: Study,
    name: str,
    bags: Bags,
    *,
    start: Weights | None = None,
    threshold: float | None = None,
    tell: Tell = lambda: None,
) -> Head:
    """The head of the round with the best micro-F1 on the tune patients; the last round's where
    there are none.

    Args:
        study: From `without_privacy`.
        name: Seeds the sampling.
        bags: The patients.
        start: Weights to start from; those of the study where there are none.
        threshold: At which tune patients are scored; the best one for them where there is none.
        tell: Is told before each round.
    """
    numbers = stream(f"baseline/{study.seed}/{name}")
    head = build_head(study, bags, study.initial() if start is None else start)
    best = tune_f1(study, head, bags, threshold=threshold) or 0.0
    kept = {key: value.clone() for key, value in head.state_dict().items()}
    for number in range(1, study.rounds + 1):
        tell()
        train_round(study, head, bags, number=number, numbers=numbers)
        score = tune_f1(study, head, bags, threshold=threshold)
        # Nobody prefers what came of training; a head from nowhere must still have learned.
        if (score is None and start is None) or (score or 0) > best:
            best = score or best
            kept = {key: value.clone() for key, value in head.state_dict().items()}
    head.load_state_dict(kept)
    return head


def train_round(study: Study, head: Head, bags: Bags, *, numbers: Stream, number: int = 1) -> None:
    """Trains a head in place for one round of a study without privacy.

    Args:
        study: From `without_privacy`, or of one round.
        head: Is trained.
        bags: On whose training patients.
        numbers: Source of the sampling.
        number: The round, from 1.
    """
    local.fit(
        study,
        head,
        bags.train,
        receipt=Receipt(id=number, spend=study.spend(number)),
        declared_patients=rounded(len(bags.train)),
        stream=numbers,
    )


def tune_f1(
    study: Study, head: Head, bags: Bags, *, threshold: float | None = None
) -> float | None:
    """Micro-F1 of `tuned`."""
    return tuned(study, head, bags, threshold=threshold).micro_f1


def tuned(study: Study, head: Head, bags: Bags, *, threshold: float | None = None) -> Metrics:
    """Micro-F1 on the tune patients and its threshold, the best one for them where none is given;
    0 of a head that diverged, None without tune patients.
    """
    logits, truth = counting.scores(study, head, bags.tune)
    if not np.isfinite(logits).all():  # no threshold makes sense of it
        return Metrics(micro_f1=0.0)
    tune = by_name(tune_tallies(logits, truth, patients=len(bags.tune)))[TUNE]
    # The same counts, read once to choose the threshold and once to score it.
    found = {TUNE: tune, SCORES: Tally(SCORES, tune.sums, tune.patients)}
    at = best_threshold(found) if threshold is None else threshold
    return metrics(found, threshold=at)


def build_head(study: Study, bags: Bags, weights: Weights) -> Head:
    """The study's head with these weights."""
    head = study.head.build(
        dim=study.encoder.dim, outputs=len(study.outputs), questions=bags.questions
    )
    set_weights(head, weights)
    return head
