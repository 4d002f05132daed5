"""What a site does for a study: prepare, train, evaluate. Knows no network.

Order of a training round: admit, check weights, look for a kept answer, charge the ledger, tally
what came in, train, keep the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import torch
from torch import nn

from client import approval, final_weights, wanted
from client import cohort as cohorts
from client.counting import counted, log_spend
from client.site import Site
from privacy.errors import CodeDiffers, EncoderDiffers, SiteError, StudyRefused
from privacy.fingerprint import code_fingerprint
from privacy.ledger import Ledger, Receipt
from privacy.mechanism import Memory, Training
from privacy.moments import Pairs
from privacy.proximal import held
from privacy.randomness import Stream
from privacy.release import Hello, Release, ReleaseHeader, RequestHeader
from privacy.releases import question
from tasks.bags import PatientBag, collate
from tasks.heads.head import Head, SummedHead, Weights, set_weights, weights_of
from tasks.heads.questions import Questions
from tasks.loss import patient_losses
from tasks.study import Study

LOG = logging.getLogger("fedward.site")

ROOM = 2**25
"""Numbers in one tensor of a step, at most about: 128 MiB."""


@dataclass(frozen=True, slots=True)
class Bags:
    """A site's patients for one study, in memory.

    Attributes:
        train: Trained on.
        tune: Choose the threshold.
        heldout: Score the study.
        questions: Vectors of what the outputs mean.
    """

    train: Sequence[PatientBag]
    tune: Sequence[PatientBag]
    heldout: Sequence[PatientBag]
    questions: Questions


def hello(
    site: Site,
    header: RequestHeader,
    *,
    progress: cohorts.Progress = lambda *_: None,
) -> Hello:
    """Answers a study's first question: admits it, and prepares it where the site is simulated.

    A deployed site prepares in a step of its own (`client.embed`): it may take hours, and who
    answers messages never loads an encoder.

    Raises:
        StillPreparing: The site is deployed and the study waits to be prepared.
        SiteError: The study is refused or cannot be prepared; the text says why.
    """
    study = admitted(site, header)
    if site.coordinator is None:
        attrition = cohorts.prepare(site, study, progress=progress)
        said = site.split.said(site.at(site.data))
        site.open_log().write(
            "prepared", study=study.digest, rules=len(attrition.counts), split=said
        )
        cohort = cohorts.load(site, study)
    else:
        cohort = _prepared(site, study)
    return Hello(
        site=site.name,
        code=code_fingerprint(),
        encoder=cohort.identity,
        declared_patients=site.declared_patients,
    )


def _prepared(site: Site, study: Study) -> cohorts.Cohort:
    cohort = cohorts.prepared(site, study)
    if cohort is None:
        said = wanted.answer(site, study.digest)
        if wanted.has_room(site, study.digest):
            approval.keep(site, study)
            wanted.want(site, study.digest)
        raise said
    approval.keep(site, study)  # where any study is taken, so that new notes come in for it too
    return cohort


def admitted(site: Site, header: RequestHeader) -> Study:
    """The study of a request, if this site takes part in it.

    Raises:
        CodeDiffers: The coordinator runs other code.
        StudyRefused: The policy, the people who decide or what is left in the ledger do not
            allow it.
    """
    if header.code != code_fingerprint():
        raise CodeDiffers(
            f"{site.name} runs code {code_fingerprint()[:12]}, the coordinator "
            f"{header.code[:12]}; install the same version of fedward"
        )
    study = Study.received(header.study)
    site.policy.admit(study, declared_patients=site.declared_patients)
    ledger = site.open_ledger()
    approval.check(site, study, ledger)
    ledger.afford(study.spends(), lifetime=site.policy.lifetime, but_done=True)
    return study


def train(site: Site, study: Study, header: RequestHeader, weights: Weights) -> Release:
    """One round: tallies of the weights that came, then local training from them.

    The same request asked again gets the kept release; nothing more is spent.

    Raises:
        StudyRefused: The study has no such round, or the policy allows no more today.
        BudgetExhausted: Before a gradient is taken.
        EncoderDiffers: The site's vectors are not those of the other sites.
    """
    if not 1 <= header.round <= study.rounds:
        raise StudyRefused(f"the study has rounds 1 to {study.rounds}, not {header.round}")

    def make(ledger: Ledger) -> tuple[Release, Memory]:
        bags, identity = _bags(site, study, header)
        receipt = ledger.reserve(
            study.spend(header.round),
            lifetime=site.policy.lifetime,
            per_day=site.policy.rounds_per_day,
            most=site.policy.most_charges(study, "train"),
        )
        log_spend(site, receipt)
        release = _tallied(
            site, study, header, weights=weights, bags=bags, identity=identity, ledger=ledger
        )
        head = _head(study, bags.questions, weights)
        memory = fit(
            study,
            head,
            bags.train,
            receipt=receipt,
            declared_patients=site.declared_patients,
            stream=site.stream(receipt),
            memory=site.open_releases().memory(study.digest, before=header.round),
        )
        charged = receipt.spend.model_dump(include={"noise_multiplier", "sample_rate", "steps"})
        charged |= {"receipt": receipt.id, "attempt": receipt.attempt}
        full = release.header.model_copy(update=charged)
        return replace(release, header=full, update=weights_of(head), receipt=receipt), memory

    return _once(site, "train", header, weights, make)


def evaluate(site: Site, study: Study, header: RequestHeader, weights: Weights) -> Release:
    """Tallies of some weights, without training; kept for retries as `train` does.

    Raises:
        StudyRefused: The study has no such round.
        EncoderDiffers: The site's vectors are not those of the other sites.
    """
    if not 0 <= header.round <= study.rounds:
        raise StudyRefused(f"the study has rounds 0 to {study.rounds}, not {header.round}")

    def make(ledger: Ledger) -> tuple[Release, Memory]:
        bags, identity = _bags(site, study, header)
        if header.round == study.rounds and site.coordinator is not None:
            # What the site may make a head of its own from (`client.personalise`).
            try:
                final_weights.keep(site, study, weights, identity=identity)
            except (OSError, SiteError) as error:
                # A convenience of the site's must not cost the study its last question.
                LOG.warning("%s: final weights are not kept: %s", site.name, error)
        return _tallied(
            site, study, header, weights=weights, bags=bags, identity=identity, ledger=ledger
        ), {}

    return _once(site, "evaluate", header, weights, make)


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
        logits = model(batch.x, batch.chunks)
        return patient_losses(logits, batch, exclusive=study.task.exclusive)

    learner = partial(study.optimizer.build, round=receipt.spend.round, rounds=study.rounds)
    training = Training(
        receipt=receipt,
        losses=losses,
        learner=held(learner, mu=study.strategy.proximal_mu),
        declared_patients=declared_patients,
        stream=stream,
        memory=memory or {},
        at_once=_at_once(patients, width=study.encoder.dim + max(outputs, _asked(head))),
        pairs=partial(pairs_of, study) if isinstance(head, SummedHead) else None,
    )
    return study.privacy.fit(head, patients, training)


def _at_once(patients: Sequence[PatientBag], *, width: int) -> int:
    """How many patients fit into `ROOM` when all are padded to the largest."""
    stays = max((len(bag.vectors) for bag in patients), default=1)
    chunks = max((len(stay) for bag in patients for stay in bag.vectors), default=1)
    return max(1, ROOM // (stays * chunks * width))


def _asked(head: Head) -> int:
    """How many questions a head asks each chunk; 0 where it asks none."""
    questions = getattr(head, "questions", None)
    return 0 if questions is None else len(questions)


def pairs_of(study: Study, head: nn.Module, patients: Sequence[PatientBag]) -> Pairs:
    """What a head that follows from sums is fitted to, of some patients."""
    batch = collate(patients, dim=study.encoder.dim, outputs=len(study.outputs))
    inputs = cast("SummedHead", head).inputs(batch.x, batch.chunks)
    return Pairs(inputs=inputs, targets=batch.y, real=batch.stays)


def load_bags(site: Site, study: Study) -> Bags:
    """The study's patients at this site, prepared before."""
    return bags_of(site, study, cohorts.load(site, study))


def bags_of(site: Site, study: Study, cohort: cohorts.Cohort) -> Bags:
    """The patients of a cohort that was read, in memory."""
    with cohorts.open_store(site, study, known=cohort.identity) as store:
        return Bags(
            train=cohorts.bags(cohort, "train", study=study, store=store),
            tune=cohorts.bags(cohort, "tune", study=study, store=store),
            heldout=cohorts.bags(cohort, "heldout", study=study, store=store),
            questions=cohorts.question_vectors(cohort, store),
        )


def _once(
    site: Site,
    kind: Literal["train", "evaluate"],
    header: RequestHeader,
    weights: Weights,
    make: Callable[[Ledger], tuple[Release, Memory]],
) -> Release:
    """The kept answer to this question, or a new one that is kept before it leaves.

    One process of a site at a time: two that were asked the same would both be charged.
    """
    asked = question(kind, header, weights)
    with site.one_at_a_time():
        ledger, releases = site.open_ledger(), site.open_releases()
        kept = releases.get(asked, ledger=ledger)
        if kept is not None:
            site.open_log().write(
                "replay", study=kept.header.study, round=header.round, kind=kind, question=asked
            )
            return kept
        with on_threads(site.threads):
            release, memory = make(ledger)
        releases.put(asked, release, memory=memory)
    return release


def _tallied(
    site: Site,
    study: Study,
    header: RequestHeader,
    *,
    weights: Weights,
    bags: Bags,
    identity: str,
    ledger: Ledger,
) -> Release:
    """A release of the tallies of some weights."""
    found, receipt = counted(
        site,
        study,
        _head(study, bags.questions, weights),
        tune=bags.tune,
        heldout=bags.heldout,
        round=max(header.round, 1),
        ledger=ledger,
    )
    return Release(
        header=ReleaseHeader(
            study=study.digest,
            round=header.round,
            site=site.name,
            code=code_fingerprint(),
            encoder=identity,
            declared_patients=site.declared_patients,
            patients={tally.name: tally.patients for tally in found},
            tally_receipt=receipt.id if receipt is not None else None,
            tally_noise=receipt.spend.noise_multiplier if receipt is not None else None,
        ),
        update={},
        tallies=found,
        tally_receipt=receipt,
    )


def _bags(site: Site, study: Study, header: RequestHeader) -> tuple[Bags, str]:
    cohort = cohorts.load(site, study)
    if header.encoder != cohort.identity:
        raise EncoderDiffers(
            f"{site.name} embeds as {cohort.identity[:12]}, the study as "
            f"{(header.encoder or 'nothing')[:12]}; install the same encoder"
        )
    return bags_of(site, study, cohort), cohort.identity


def _head(study: Study, questions: Questions, weights: Weights) -> Head:
    head = study.head.build(dim=study.encoder.dim, outputs=len(study.outputs), questions=questions)
    set_weights(head, weights)
    return head


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Runs torch on a fixed number of threads, and puts the old number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
