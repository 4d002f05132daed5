"""Who takes part: sites that said hello, and where their nodes are now.

A study begins when enough sites have said hello. Between rounds it looks again, without waiting:
who came is asked to take part, who went is not asked for the round, who refused is asked again
after a while, because its operator may have approved the study meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flwr.serverapp import Grid

from privacy import wire
from privacy.errors import SiteError, StillPreparing
from privacy.fingerprint import code_fingerprint
from privacy.release import Hello, Request, RequestHeader
from server.exchange import Asked, Reply, content_of
from server.journal import Journal
from tasks.study import Study

LOG = logging.getLogger("fedward.server")

APPEAR_SECONDS = 120.0
LOOK_SECONDS = 0.5
PREPARING = f"{StillPreparing.__name__}:"
LONGEST_PAUSE = 600.0
"""Seconds between two questions to a site that keeps refusing, at most."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a study waits for sites.

    Attributes:
        sites: Wanted before the first round.
        seconds: To wait for them, and whenever there are fewer than the study needs. 0: every node
            that is there is asked once, and what it says is final.
        again: Seconds until a site that refused is asked again; each time twice as many.
    """

    sites: int = 0
    seconds: float = 0.0
    again: float = 15.0


class Roster:
    """The sites of a study.

    Args:
        study: Which.
        grid: Flower's way to the nodes.
        journal: Hears of everything.
        patience: See `Patience`.
        admitted: Is told of each site that takes part.
        known: Those that took part before, by name, where a study goes on.
        encoder: The identity that they agreed on.

    Attributes:
        sites: Everybody who took part so far, by name.
        encoder: Identity of the encoder that all agree on; None before they do.
    """

    def __init__(
        self,
        study: Study,
        grid: Grid,
        journal: Journal,
        *,
        patience: Patience,
        admitted: Callable[[Hello], None],
        known: Mapping[str, Hello],
        encoder: str | None,
    ) -> None:
        self.sites = dict(known)
        self.encoder = encoder
        self._study, self._grid, self._journal = study, grid, journal
        self._patience, self._admitted = patience, admitted
        self._asked = Asked(grid)
        self._there: dict[int, str] = {}
        self._barred: set[str] = set()
        self._nodes: dict[str, int] = {}
        self._offers: dict[str, tuple[int, Hello]] = {}
        self._pauses: dict[int, tuple[float, float]] = {}
        self._reasons: dict[int, str] = {}

    @property
    def patient(self) -> bool:
        """Whether sites may come later, and are asked again."""
        return self._patience.seconds > 0

    @property
    def present(self) -> dict[str, int]:
        """The node of each site that takes part and is there, in order of name."""
        return {
            name: node
            for name, node in sorted(self._nodes.items())
            if node in self._there and name not in self._barred
        }

    def bar(self, name: str) -> None:
        """Asks a site for nothing more until the study is resumed: each question may be charged."""
        self._barred.add(name)

    def gather(self) -> None:
        """Waits for the study's first sites, and settles the encoder that it is made with."""
        self._appear()
        end = time.monotonic() + self._patience.seconds
        shown = -1
        while not self._gathered(late=time.monotonic() >= end):
            if self.patient:
                self._see()
            self._ask()
            came = self._listen()
            if self.patient and self._ready() != shown:
                shown = self._ready()
                self._journal.write("waiting", sites=shown, wanted=self._wanted())
            if not came:
                time.sleep(LOOK_SECONDS if self.patient else LOOK_SECONDS / 5)
        if self.encoder is None and self._offers:
            self.encoder = self._majority()
        self._consider()

    def look(self) -> None:
        """Finds out who came and who went; never waits."""
        names, before = set(self._nodes), set(self.present)
        self._see()
        if self.patient:
            self._ask()
            self._listen()
            self._consider()
        after = set(self.present)
        for name in sorted(before - after):
            self._journal.write("left", site=name)
        for name in sorted((after - before) & names):
            self._journal.write("back", site=name)

    def wait(self, fewest: int) -> None:
        """Looks, and goes on looking until so many are there or `Patience` ends."""
        end = time.monotonic() + self._patience.seconds
        self.look()
        while len(self.present) < fewest and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            self.look()

    def _appear(self) -> None:
        """Waits for nodes where each is asked once: what is not there by then is not asked."""
        end = time.monotonic() + APPEAR_SECONDS
        self._see()
        while not self.patient and len(self._there) < self._wanted() and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            self._see()
        self._ask()

    def _see(self) -> None:
        """The nodes that are there, with the name under which each one's key was enrolled."""
        self._there = {node.node_id: node.name for node in self._grid.get_nodes()}

    def _gathered(self, *, late: bool) -> bool:
        if not self.patient:
            return not self._asked.nodes
        if self._ready() >= self._wanted():
            return True
        enough = self._ready() >= self._study.strategy.minimum_sites
        return late and (enough or not self._asked.nodes)

    def _wanted(self) -> int:
        return max(self._study.strategy.minimum_sites, self._patience.sites)

    def _ready(self) -> int:
        """How many would take part if the study began now."""
        if self.encoder is not None:
            return len(self.present)
        if not self._offers:
            return 0
        best = self._majority()
        return sum(hello.encoder == best for _, hello in self._offers.values())

    def _majority(self) -> str:
        encoders = [hello.encoder for _, hello in self._offers.values()]
        return max(sorted(set(encoders)), key=encoders.count)

    def _ask(self) -> None:
        """Says hello to nodes that were not asked yet, or long enough ago."""
        now = time.monotonic()
        busy = self._asked.nodes | set(self._nodes.values())
        busy |= {node for node, _ in self._offers.values()}
        busy |= {node for node, (due, _) in self._pauses.items() if now < due}
        new = sorted(self._there.keys() - busy)
        if new:
            header = RequestHeader(
                study=self._study.canonical(), code=code_fingerprint(), encoder=self.encoder
            )
            self._asked.ask(
                dict.fromkeys(new, wire.pack_request(Request(header))),
                message_type="query.hello",
                round=0,
                timeout=self._study.strategy.timeout,
            )

    def _listen(self) -> int:
        """Takes what has come; how much."""
        came = 0
        for reply in self._asked.come():
            came += 1
            try:
                self._offer(reply)
            except SiteError as error:
                name = self._there.get(reply.node) or error.site or f"node {reply.node}"
                self._refused(reply.node, name, str(error))
        if self.encoder is not None:
            self._consider()
        return came

    def _offer(self, reply: Reply) -> None:
        """Keeps a hello until the encoder is settled.

        Raises:
            SiteError: The reply is none.
        """
        hello = wire.unpack_hello(content_of(reply))
        there = self._nodes.get(hello.site) in self._there
        enrolled = self._there.get(reply.node) or hello.site
        if hello.site != enrolled:
            # Only the name at the key is the coordinator's own.
            reason = f"is enrolled as {enrolled}, but its site.toml says {hello.site}"
            self._refused(reply.node, enrolled, reason)
        elif hello.code != code_fingerprint():
            self._refused(reply.node, hello.site, "runs another version of the code")
        elif hello.site in self._offers or there:
            self._refused(reply.node, hello.site, "two nodes say that they are this site")
        else:
            self._offers[hello.site] = (reply.node, hello)

    def _consider(self) -> None:
        """Admits or refuses those who said hello, in order of name."""
        for name, (node, hello) in sorted(self._offers.items()):
            known = self.sites.get(name)
            if hello.encoder != self.encoder:
                self._refused(node, name, "embeds with another encoder than most sites")
            elif known is not None and known.declared_patients != hello.declared_patients:
                self._refused(node, name, "changed its declared patients during the study")
            else:
                self._nodes[name], self.sites[name] = node, hello
                self._reasons.pop(node, None)
                self._pauses.pop(node, None)
                self._journal.write("site", site=name, declared_patients=hello.declared_patients)
                self._admitted(hello)
        self._offers.clear()

    def _refused(self, node: int, site: str, reason: str) -> None:
        pause = self._patience.again
        if node in self._pauses and not reason.startswith(PREPARING):
            pause = min(2 * self._pauses[node][1], LONGEST_PAUSE)
        # Where nobody is asked again, never.
        due = time.monotonic() + pause if self.patient else float("inf")
        self._pauses[node] = (due, pause)
        if self._reasons.get(node) != reason:
            self._reasons[node] = reason
            LOG.warning("%s takes no part: %s", site, reason)
            self._journal.write("refused", site=site, round=0, reason=reason)
