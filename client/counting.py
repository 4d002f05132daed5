"""Counting: how the tune and held-out patients are scored, as far as the policy lets it out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from client.site import Site
from privacy import gaussian_sums
from privacy.budget import Budget, Spend
from privacy.errors import BudgetExhausted
from privacy.ledger import Ledger, Receipt
from privacy.randomness import Stream
from privacy.release import Tally
from privacy.suppression import hidden_labels
from tasks import noised, tallies
from tasks.bags import PatientBag, collate
from tasks.heads.head import Head
from tasks.loss import log_odds
from tasks.rollup import Rollup, rollups
from tasks.study import Study

EVALUATION_BATCH = 64

Patients = Sequence[PatientBag]


def counted(
    site: Site,
    study: Study,
    head: Head,
    *,
    tune: Patients,
    heldout: Patients,
    round: int,
    ledger: Ledger,
) -> tuple[tuple[Tally, ...], Receipt | None]:
    """The tallies that may leave, and their charge; none of either where none may.

    What leaves is written in the ledger first, on the line of the tune and held-out patients:
    exact tallies as infinity, which the policy allowed by `metrics` and not by a ceiling; noised
    ones within `policy.heldout`. Where that is spent, or the study was tallied as often as it may
    be, tallies are withheld: not an error, because training costs other patients.
    """
    policy = site.policy
    if policy.metrics == "withheld":
        return (), None
    exactly = policy.metrics == "exact"
    if exactly:
        spend = Spend(study=study.digest, round=round, noise_multiplier=0, sample_rate=1, steps=1)
        ceiling = Budget(epsilon=float("inf"), delta=policy.lifetime.delta)
    else:
        noise = policy.tally_noise
        spend = gaussian_sums.spend(study=study.digest, round=round, noise_multiplier=noise)
        ceiling = policy.heldout
    # Charged before anything is counted, so that the number of charges tells nothing.
    receipt = _reserved(site, study, ledger, spend, ceiling)
    if receipt is None:
        return (), None
    if exactly:
        found = exact(study, head, tune, heldout, smallest=policy.smallest_count)
    else:
        found = noisy(study, head, tune, heldout, spend=spend, stream=site.stream(receipt))
    return tuple(found), receipt if found else None


def exact(
    study: Study, head: Head, tune: Patients, heldout: Patients, *, smallest: int = 0
) -> list[Tally]:
    """Every exact tally that may leave under a smallest count.

    An output that fewer patients carry, or that fewer lack at some stay, is left out of every
    tally of its part, totals included: the coordinator chooses the weights, so it could make any
    total show it. Where exactly one output is true of each stay, such a stay is left out whole:
    the others' sums would tell of it. A group of a coarser level is left out where fewer patients
    have two of its outputs at one stay: the group's sums and its outputs' would tell of them.
    """
    found: list[Tally] = []
    exclusive = study.task.exclusive
    levels = rollups(study.task.rollups)
    for part, some in (("tune", tune), ("heldout", heldout)):
        carried = carriers(some, outputs=len(study.outputs))
        without = lacking(some, outputs=len(study.outputs))
        shown = ~(
            hidden_labels(carried, smallest=smallest) | hidden_labels(without, smallest=smallest)
        )
        patients = _told(some, shown) if exclusive else some
        if len(patients) < smallest or not shown.any():
            continue
        logits, truth = scores(study, head, patients)
        number = len(patients)
        if part == "tune":
            found += tallies.tune_tallies(logits, truth, patients=number, shown=shown)
            continue
        groups = [
            (of, ~hidden_labels(_shared(patients, of, shown), smallest=smallest)) for of in levels
        ]
        found += tallies.heldout_tallies(
            logits, truth, patients=number, shown=shown, exclusive=exclusive, levels=groups
        )
    return found


def _told(patients: Patients, shown: NDArray[np.bool_]) -> list[PatientBag]:
    """The patients' stays of which a shown output is true; those who have any."""
    found = []
    for patient in patients:
        pairs = zip(patient.vectors, patient.targets, strict=True)
        kept = [(of, target) for of, target in pairs if shown[list(target)].any()]
        if kept:
            found.append(PatientBag(*zip(*kept, strict=True)))
    return found


def _shared(patients: Patients, of: Rollup, shown: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many patients have two shown outputs of a group at one stay, (G,)."""
    counts = np.zeros(len(of.groups), np.int64)
    for patient in patients:
        twice: set[int] = set()
        for target in patient.targets:
            here = Counter(int(of.of[number]) for number in target if shown[number])
            twice.update(group for group, times in here.items() if times > 1)
        counts[sorted(twice)] += 1
    return counts


def noisy(
    study: Study, head: Head, tune: Patients, heldout: Patients, *, spend: Spend, stream: Stream
) -> list[Tally]:
    """Every noised tally, with the noise of the charge."""
    found: list[Tally] = []
    for patients, count in ((tune, noised.tune_tallies), (heldout, noised.heldout_tallies)):
        logits, truth = scores(study, head, patients)
        stays = [len(patient.vectors) for patient in patients]
        found += count(
            logits,
            truth,
            owners=np.repeat(np.arange(len(patients)), stays),
            patients=len(patients),
            noise_multiplier=spend.noise_multiplier,
            stream=stream,
        )
    return found


def carriers(patients: Patients, *, outputs: int) -> NDArray[np.int64]:
    """How many patients have each output true in some stay, (L,)."""
    counts = np.zeros(outputs, np.int64)
    for patient in patients:
        counts[sorted({number for target in patient.targets for number in target})] += 1
    return counts


def lacking(patients: Patients, *, outputs: int) -> NDArray[np.int64]:
    """How many patients have each output false at some stay, (L,)."""
    counts = np.full(outputs, len(patients), np.int64)
    for patient in patients:
        counts[sorted(frozenset.intersection(*map(frozenset, patient.targets)))] -= 1
    return counts


@torch.no_grad()
def scores(
    study: Study, head: Head, patients: Patients
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Logits and truth, each (N, L) over the N stays of the patients, in order.

    The outputs of an exclusive task have log-odds for logits, so that the fixed edges of the
    tallies mean the same probabilities for every task.
    """
    outputs = len(study.outputs)
    logits = [np.zeros((0, outputs), np.float32)]
    truth = [np.zeros((0, outputs), np.bool_)]
    head.eval()
    for start in range(0, len(patients), EVALUATION_BATCH):
        some = patients[start : start + EVALUATION_BATCH]
        batch = collate(some, dim=study.encoder.dim, outputs=outputs)
        found = head(batch.x, batch.chunks)[batch.stays]
        logits.append((log_odds(found) if study.task.exclusive else found).numpy())
        truth.append(batch.y[batch.stays].numpy().astype(np.bool_))
    return np.concatenate(logits), np.concatenate(truth)


def _reserved(
    site: Site, study: Study, ledger: Ledger, spend: Spend, ceiling: Budget
) -> Receipt | None:
    """The charge; None, and a line in the audit log, where there is nothing left to charge."""
    most = site.policy.most_charges(study, "heldout")
    try:
        receipt = ledger.reserve(spend, lifetime=ceiling, cohort="heldout", most=most)
    except BudgetExhausted as error:
        site.open_log().write(
            "refused", study=spend.study, round=spend.round, what="tallies", reason=str(error)
        )
        return None
    log_spend(site, receipt)
    return receipt


def log_spend(site: Site, receipt: Receipt) -> None:
    """Writes a charge into the site's audit log."""
    site.open_log().write(
        "spend", receipt=receipt.id, cohort=receipt.cohort, **receipt.spend.model_dump()
    )
