"""Runs an audit: a site with canaries, one training run, guesses, a verdict."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client import cohort, local
from client.drawn import before
from client.local import Bags
from client.simulation import Simulation
from client.site import Site
from experiments.audit.attack import Clues, clues, scores
from experiments.audit.bound import lower_bound, most_certifiable
from experiments.audit.canaries import canaries, coins, included
from privacy.ledger import Ledger
from privacy.randomness import stream
from privacy.spec import Spec
from server.journal import finite
from tasks.bags import PatientBag
from tasks.heads.head import Head, Weights, set_weights, weights_of
from tasks.places import Places
from tasks.study import Study

USUAL_DELTA = 1e-5
"""Where the study promises none."""

Progress = Callable[[str, int, int], None]
"""(what, done, of how many); 0 of 0 where the number is not known yet."""


class NoSuchSite(ValueError):
    """The simulation has no site of that name."""


class AuditResult(Spec):
    """What an audit found; exactly what `--json` writes.

    Attributes:
        lower_bound: Epsilon that is refuted, at this confidence.
        ledger_epsilon: What the site's ledger says was spent; None where it is infinite.
        delta: Of both.
        canaries: Canaries, in or out.
        guesses: Guesses, fixed before the run.
        correct: Right ones.
        confidence: That the lower bound is not above the truth.
    """

    lower_bound: float
    ledger_epsilon: float | None
    delta: float
    canaries: int
    guesses: int
    correct: int
    confidence: float

    @property
    def broken(self) -> bool:
        """Whether the claim is refuted."""
        return self.ledger_epsilon is not None and self.lower_bound > self.ledger_epsilon

    @property
    def most(self) -> float:
        """The largest lower bound that these numbers could have shown."""
        return most_certifiable(
            canaries=self.canaries,
            guesses=self.guesses,
            delta=self.delta,
            confidence=self.confidence,
        )


@dataclass(frozen=True, slots=True)
class Audited:
    """What is audited: a study at one simulated site, with real training patients.

    Attributes:
        study: The study.
        site: The site.
        bags: Its patients; only those trained on are used.
    """

    study: Study
    site: Site
    bags: Bags


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is fixed before the run.

    Attributes:
        canaries: How many are made; each is in with chance one half.
        guesses: How many guesses: for half of them the canary is said to be in, for half out.
        confidence: Of the lower bound.
        seed: Of canaries, coins, sampling and noise.
    """

    canaries: int = 1000
    guesses: int = 100
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.guesses % 2 or not 2 <= self.guesses <= self.canaries:
            raise ValueError("guesses must be even, at least 2 and at most the canaries")
        if not 0 < self.confidence < 1:
            raise ValueError("confidence must lie between 0 and 1")


@contextmanager
def prepared(
    study_file: Path, *, data: Path, home: Path, site: str | None, progress: Progress
) -> Iterator[Audited]:
    """One site of a study file's simulation, made and embedded; its folder is temporary.

    Args:
        study_file: With a `[simulation]` table.
        data: Where the relative paths of its source start.
        home: Keeps the vectors, as simulations do.
        site: Name of the site; None takes the first.
        progress: Is told what happens.

    Raises:
        ValueError: The study file does not fit.
        NoSuchSite: It has no such site.
        SiteError: The site refuses the study or cannot prepare it.
    """
    simulation = Simulation.read(study_file)
    asked, _ = before(study_file)  # a mistake is told before records are read
    if asked.start is not None:
        raise ValueError(f"{study_file}: an audit starts from nothing; take the table [start] away")
    names = simulation.names_of_sites(data.resolve())
    if site is not None and site not in names:
        raise NoSuchSite(f"{study_file} has no site {site!r}; its sites are {', '.join(names)}")
    number = 0 if site is None else names.index(site)
    with tempfile.TemporaryDirectory(prefix="fedward-audit-") as folder:
        places = Places(study_file.resolve(), data.resolve(), home.resolve(), Path(folder))
        places = simulation.with_names(places)
        study = Study.read(places.study)
        made = Site.read(simulation.make(number, places))
        made.policy.admit(study, declared_patients=made.declared_patients)
        cohort.prepare(made, study, progress=progress)
        yield Audited(study, made, local.load_bags(made, study))


def audit(this: Audited, plan: Plan, *, progress: Progress = lambda *_: None) -> AuditResult:
    """The one-run audit of Steinke, Nasr and Jagielski (2023), arXiv:2305.08846.

    Training is the site's own: `client.local.fit` with the study's mechanism, loss, optimizer and
    head, every round charged in a ledger before it starts. The unit of the claim is one patient,
    neighbours differ by one patient added or removed; a canary is such a patient.

    Raises:
        BudgetExhausted: The site's lifetime budget does not bear the study.
    """
    made = canaries(this.study, plan.canaries, stream(f"audit/{plan.seed}/canaries"))
    coin = coins(plan.canaries, stream(f"audit/{plan.seed}/coins"))
    patients = [*this.bags.train, *included(made, coin)]
    promise = this.study.privacy.promise
    delta = promise.delta if promise else USUAL_DELTA
    with tempfile.TemporaryDirectory(prefix="fedward-audit-") as folder:
        ledger = open_ledger(Path(folder) / "ledger.sqlite")
        seen = list(_rounds(this, plan, patients=patients, ledger=ledger, progress=progress))
        epsilon = ledger.epsilon(delta=delta)
    found: list[list[Clues]] = []
    head = build_head(this.study, this.bags)
    for clue in clues(this.study, head, made, seen):
        progress("attacking", len(found), this.study.rounds)
        found.append(clue)
    progress("attacking", this.study.rounds, this.study.rounds)
    correct = right_guesses(scores(found), coin, guesses=plan.guesses)
    return AuditResult(
        lower_bound=lower_bound(
            canaries=plan.canaries,
            guesses=plan.guesses,
            correct=correct,
            delta=delta,
            confidence=plan.confidence,
        ),
        ledger_epsilon=finite(epsilon),
        delta=delta,
        canaries=plan.canaries,
        guesses=plan.guesses,
        correct=correct,
        confidence=plan.confidence,
    )


def open_ledger(path: Path) -> Ledger:
    """The ledger that an audit is charged in."""
    return Ledger(path, dataset="audit", mark=path.with_name("mark.sqlite"))


def declared(site: Site, plan: Plan) -> int:
    """What the audited site declares: its own number and the canaries that are expected in.

    The number that are really in would be as private as the patients' number is.
    """
    return site.declared_patients + math.ceil(plan.canaries / 2)


def right_guesses(score: NDArray[np.float64], coin: NDArray[np.bool_], *, guesses: int) -> int:
    """How many guesses are right: the highest half said to be in, the lowest half out.

    Canaries with equal scores are taken in their order, which the coins know nothing of.
    """
    order = np.argsort(score, kind="stable")
    lowest, highest = order[: guesses // 2], order[len(order) - guesses // 2 :]
    return int(coin[highest].sum() + (~coin[lowest]).sum())


def _rounds(
    this: Audited,
    plan: Plan,
    *,
    patients: Sequence[PatientBag],
    ledger: Ledger,
    progress: Progress,
) -> Iterator[Weights]:
    """Trains all rounds; gives what the coordinator sees: the weights before and after each.

    With one site in the federation, the coordinator's weights are the site's.
    """
    study, site = this.study, this.site
    weights, memory = study.initial(), None
    yield weights
    for number in range(1, study.rounds + 1):
        progress("training", number - 1, study.rounds)
        receipt = ledger.reserve(study.spend(number), lifetime=site.policy.lifetime)
        head = build_head(study, this.bags)
        set_weights(head, weights)
        memory = local.fit(
            study,
            head,
            patients,
            receipt=receipt,
            declared_patients=declared(site, plan),
            stream=stream(f"audit/{plan.seed}/train/{receipt.id}"),
            memory=memory,
        )
        weights = weights_of(head)
        yield weights
    progress("training", study.rounds, study.rounds)


def build_head(study: Study, bags: Bags) -> Head:
    """The study's head with the encoder's vectors of what each output means."""
    return study.head.build(
        dim=study.encoder.dim, outputs=len(study.outputs), questions=bags.questions
    )
