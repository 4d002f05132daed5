"""The statement: exactly what a site can claim about its patients' privacy, from its ledger."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from client.heldout_cost import delta_of
from client.promises import heldout_in_words, shown
from client.site import Site
from privacy import accounting
from privacy.budget import Spend
from privacy.entries import Cohort, Entry, linked
from privacy.files import connect
from privacy.fingerprint import code_fingerprint
from privacy.spec import Spec


class Line(Spec):
    """One spend, and what all of its cohort had cost by then.

    Attributes:
        id: Its number in the ledger.
        at: When, UTC.
        cohort: Whose line.
        study: Digest.
        name: The study's name, where it was approved here.
        round: Of the study.
        noise_multiplier: 0 where there was none.
        sample_rate: Chance of each patient to be in a step.
        steps: Noisy steps.
        epsilon: Of all spends on the line up to this one, at the line's own delta; None is
            infinite.
    """

    id: int
    at: str
    cohort: Cohort
    study: str
    name: str | None
    round: int
    noise_multiplier: float
    sample_rate: float
    steps: int
    epsilon: float | None


class Other(Spec):
    """Another dataset in the same ledger file, which no ceiling of this one counts.

    Attributes:
        dataset: Its name.
        spent: Epsilon of its training patients, at this site's delta; None is infinite.
        heldout_spent: The same of its tune and held-out patients.
        entries: Its entries of all kinds.
    """

    dataset: str
    spent: float | None
    heldout_spent: float | None
    entries: int


class Account(Spec):
    """A ledger as people read it.

    Attributes:
        site: Whose.
        dataset: Whose patients.
        delta: Of training patients' epsilons.
        lifetime: Ceiling for training patients; None is infinite.
        spent: Epsilon of training patients; None is infinite.
        left: What is left of the lifetime; None where it has no end.
        heldout_delta: Of the epsilons of tune and held-out patients.
        heldout_lifetime: Ceiling for noised tallies; None where the policy has none.
        heldout_spent: Epsilon of tune and held-out patients; None is infinite.
        lines: Every spend, in order.
        entries: Entries of all kinds, of this dataset.
        head: Hash of the last.
        others: Other datasets in the same file, by name.
        warnings: Why the count may be lower than what was spent, a sentence each.
    """

    site: str
    dataset: str
    delta: float
    lifetime: float | None
    spent: float | None
    left: float | None
    heldout_delta: float
    heldout_lifetime: float | None
    heldout_spent: float | None
    lines: tuple[Line, ...]
    entries: int
    head: str
    others: tuple[Other, ...]
    warnings: tuple[str, ...]


class Statement(Spec):
    """The claim, with everything that it rests on. It is about training patients alone.

    Attributes:
        site: Whose patients.
        dataset: The site's own name for them.
        at: When it was made, UTC.
        unit: What is protected.
        neighbours: What may differ.
        mechanism: How.
        delta: Chance that `epsilon` is exceeded.
        epsilon: Cumulative, of training patients, over all studies; None is infinite.
        lifetime: The ceiling; None is infinite.
        heldout_epsilon: Of tune and held-out patients; None is infinite.
        heldout_delta: Chance that it is exceeded.
        heldout_in_words: What holds for tune and held-out patients.
        metrics: How their counts leave from now on.
        studies: Digests that were charged.
        rounds: Charges for training.
        randomness: Where noise and sampling came from.
        holds: Whether there is a claim at all.
        exclusions: What the claim does not cover.
        others: Other datasets in the same ledger file, by name.
        warnings: Why more may have been spent than the ledger says, a sentence each.
        ledger: Entries and the hash of the last: the state that it was read from.
        code: Fingerprint of the code that read it.
    """

    site: str
    dataset: str
    at: str
    unit: Literal["patient"] = "patient"
    neighbours: Literal["add-or-remove-one"] = "add-or-remove-one"
    mechanism: str
    delta: float
    epsilon: float | None
    lifetime: float | None
    heldout_epsilon: float | None
    heldout_delta: float
    heldout_in_words: str
    metrics: Literal["exact", "noised", "withheld"]
    studies: tuple[str, ...]
    rounds: int
    randomness: str
    holds: bool
    exclusions: tuple[str, ...]
    others: tuple[Other, ...]
    warnings: tuple[str, ...]
    ledger: tuple[int, str]
    code: str


def account(site: Site, *, last: int | None = None) -> Account:
    """Reads a site's ledger.

    Args:
        site: Whose.
        last: Only this many lines, the latest; epsilons are of all all the same. None is all.
    """
    ledger, policy = site.open_ledger(), site.policy
    entries = ledger.entries()
    delta, lifetime = policy.lifetime.delta, policy.lifetime.epsilon
    spent, others = _epsilon(_line(entries, "train"), delta), _others(site)
    return Account(
        site=site.name,
        dataset=site.dataset,
        delta=delta,
        lifetime=_finite(lifetime),
        spent=_finite(spent),
        left=_finite(max(0.0, lifetime - spent)) if math.isfinite(lifetime) else None,
        heldout_delta=delta_of(site),
        heldout_lifetime=None if policy.metrics == "exact" else _finite(policy.heldout.epsilon),
        heldout_spent=_finite(_epsilon(_line(entries, "heldout"), delta_of(site))),
        lines=tuple(_lines(entries, {"train": delta, "heldout": delta_of(site)}, last)),
        entries=len(entries),
        head=entries[-1].hash if entries else "",
        others=others,
        warnings=tuple(_warnings(site, others)),
    )


def statement(site: Site) -> Statement:
    """What may be claimed of a site's patients now."""
    entries, policy = site.open_ledger().entries(), site.policy
    train, delta = _line(entries, "train"), policy.lifetime.delta
    epsilon, heldout_delta = _epsilon(train, delta), delta_of(site)
    heldout = _finite(_epsilon(_line(entries, "heldout"), heldout_delta))
    others = _others(site)
    return Statement(
        site=site.name,
        dataset=site.dataset,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        mechanism=(
            "sums of per-patient contributions, each cut to a norm, over Poisson samples of "
            "patients, with Gaussian noise; composed by RDP and PRV accountants, the smaller bound"
        ),
        delta=delta,
        epsilon=_finite(epsilon),
        lifetime=_finite(policy.lifetime.epsilon),
        heldout_epsilon=heldout,
        heldout_delta=heldout_delta,
        heldout_in_words=heldout_in_words(site, heldout, delta=heldout_delta),
        metrics=policy.metrics,
        studies=tuple(dict.fromkeys(spend.study for spend in train)),
        rounds=len(train),
        randomness=(
            "AES-256 in counter mode, keys from the operating system"
            if site.test_seed is None
            else "A TEST SEED: whoever knows it can take the noise off"
        ),
        holds=math.isfinite(epsilon) and site.test_seed is None,
        exclusions=tuple(_exclusions(site, entries)),
        others=others,
        warnings=tuple(_warnings(site, others)),
        ledger=(len(entries), entries[-1].hash if entries else ""),
        code=code_fingerprint(),
    )


def said(made: Statement) -> str:
    """The statement as a text that can be signed."""
    number, head = made.ledger
    lines = [
        _claim(made),
        f"Of its tune and held-out patients, who are not among these: {made.heldout_in_words}.",
        "",
        f"Dataset             {made.dataset}",
        f"Mechanism           {made.mechanism}",
        f"Randomness          {made.randomness}",
        f"Lifetime ceiling    {shown(made.lifetime, none='no ceiling')}, for training patients",
        f"Counts leave        {made.metrics}, of tune and held-out patients",
        f"Read from           {number} ledger entries, last {head[:16] or '-'}",
        f"By code             {made.code[:16]}, on {made.at}",
        *(f"Other dataset       {said_of(other)}" for other in made.others),
        "",
        "Not covered:",
        *(f"- {line}" for line in made.exclusions),
    ]
    return "\n".join([*lines, *(f"\nWARNING: {warning}." for warning in made.warnings)])


def said_of(other: Other) -> str:
    """Another dataset in one line."""
    return (
        f"{other.dataset}: epsilon {shown(other.spent)} training, {shown(other.heldout_spent)} "
        "tune and held-out"
    )


def _claim(made: Statement) -> str:
    if not made.rounds and made.holds:
        return f"Nothing was ever trained on the patients of {made.site}."
    if not made.holds:
        return (
            f"NO CLAIM can be made for the patients of {made.site}: "
            + ("noise came from a test seed." if "TEST" in made.randomness else "")
            + (" Updates left without noise." if made.epsilon is None else "")
        )
    return (
        f"Everything that was computed from the training patients of {made.site} and left it, "
        f"over {made.rounds} rounds of {len(made.studies)} studies together, is ("
        f"{shown(made.epsilon)}, {made.delta:g})-differentially private with respect to adding or "
        "removing one training patient with all of that patient's stays and notes, against "
        "anybody outside the site."
    )


def _exclusions(site: Site, entries: Sequence[Entry]) -> list[str]:
    heldout = _line(entries, "heldout")
    found = [
        "what people at the site can read themselves",
        "facts about the whole group of patients, which learning is for",
        "the same patients in another site's data: each site's claim is its own",
        "choices made by looking at results of earlier studies on the same patients",
        "that the site took part, when it answered, and that it refused",
    ]
    if any(spend.noise_multiplier == 0 for spend in heldout):
        found.insert(
            0,
            "tune and held-out patients, who are never trained on: their counts left exactly, "
            f"with codes that fewer than {site.policy.smallest_count} of them carry hidden; their "
            "number, note vectors and codes can be computed from these",
        )
    return found


def _others(site: Site) -> tuple[Other, ...]:
    """Every other dataset of the ledger's file, whose mark was checked when it was read."""
    path = site.at(site.ledger)
    with closing(connect(path)) as database:
        entries = linked(database, name=path.name)
    delta, heldout_delta = site.policy.lifetime.delta, delta_of(site)
    found = []
    for name in sorted({entry.dataset for entry in entries} - {site.dataset}):
        mine = [entry for entry in entries if entry.dataset == name]
        found.append(
            Other(
                dataset=name,
                spent=_finite(_epsilon(_line(mine, "train"), delta)),
                heldout_spent=_finite(_epsilon(_line(mine, "heldout"), heldout_delta)),
                entries=len(mine),
            )
        )
    return tuple(found)


def _warnings(site: Site, others: Sequence[Other]) -> list[str]:
    """Why more may have been spent than the ledger says: it cannot see these itself."""
    found = []
    if _device(site.at(site.ledger)) == _device(site.at(site.mark)):
        found.append(
            "the ledger and its mark lie on the same device: a restored backup of both would go "
            "unnoticed; put `mark` on another disk, see PRIVACY.md, Ledger and audit log"
        )
    if others:
        found.append(
            f"the ledger counts {', '.join(other.dataset for other in others)} apart from "
            f"{site.dataset}: a patient who is in several of these has spent them all, and no "
            "ceiling holds over them together; see PRIVACY.md, Not protected"
        )
    return found


def _device(path: Path) -> int:
    """The device that a file is on, or will be on."""
    while not path.exists():
        path = path.parent
    return path.stat().st_dev


def _lines(entries: Sequence[Entry], deltas: dict[Cohort, float], last: int | None) -> list[Line]:
    names = {e.body["study"]: e.body["name"] for e in entries if e.kind == "approved"}
    before: dict[Cohort, list[Spend]] = {"train": [], "heldout": []}
    spends = [entry for entry in entries if entry.cohort is not None]
    shown = {entry.id for entry in (spends if last is None else spends[-last:])}
    found = []
    for entry in spends:
        cohort, spend = entry.cohort, entry.spend
        if cohort is None:
            continue
        before[cohort].append(spend)
        if entry.id in shown:
            epsilon = _finite(_epsilon(before[cohort], deltas[cohort]))
            found.append(
                Line(
                    id=entry.id,
                    at=entry.at,
                    cohort=cohort,
                    name=names.get(spend.study),
                    epsilon=epsilon,
                    **spend.model_dump(),
                )
            )
    return found


def _line(entries: Sequence[Entry], cohort: Cohort) -> list[Spend]:
    return [entry.spend for entry in entries if entry.cohort == cohort]


def _epsilon(spends: Sequence[Spend], delta: float) -> float:
    return accounting.epsilon(spends, delta=delta)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
