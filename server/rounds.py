"""The round loop: ask, check every reply, aggregate the good ones, write down what happened.

A reply that is refused, wrong or late costs its site the round and nobody else anything, as
long as enough sites remain. The metrics of a round's weights come with the next round's
replies (a site tallies what it is given before it trains), those of the last with an evaluation.

After each round everything that is needed to go on is in a checkpoint. A study that goes on asks
for the round after it once more; sites that have answered it keep their answer, so nothing is
spent twice, and what the journal has of a round is not written again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import MessageType
from flwr.serverapp import Grid

from privacy import wire
from privacy.budget import Spend
from privacy.errors import ReleaseBlocked, SiteError
from privacy.fingerprint import code_fingerprint
from privacy.release import Hello, Release, Request, RequestHeader
from server import strategy as strategies
from server.checkpoint import (
    FINAL,
    Checkpoint,
    CheckpointBroken,
    State,
    latest_checkpoint,
    save_checkpoint,
    save_weights,
)
from server.draw import drawn
from server.exchange import content_of, exchange
from server.journal import Journal
from server.outbox import Outbox
from server.report import Cost, report
from server.roster import Patience, Roster
from server.start import StartBroken, initial
from tasks import tallies
from tasks.heads.head import Weights
from tasks.plausible import implausible
from tasks.strategy import Arrays
from tasks.study import Study

LOG = logging.getLogger("fedward.server")

ATTEMPTS = 3
"""How often those who did not answer are asked for a round, where too few did."""


MISSES, SELDOM = 2, 4
"""A site that missed so many rounds in a row is asked for every fourth one only."""


class TooFewSites(Exception):
    """Fewer good sites than the study needs."""


class Unfit(Exception):
    """A reply after which the site is asked for nothing more before the study is resumed."""


@dataclass(slots=True)
class Rounds:
    """A study being run.

    Attributes:
        study: What is run.
        grid: Flower's way to the nodes.
        folder: Checkpoints go here.
        journal: What happened.
        outbox: What is to be logged to MLflow.
        patience: How long to wait for sites.
    """

    study: Study
    grid: Grid
    folder: Path
    journal: Journal
    outbox: Outbox
    patience: Patience = field(default_factory=Patience)
    _roster: Roster = field(init=False)
    _charges: dict[str, dict[int, int]] = field(default_factory=dict)
    _receipts: dict[str, int] = field(default_factory=dict)
    _started: bool = False
    _asks: Counter[tuple[str, int]] = field(default_factory=Counter)
    _missed: Counter[str] = field(default_factory=Counter)
    _strategy: Arrays = field(default_factory=dict)
    _last: Arrays = field(default_factory=dict)

    def run(self) -> Weights:
        """Runs every round that is not done; returns the final weights.

        Raises:
            TooFewSites: Too few sites took part, or remained.
            CheckpointBroken: The study cannot go on from where it was.
            StartBroken: The weights that it starts from are missing.
            StrategyBroken: Its strategy cannot be used.
        """
        try:
            strategies.check(self.study.strategy)
            weights, before = self._begin()
            self._enough(len(self._roster.present))
            self.outbox.start(self.study)
            self._started = True
            for hello in self._roster.sites.values():
                self._admitted(hello)
            weights = self._rounds(weights, before)
        except (TooFewSites, CheckpointBroken, StartBroken, strategies.StrategyBroken) as error:
            self._end(str(error))
            raise
        except (KeyboardInterrupt, SystemExit):
            self._end("it was stopped")
            raise
        except Exception:
            # No end: the study is broken off, and whoever watches has it go on.
            self._log_end(failed=True)
            raise
        self._end(None)
        return weights

    def _end(self, reason: str | None) -> None:
        self._log_end(failed=reason is not None)
        weights = str(self.folder / FINAL) if reason is None else None
        self.journal.write("end", weights=weights, reason=reason)

    def _log_end(self, *, failed: bool) -> None:
        if self._started:
            self.outbox.end(failed=failed)

    def _begin(self) -> tuple[Weights, Cost]:
        """Finds out where the study stands and who takes part; the weights and their round."""
        last = latest_checkpoint(self.folder, study=self.study.digest)
        weights = initial(self.study, self.folder) if last is None else last.weights
        state = State(study=self.study.digest, round=0) if last is None else last.state
        self._charges = {site: dict(of) for site, of in state.charges.items()}
        self._receipts = dict(state.receipts)
        self._strategy, self._last = ({}, {}) if last is None else (last.strategy, last.last)
        self._asks.update(
            (site, event["round"])
            for event in self.journal.before
            if event["event"] == "asked"
            for site in event["sites"]
        )
        self.journal.write("start", round=state.round + 1, rounds=self.study.rounds)
        self._roster = Roster(
            self.study,
            self.grid,
            self.journal,
            patience=self.patience,
            admitted=self._admitted,
            known=state.sites,
            encoder=state.encoder,
        )
        self._roster.gather()
        began = time.monotonic() - state.seconds
        cost = Cost(state.round, began, state.bytes_down, state.bytes_up)
        return weights, cost

    def _rounds(self, weights: Weights, before: Cost) -> Weights:
        for number in range(before.number + 1, self.study.rounds + 1):
            now = Cost(number, time.monotonic())
            releases = self._train(now, weights)
            self._report(before, releases)
            weights, self._strategy = strategies.aggregate(
                self.study.strategy,
                [release for release in releases.values() if release.update],
                round=number,
                weights=weights,
                state=self._strategy,
            )
            weights, self._last = strategies.final_mean(
                self.study.strategy,
                weights,
                round=number,
                rounds=self.study.rounds,
                state=self._last,
            )
            self._keep(now, weights, releases)
            before = now
        save_weights(self.folder / FINAL, weights)
        answers = self._answers(before, weights, MessageType.EVALUATE)
        # Before it is reported: a study that goes on asks once more.
        self._enough(len(answers))
        self._report(before, answers)
        return weights

    def _train(self, now: Cost, weights: Weights) -> dict[str, Release]:
        """A round's updates; charges whoever was asked.

        Raises:
            TooFewSites: There are too few.
        """
        good = self._answers(now, weights, MessageType.TRAIN)
        self._enough(len(good))
        for name in self._asked(now.number):
            asked = self._asks[name, now.number]
            if name in good:
                asked = good[name].header.attempt or asked
            # Also of a site whose reply was lost or refused, or which is not here any more: it may
            # have been charged, and what is reported must not be less than what was spent.
            self._charges.setdefault(name, {})[now.number] = asked
        return good

    def _answers(self, now: Cost, weights: Weights, message_type: str) -> dict[str, Release]:
        """Every good reply by site, in order of name, whatever order they came in."""
        fewest = self.study.strategy.minimum_sites
        good: dict[str, Release] = {}
        for attempt in range(ATTEMPTS if self._roster.patient else 1):
            if attempt:
                # Each attempt may be charged: what keeps a site from answering needs time to go.
                time.sleep(self.patience.again * attempt)
            self._roster.wait(fewest)
            silent = [name for name in self._roster.present if name not in good]
            awake = [name for name in silent if not self._rests(name, now.number)]
            # Who rests is asked all the same where it is needed.
            able = awake if len(good) + len(awake) >= fewest else silent
            if message_type == MessageType.TRAIN:
                able = self._drawn(able, now.number, good=len(good), again=attempt > 0)
            good |= self._ask(now, weights, message_type, able)
            if len(good) >= fewest:
                break
        if message_type == MessageType.TRAIN:
            self._count_misses(now.number, good)
        return {name: good[name] for name in sorted(good)}

    def _drawn(self, able: Iterable[str], round: int, *, good: int, again: bool) -> list[str]:
        """Who of them is asked, where a round asks a few only."""
        study = self.study
        return drawn(
            able,
            most=study.strategy.sites_per_round,
            seed=study.seed,
            round=round,
            asked=self._asked(round),
            good=good,
            again=again,
        )

    def _asked(self, round: int) -> list[str]:
        """Who was asked for a round, also before a crash."""
        return sorted({name for name, number in self._asks if number == round})

    def _rests(self, name: str, round: int) -> bool:
        """Whether a site is left alone in a round: who never answers is charged each time."""
        return self._roster.patient and self._missed[name] >= MISSES and round % SELDOM != 0

    def _count_misses(self, round: int, good: Mapping[str, Release]) -> None:
        for name in good:
            self._missed[name] = 0
        for name in self._asked(round):
            if name in good:
                continue
            self._missed[name] += 1
            if self._missed[name] == MISSES and self._roster.patient:
                self.journal.write("rests", site=name, every=SELDOM)

    def _ask(
        self, now: Cost, weights: Weights, message_type: str, sites: Iterable[str]
    ) -> dict[str, Release]:
        present = self._roster.present
        names = {present[name]: name for name in sites}
        content = wire.pack_request(Request(self._header(now.number), weights))
        now.bytes_down += wire.count_bytes(content) * len(names)
        trains = message_type == MessageType.TRAIN
        if trains:
            self.journal.write("asked", round=now.number, sites=sorted(names.values()))
            self._asks.update((name, now.number) for name in names.values())
        good: dict[str, Release] = {}
        contract = self.study.contract()
        for reply in exchange(
            self.grid,
            dict.fromkeys(names, content),
            message_type=message_type,
            round=now.number,
            timeout=self.study.strategy.timeout,
        ):
            name = names[reply.node]
            try:
                came = content_of(reply)
                release = wire.unpack_release(came, contract=contract)
                self._expected(name, release, now.number, trains=trains)
            except (SiteError, Unfit) as error:
                LOG.warning("round %d: %s: %s", now.number, name, error)
                self.journal.write("refused", site=name, round=now.number, reason=str(error))
                if isinstance(error, Unfit):
                    self._roster.bar(name)
                continue
            now.bytes_up += wire.count_bytes(came)
            good[name] = release
            self.journal.write("reply", site=name, round=now.number, update=trains)
        return good

    def _expected(self, name: str, release: Release, round: int, *, trains: bool) -> None:
        """Checks what only the coordinator knows.

        Raises:
            ReleaseBlocked: The reply is not the one that was asked for.
            Unfit: Nor can any other of this site's be.
        """
        header, hello = release.header, self._roster.sites[name]
        if (header.site, header.round) != (name, round):
            raise ReleaseBlocked("the reply is another site's or another round's")
        if (header.code, header.encoder) != (hello.code, hello.encoder):
            raise Unfit("the site changed its code or encoder during the study")
        if header.declared_patients != hello.declared_patients:
            raise Unfit("the site changed its declared patients during the study")
        wrong = implausible(tallies.by_name(release.tallies))
        if wrong is not None:
            raise ReleaseBlocked(wrong)
        if bool(release.update) is not trains:
            raise ReleaseBlocked("an update where none was asked for, or none where one was")
        if trains and _spend(release) != self.study.spend(round):
            raise ReleaseBlocked("the site charged something else than the study says")
        if trains and (header.receipt or 0) <= self._receipts.get(name, 0):
            raise Unfit(
                "the site's ledger has gone back behind an earlier round: it was lost, or an old "
                "copy was put in its place; the site must restore it"
            )

    def _admitted(self, hello: Hello) -> None:
        """Gives a site its place in MLflow, once the study has one."""
        if self._started:
            self.outbox.site(hello.site, hello.declared_patients)

    def _keep(self, now: Cost, weights: Weights, releases: dict[str, Release]) -> None:
        """Writes the checkpoint of a round."""
        self._receipts |= {name: of.header.receipt or 0 for name, of in releases.items()}
        state = State(
            study=self.study.digest,
            round=now.number,
            encoder=self._roster.encoder,
            sites=self._roster.sites,
            charges=self._charges,
            receipts=self._receipts,
            bytes_down=now.bytes_down,
            bytes_up=now.bytes_up,
            seconds=time.monotonic() - now.began,
        )
        came = {
            name: {tally.name: tally.sums for tally in release.tallies}
            for name, release in releases.items()
        }
        save_checkpoint(self.folder, Checkpoint(state, weights, came, self._strategy, self._last))

    def _report(self, of: Cost, releases: dict[str, Release]) -> None:
        names = sorted({*self._roster.sites, *self._charges})
        spent = {name: self._spent(name, of.number) for name in names}
        report(self.study, self.journal, self.outbox, of=of, releases=releases, spent=spent)

    def _spent(self, name: str, through: int) -> list[Spend]:
        """What the study has cost a patient of this site at most, up to a round."""
        rounds = sorted(self._charges.get(name, {}).items())
        return [
            spend
            for number, times in rounds
            if number <= through
            for spend in [self.study.spend(number)] * times
        ]

    def _header(self, round: int) -> RequestHeader:
        return RequestHeader(
            study=self.study.canonical(),
            round=round,
            code=code_fingerprint(),
            encoder=self._roster.encoder,
        )

    def _enough(self, number: int) -> None:
        if number < self.study.strategy.minimum_sites:
            raise TooFewSites(
                f"{number} sites take part, the study needs {self.study.strategy.minimum_sites}"
            )


def _spend(release: Release) -> Spend:
    """What a checked update says that it was charged."""
    header = release.header
    return Spend.model_validate(
        {
            "study": header.study,
            "round": header.round,
            "noise_multiplier": header.noise_multiplier,
            "sample_rate": header.sample_rate,
            "steps": header.steps,
        }
    )
