"""What a site does for a study: prepare, train, evaluate. Knows no network.

Order of a training round: admit, check weights, tally what came in, charge the ledger, train.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client import cohort as cohorts
from client.site import Site
from privacy.budget import Budget, Spend
from privacy.errors import CodeDiffers, EncoderDiffers, StudyRefused
from privacy.fingerprint import code_fingerprint
from privacy.ledger import Ledger, Receipt
from privacy.mechanism import Memory, Training
from privacy.randomness import Stream
from privacy.release import Hello, Release, ReleaseHeader, RequestHeader, Tally
from privacy.suppression import hidden_labels
from tasks import tallies
from tasks.bags import PatientBag, collate
from tasks.heads.head import Head, Weights, set_weights, weights_of
from tasks.loss import patient_losses
from tasks.study import Study

EVALUATION_BATCH = 64
MOST_NUMBERS = 20_000_000


@dataclass(frozen=True, slots=True)
class Bags:
    """A site's patients for one study, in memory.

    Attributes:
        train: Trained on.
        tune: Choose the threshold.
        heldout: Score the study.
        questions: Vectors of what the outputs mean, (L, D).
    """

    train: Sequence[PatientBag]
    tune: Sequence[PatientBag]
    heldout: Sequence[PatientBag]
    questions: torch.Tensor


def hello(
    site: Site,
    header: RequestHeader,
    *,
    progress: cohorts.Progress = lambda *_: None,
) -> Hello:
    """Answers a study's first question: admits it and prepares it.

    Raises:
        SiteError: The study is refused or cannot be prepared; the text says why.
    """
    study = admitted(site, header)
    cohorts.prepare(site, study, progress=progress)
    return Hello(
        site=site.name,
        code=code_fingerprint(),
        encoder=cohorts.load(site, study).identity,
        declared_patients=site.declared_patients,
    )


def admitted(site: Site, header: RequestHeader) -> Study:
    """The study of a request, if this site takes part in it.

    Raises:
        CodeDiffers: The coordinator runs other code.
        StudyRefused: The policy, or what is left in the ledger, does not allow it.
    """
    if header.code != code_fingerprint():
        raise CodeDiffers(
            f"{site.name} runs code {code_fingerprint()[:12]}, the coordinator "
            f"{header.code[:12]}; install the same version of fedward"
        )
    study = Study.received(header.study)
    site.policy.admit(study)
    numbers = sum(math.prod(shape) for shape in study.contract().parameters.values())
    if numbers > MOST_NUMBERS:
        raise StudyRefused(f"the head trains {numbers:,} numbers; {MOST_NUMBERS:,} are allowed")
    ledger = site.open_ledger()
    done = {spend.round for spend in ledger.spends(study=study.digest)}
    planned = [spend for spend in study.spends() if spend.round not in done]
    ledger.afford(planned, lifetime=site.policy.lifetime)
    return study


def train(site: Site, study: Study, header: RequestHeader, weights: Weights) -> Release:
    """One round: tallies of the weights that came, then local training from them.

    Raises:
        StudyRefused: The study has no such round.
        BudgetExhausted: Before a gradient is taken.
        EncoderDiffers: The site's vectors are not those of the other sites.
    """
    if not 1 <= header.round <= study.rounds:
        raise StudyRefused(f"the study has rounds 1 to {study.rounds}, not {header.round}")
    ledger = site.open_ledger()
    bags, identity = _bags(site, study, header)
    with _threads(site.threads):
        counted = _counted(site, study, weights, bags, round=header.round, ledger=ledger)
        receipt = ledger.reserve(study.spend(header.round), lifetime=site.policy.lifetime)
        head = _head(study, bags.questions, weights)
        fit(
            study,
            head,
            bags.train,
            receipt=receipt,
            declared_patients=site.declared_patients,
            stream=site.stream(receipt=receipt.id),
        )
    return _release(
        site,
        study,
        header,
        identity=identity,
        counted=counted,
        update=weights_of(head),
        receipt=receipt,
    )


def evaluate(site: Site, study: Study, header: RequestHeader, weights: Weights) -> Release:
    """Tallies of some weights, without training.

    Raises:
        EncoderDiffers: The site's vectors are not those of the other sites.
    """
    bags, identity = _bags(site, study, header)
    with _threads(site.threads):
        counted = _counted(
            site, study, weights, bags, round=max(header.round, 1), ledger=site.open_ledger()
        )
    return _release(
        site, study, header, identity=identity, counted=counted, update={}, receipt=None
    )


def fit(
    study: Study,
    head: Head,
    patients: Sequence[PatientBag],
    *,
    receipt: Receipt,
    declared_patients: int,
    stream: Stream,
    memory: Memory | None = None,
) -> Memory:
    """Trains a head in place with the study's mechanism, loss and optimizer.

    Returns:
        What the mechanism wants to know in the next round.
    """
    outputs = len(study.outputs)

    def losses(model: nn.Module, sample: Sequence[PatientBag]) -> torch.Tensor:
        batch = collate(sample, dim=study.encoder.dim, outputs=outputs)
        return patient_losses(model(batch.x, batch.chunks), batch)

    training = Training(
        receipt=receipt,
        losses=losses,
        learner=study.optimizer.build,
        declared_patients=declared_patients,
        stream=stream,
        memory=memory or {},
    )
    return study.privacy.fit(head, patients, training)


@torch.no_grad()
def scores(
    study: Study, head: Head, patients: Sequence[PatientBag]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits and truth, each (N, L) over the N stays of the patients, in order."""
    outputs = len(study.outputs)
    logits = [np.zeros((0, outputs), np.float32)]
    truth = [np.zeros((0, outputs), np.bool_)]
    head.eval()
    for start in range(0, len(patients), EVALUATION_BATCH):
        some = patients[start : start + EVALUATION_BATCH]
        batch = collate(some, dim=study.encoder.dim, outputs=outputs)
        logits.append(head(batch.x, batch.chunks)[batch.stays].numpy())
        truth.append(batch.y[batch.stays].numpy().astype(np.bool_))
    return np.concatenate(logits), np.concatenate(truth)


def tally(study: Study, head: Head, bags: Bags, *, smallest: int = 0) -> list[Tally]:
    """Every tally of the tune and held-out patients that may leave under a smallest count.

    An output that fewer patients carry is left out of every tally of its part, totals
    included: the coordinator chooses the weights, so it could make any total show it.
    """
    found: list[Tally] = []
    for patients, count in (
        (bags.tune, tallies.tune_tallies),
        (bags.heldout, tallies.heldout_tallies),
    ):
        carried = carriers(patients, outputs=len(study.outputs))
        shown = ~hidden_labels(carried, smallest=smallest)
        if len(patients) >= smallest and shown.any():
            logits, truth = scores(study, head, patients)
            found += count(logits, truth, patients=len(patients), shown=shown)
    return found


def load_bags(site: Site, study: Study) -> Bags:
    """The study's patients at this site, prepared before."""
    return _load(site, study, cohorts.load(site, study))


def _load(site: Site, study: Study, cohort: cohorts.Cohort) -> Bags:
    with cohorts.open_store(site, study, known=cohort.identity) as store:
        return Bags(
            train=cohorts.bags(cohort, "train", study=study, store=store),
            tune=cohorts.bags(cohort, "tune", study=study, store=store),
            heldout=cohorts.bags(cohort, "heldout", study=study, store=store),
            questions=cohorts.question_vectors(cohort, store),
        )


def _bags(site: Site, study: Study, header: RequestHeader) -> tuple[Bags, str]:
    cohort = cohorts.load(site, study)
    if header.encoder != cohort.identity:
        raise EncoderDiffers(
            f"{site.name} embeds as {cohort.identity[:12]}, the study as "
            f"{(header.encoder or 'nothing')[:12]}; install the same encoder"
        )
    return _load(site, study, cohort), cohort.identity


def _head(study: Study, questions: torch.Tensor, weights: Weights) -> Head:
    head = study.head.build(dim=study.encoder.dim, outputs=len(study.outputs), questions=questions)
    set_weights(head, weights)
    return head


def _counted(
    site: Site, study: Study, weights: Weights, bags: Bags, *, round: int, ledger: Ledger
) -> tuple[Tally, ...]:
    """The tallies that may leave; what leaves exactly is written in the ledger first."""
    if site.policy.metrics == "withheld":
        return ()
    head = _head(study, bags.questions, weights)
    kept = tuple(tally(study, head, bags, smallest=site.policy.smallest_count))
    if kept:
        # Exact counts have no epsilon. The line of the tune and held-out patients says so; the
        # policy allowed it by `metrics`, not by a ceiling.
        exact = Spend(study=study.digest, round=round, noise_multiplier=0, sample_rate=1, steps=1)
        no_ceiling = Budget(epsilon=float("inf"), delta=site.policy.lifetime.delta)
        ledger.reserve(exact, lifetime=no_ceiling, cohort="heldout")
    return kept


def carriers(patients: Sequence[PatientBag], *, outputs: int) -> NDArray[np.int64]:
    """How many patients have each output true in some stay, (L,)."""
    counts = np.zeros(outputs, np.int64)
    for patient in patients:
        counts[sorted({number for target in patient.targets for number in target})] += 1
    return counts


def _release(
    site: Site,
    study: Study,
    header: RequestHeader,
    *,
    identity: str,
    counted: tuple[Tally, ...],
    update: Mapping[str, NDArray[np.float32]],
    receipt: Receipt | None,
) -> Release:
    spend = receipt.spend if receipt is not None else None
    return Release(
        header=ReleaseHeader(
            study=study.digest,
            round=header.round,
            site=site.name,
            code=code_fingerprint(),
            encoder=identity,
            declared_patients=site.declared_patients,
            patients={tally.name: tally.patients for tally in counted},
            receipt=receipt.id if receipt is not None else None,
            noise_multiplier=spend.noise_multiplier if spend else None,
            sample_rate=spend.sample_rate if spend else None,
            steps=spend.steps if spend else None,
        ),
        update=update,
        tallies=counted,
        receipt=receipt,
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Runs torch on a fixed number of threads, and puts the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
