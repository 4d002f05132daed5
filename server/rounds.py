"""The round loop: ask, check every reply, aggregate the good ones, write down what happened.

A reply that is refused, wrong or late costs its site the round and nobody else anything, as
long as enough sites remain. The metrics of a round's weights come with the next round's
replies (a site tallies what it is given before it trains), those of the last with an evaluation.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import MessageType, RecordDict
from flwr.serverapp import Grid

from privacy import accounting, wire
from privacy.budget import Spend
from privacy.errors import ReleaseBlocked, SiteError
from privacy.fingerprint import code_fingerprint
from privacy.release import Hello, Release, Request, RequestHeader
from server import strategy as strategies
from server.checkpoint import save_weights
from server.exchange import Reply, exchange
from server.journal import Journal, finite
from server.tracking import Tracking
from tasks import tallies
from tasks.heads.head import Weights
from tasks.metrics import best_threshold, metrics
from tasks.study import Study

LOG = logging.getLogger("fedward.server")


class TooFewSites(Exception):
    """Fewer good sites than the study needs."""


@dataclass(slots=True)
class _Round:
    """One round under way."""

    number: int
    began: float
    bytes_down: int = 0
    bytes_up: int = 0


@dataclass(slots=True)
class Rounds:
    """A study being run.

    Attributes:
        study: What is run.
        grid: Flower's way to the nodes.
        folder: Checkpoints go here.
        journal: What happened.
        tracking: MLflow.
    """

    study: Study
    grid: Grid
    folder: Path
    journal: Journal
    tracking: Tracking
    _sites: dict[str, Hello] = field(default_factory=dict)
    _nodes: dict[str, int] = field(default_factory=dict)
    _spent: dict[str, list[Spend]] = field(default_factory=dict)
    _encoder: str | None = None

    def run(self) -> Weights:
        """Runs every round; returns the final weights.

        Raises:
            TooFewSites: Too few sites took part, or remained.
        """
        reason: str | None = "the coordinator failed; its log says why"
        final = self.folder / "final.safetensors"
        try:
            self._hello()
            weights = self._rounds()
            save_weights(final, weights)
            reason = None
        except TooFewSites as error:
            reason = str(error)
            raise
        finally:
            self.tracking.end(failed=reason is not None)
            self.journal.write("end", weights=str(final) if reason is None else None, reason=reason)
        return weights

    def _hello(self) -> None:
        """Finds out who takes part, with which encoder."""
        content = wire.pack_request(Request(self._header(0)))
        nodes = sorted(self.grid.get_node_ids())
        found: dict[str, tuple[int, Hello]] = {}
        for reply in self._exchange(dict.fromkeys(nodes, content), "query.hello", 0):
            try:
                hello = wire.unpack_hello(_content(reply))
            except SiteError as error:
                self._refused(error.site or f"node {reply.node}", 0, str(error))
                continue
            if hello.site in found:
                self._refused(hello.site, 0, "two nodes say that they are this site")
                continue
            found[hello.site] = (reply.node, hello)
        self._agree({name: found[name] for name in sorted(found)})
        self._enough(len(self._sites))
        self.tracking.start(
            self.study, {name: hello.declared_patients for name, hello in self._sites.items()}
        )

    def _agree(self, found: Mapping[str, tuple[int, Hello]]) -> None:
        """Keeps the sites that run this code and embed alike (as most do)."""
        encoders = [hello.encoder for _, hello in found.values()]
        if encoders:
            self._encoder = max(sorted(set(encoders)), key=encoders.count)
        for name, (node, hello) in found.items():
            if hello.code != code_fingerprint():
                self._refused(name, 0, "runs another version of the code")
            elif hello.encoder != self._encoder:
                self._refused(name, 0, "embeds with another encoder than most sites")
            else:
                self._nodes[name], self._sites[name] = node, hello
                self._spent[name] = []
                self.journal.write("site", site=name, declared_patients=hello.declared_patients)

    def _rounds(self) -> Weights:
        strategy = strategies.build(self.study.strategy)
        weights = self.study.initial()
        before = _Round(0, time.monotonic())
        for number in range(1, self.study.rounds + 1):
            now = _Round(number, time.monotonic())
            releases = self._ask(now, weights, MessageType.TRAIN)
            self._report(before, releases)
            updates = {name: release for name, release in releases.items() if release.update}
            self._enough(len(updates))
            for name in self._nodes:
                # Also of a site whose reply was lost or refused: it may have been charged, and
                # what is reported must not be less than what was spent.
                self._spent[name].append(self.study.spend(number))
            weights = strategies.aggregate(strategy, number, list(updates.values()))
            save_weights(self._checkpoint(number), weights)
            before = now
        self._report(before, self._ask(before, weights, MessageType.EVALUATE))
        return weights

    def _ask(self, now: _Round, weights: Weights, message_type: str) -> dict[str, Release]:
        """Every good reply by site, in order of name, whatever order they came in."""
        content = wire.pack_request(Request(self._header(now.number), weights))
        names = {node: name for name, node in self._nodes.items()}
        now.bytes_down += wire.count_bytes(content) * len(names)
        good: dict[str, Release] = {}
        contract = self.study.contract()
        for reply in self._exchange(dict.fromkeys(names, content), message_type, now.number):
            name = names[reply.node]
            try:
                came = _content(reply)
                release = wire.unpack_release(came, contract=contract)
                self._expected(name, release, now.number, trains=message_type == MessageType.TRAIN)
            except SiteError as error:
                self._refused(name, now.number, str(error))
                continue
            now.bytes_up += wire.count_bytes(came)
            good[name] = release
            self.journal.write("reply", site=name, round=now.number)
        return {name: good[name] for name in sorted(good)}

    def _expected(self, name: str, release: Release, round: int, *, trains: bool) -> None:
        """Checks what only the coordinator knows.

        Raises:
            ReleaseBlocked: The reply is not the one that was asked for.
        """
        header, hello = release.header, self._sites[name]
        if (header.site, header.round) != (name, round):
            raise ReleaseBlocked("the reply is another site's or another round's")
        if (header.code, header.encoder) != (hello.code, hello.encoder):
            raise ReleaseBlocked("the site changed its code or encoder during the study")
        if header.declared_patients != hello.declared_patients:
            raise ReleaseBlocked("the site changed its declared patients during the study")
        wrong = tallies.implausible(tallies.by_name(release.tallies))
        if wrong is not None:
            raise ReleaseBlocked(wrong)
        if bool(release.update) is not trains:
            raise ReleaseBlocked("an update where none was asked for, or none where one was")
        if trains and _spend(release) != self.study.spend(round):
            raise ReleaseBlocked("the site charged something else than the study says")

    def _report(self, of: _Round, releases: Mapping[str, Release]) -> None:
        """Writes down how well the weights of a round do, from the tallies of these replies."""
        pooled = tallies.added([release.tallies for release in releases.values()])
        threshold = best_threshold(pooled)
        whole = metrics(pooled, threshold=threshold)
        sites = {
            name: metrics(tallies.by_name(release.tallies), threshold=threshold)
            for name, release in releases.items()
        }
        epsilons = {name: finite(self._epsilon(name)) for name in self._sites}
        if of.number and self.study.privacy.promise is not None:
            # Rounds run one ahead of their metrics: what the next one spent is not this one's.
            epsilons = {name: finite(self._epsilon(name, of.number)) for name in self._sites}
        seconds = time.monotonic() - of.began
        known = [value for value in epsilons.values() if value is not None]
        self.journal.write(
            "round",
            number=of.number,
            metrics=whole.model_dump(),
            sites={name: found.model_dump() for name, found in sites.items()},
            epsilon=max(known) if known else None,
            epsilons=epsilons,
            bytes_down=of.bytes_down,
            bytes_up=of.bytes_up,
            seconds=seconds,
        )
        self.tracking.round(
            of.number,
            metrics=whole,
            sites=sites,
            epsilons=epsilons,
            extra={
                "bytes_down": of.bytes_down,
                "bytes_up": of.bytes_up,
                "seconds": seconds,
                "sites": len(releases),
            },
        )

    def _epsilon(self, name: str, through: int | None = None) -> float | None:
        """What the study has cost a patient of this site; None where it promises nothing."""
        promise = self.study.privacy.promise
        if promise is None:
            return None
        spent = [s for s in self._spent[name] if through is None or s.round <= through]
        return accounting.epsilon(spent, delta=promise.delta)

    def _exchange(
        self, contents: Mapping[int, RecordDict], kind: str, round: int
    ) -> Iterator[Reply]:
        return exchange(
            self.grid,
            contents,
            message_type=kind,
            round=round,
            timeout=self.study.strategy.timeout,
        )

    def _header(self, round: int) -> RequestHeader:
        return RequestHeader(
            study=self.study.canonical(),
            round=round,
            code=code_fingerprint(),
            encoder=self._encoder,
        )

    def _refused(self, site: str, round: int, reason: str) -> None:
        LOG.warning("round %d: %s: %s", round, site, reason)
        self.journal.write("refused", site=site, round=round, reason=reason)

    def _enough(self, number: int) -> None:
        if number < self.study.strategy.minimum_sites:
            raise TooFewSites(
                f"{number} sites take part, the study needs {self.study.strategy.minimum_sites}"
            )

    def _checkpoint(self, number: int) -> Path:
        return self.folder / "checkpoints" / f"round-{number:05d}.safetensors"


def _content(reply: Reply) -> RecordDict:
    """The reply's content.

    Raises:
        SiteError: There is none; with the reason that came instead.
    """
    if reply.content is None:
        raise SiteError(reply.reason or "no reply")
    return reply.content


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
