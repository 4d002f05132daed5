"""What a site's daemon shows of itself: events of its rounds, /healthz, /metrics, run.json.

The ClientApps are processes of their own, one a message, so every figure comes from the site's
files and from what the supervisor saw. What can take seconds (chains, accountants) is looked at in
one thread, when a file has changed and otherwise each ten minutes; no request waits for it.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from importlib import metadata
from typing import Generic, TypeVar

from prometheus_client.exposition import CONTENT_TYPE_LATEST

from client import approval
from client.connection import trouble
from client.site import Site
from experiments.said import Event, Say
from experiments.site.gpu import GpuMemory, gpus
from experiments.site.look import (
    LedgerLook,
    LogLook,
    Spent,
    StoreLook,
    ailments,
    ca_ends,
    free_bytes,
    look_at_epsilon,
    look_at_ledger,
    look_at_log,
    look_at_store,
)
from experiments.site.metrics import Seen, exposition
from experiments.site.monitor_http import ADDRESS, Page, PageServer
from experiments.site.rounds import Rounds
from experiments.site.state import ChildState, Memory, node_ailment
from privacy.entries import Cohort
from privacy.errors import SiteError

T = TypeVar("T")

LOOK_SECONDS = 2.0
STORE_SECONDS = 15.0
VERIFY_SECONDS = 600.0
REST = 3
"""A look that took a second of the processor is not repeated before three have passed."""
RETRY_SECONDS = 15.0
STALE_SECONDS = 120.0
"""A daemon whose loop or whose looks stand still for longer is ill."""


@dataclass(frozen=True)
class Slow:
    """What is not looked at for each request."""

    ledger: LedgerLook
    epsilon: Mapping[Cohort, Spent]
    log: LogLook
    store: StoreLook
    gpus: tuple[GpuMemory, ...]
    ca: datetime | None


class Monitor:
    """Watches one site beside its supervisor.

    Args:
        site: With a coordinator.
        say: Prints an event.
    """

    def __init__(self, site: Site, say: Say) -> None:
        self._site = site
        self._print = say
        self._memory = Memory(site.folder)
        self._rounds = Rounds(site.at(site.audit_log), name=study_names(site))
        self._rounds.follow()  # what was before is counted, and told by nobody
        self._lock = threading.Lock()
        self._looks = _Looks(
            site, self.say, node=self._node, log_changed=lambda: self._rounds.began_again
        )
        self._server: PageServer | None = None
        self._next = 0.0
        self._said = ""
        self._beat = time.monotonic()

    def say(self, event: str) -> None:
        """Remembers an event and prints it."""
        self._memory.hear(event)
        self._print(event)

    def doubt(self) -> None:
        """The node had to try again: somebody should ask whether the coordinator is there."""
        self._looks.doubt()

    def step(self) -> None:
        """Tells what went on in the rounds, and sees to it that somebody listens."""
        self._beat = time.monotonic()
        self._looks.begin()
        with self._lock:
            told = self._rounds.follow()
        for event in told:
            self.say(event)
        if self._server is None and self._beat >= self._next:
            self._serve()

    def stop(self) -> None:
        """Listens no more."""
        self._looks.end()
        if self._server is not None:
            self._server.close()

    def _serve(self) -> None:
        coordinator = self._site.coordinator
        port = 0 if coordinator is None else coordinator.monitor
        self._next = self._beat + RETRY_SECONDS
        if not port:
            return
        try:
            pages = {"/healthz": self._health, "/metrics": self._metrics}
            self._server = PageServer(port, pages)
        except OSError as error:
            text = (
                f"monitor: port {port} of {ADDRESS} is taken ({error.strerror}); set another "
                f"coordinator.monitor in site.toml; tried again each {RETRY_SECONDS:g} s"
            )
            if text != self._said:
                self.say(Event(text, "monitor", level="warning"))
            self._said = text
            return
        text = f"monitor answers at http://{ADDRESS}:{port}/healthz and /metrics"
        self.say(Event(text, "monitor", port=port))

    def _node(self) -> ChildState | None:
        return self._memory.daemon.children.get("node")

    def _metrics(self) -> Page:
        slow = self._looks.latest
        if slow is None:
            return Page(b"", "text/plain", HTTPStatus.SERVICE_UNAVAILABLE)
        daemon = self._memory.daemon
        with self._lock:
            seen = Seen(
                figures=self._rounds.figures,
                ledger=slow.ledger,
                epsilon=slow.epsilon,
                log=slow.log,
                store=slow.store,
                free=free_bytes(self._site),
                ca=slow.ca,
                gpus=slow.gpus,
                children=daemon.children,
                since=daemon.since,
            )
            return Page(exposition(seen), CONTENT_TYPE_LATEST)

    def _health(self) -> Page:
        reasons = self._ailments()
        told = {
            "status": "failing" if reasons else "ok",
            "site": self._site.name,
            "version": metadata.version("fedward"),
            "since": self._memory.daemon.since.isoformat(timespec="seconds"),
            "reasons": reasons,
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        return Page(json.dumps(told).encode() + b"\n", "application/json", status)

    def _ailments(self) -> list[str]:
        found = [*node_ailment(self._node())]
        slow, now = self._looks.latest, time.monotonic()
        if slow is None:
            found.append("starting: ledger and audit log are being checked")
        else:
            free = free_bytes(self._site)
            found += ailments(ledger=slow.ledger, log=slow.log, free=free, ca=slow.ca)
        if now - min(self._beat, self._looks.beat) > STALE_SECONDS:
            found.append("the daemon stands still; start it again")
        return found


def study_names(site: Site) -> Callable[[str], str]:
    """The names of studies whose files are at a site, by digest; empty for others."""
    known: dict[str, str] = {}

    def name(digest: str) -> str:
        if digest not in known:
            try:
                known[digest] = approval.find(site, digest).name
            except (SiteError, OSError, ValueError):
                return ""
        return known[digest]

    return name


class _Look(Generic[T]):
    """The latest answer to a question that is asked seldom.

    Args:
        ask: The question.
        every: Seconds after which it is asked again in any case.
        when: Asked each time; where its answer changed, the question is asked anew, but never
            for more than a small share of the time.
    """

    def __init__(
        self, ask: Callable[[], T], *, every: float, when: Callable[[], object] = lambda: None
    ) -> None:
        self._ask, self._every, self._when = ask, every, when
        self._changed, self._at, self._took = when(), time.monotonic(), 0.0
        self._answer: T | None = None

    def __call__(self) -> T:
        """The answer."""
        now, changed = time.monotonic(), self._when()
        age = now - self._at
        anew = changed != self._changed and age >= REST * self._took
        if self._answer is None or anew or age >= self._every:
            began = time.thread_time()
            self._answer = self._ask()
            self._changed, self._at = changed, time.monotonic()
            self._took = time.thread_time() - began
        return self._answer


class _Looks:
    """The thread that looks at what is slow, and asks after a coordinator that seems lost.

    Args:
        site: With a coordinator.
        say: Gets an event.
        node: The node's state.
        log_changed: Differs where the audit log became another file.
    """

    def __init__(
        self,
        site: Site,
        say: Say,
        *,
        node: Callable[[], ChildState | None],
        log_changed: Callable[[], object],
    ) -> None:
        self.latest: Slow | None = None
        self.beat = time.monotonic()
        self._site, self._say, self._node = site, say, node
        self._log_changed = log_changed
        self._doubt, self._ended = threading.Event(), threading.Event()
        self._asked = 0.0
        self._thread = threading.Thread(target=self._run, name="looks", daemon=True)

    def doubt(self) -> None:
        """Asks after the coordinator at the next occasion."""
        self._doubt.set()

    def begin(self) -> None:
        """Starts, once."""
        if self._thread.ident is None:
            self._thread.start()

    def end(self) -> None:
        """Ends with the look that is under way."""
        self._ended.set()

    def _run(self) -> None:
        site = self._site
        changed, every = partial(_state_of, site), VERIFY_SECONDS
        ledger = _Look(lambda: look_at_ledger(site), every=every, when=changed)
        epsilon = _Look(lambda: look_at_epsilon(site), every=every, when=changed)
        log = _Look(lambda: look_at_log(site), every=every, when=self._log_changed)
        store = _Look(lambda: look_at_store(site), every=STORE_SECONDS)
        memory, ca = _Look(gpus, every=STORE_SECONDS), _Look(lambda: ca_ends(site), every=60)
        while not self._ended.is_set():
            # A file may go while it is looked at, as the store's log does: the next look is soon.
            with contextlib.suppress(OSError):
                self.latest = Slow(ledger(), epsilon(), log(), store(), memory(), ca())
                self.beat = time.monotonic()
            self._ask()
            self._ended.wait(LOOK_SECONDS)

    def _ask(self) -> None:
        """Whether the coordinator is there, where the node seems to have lost it."""
        node, now = self._node(), time.monotonic()
        if node is None or node.state not in {"connected", "lost"}:
            return
        lost = node.state == "lost"
        if not (self._doubt.is_set() or (lost and now - self._asked >= RETRY_SECONDS)):
            return
        self._doubt.clear()
        self._asked, reason = now, trouble(self._site)
        if self._node() is not node:
            return  # it ended or connected meanwhile
        if reason and reason != node.why:
            text = f"node lost the coordinator: {reason}; it tries again"
            self._say(Event(text, "lost", level="warning", child="node", why=reason))
        elif lost and not reason:
            self._say(Event("node reaches the coordinator again", "connected", child="node"))


def _state_of(site: Site) -> list[tuple[int, int]]:
    """Changes whenever the ledger does, or the studies that wait."""
    ledger = site.at(site.ledger)
    paths = [ledger, ledger.with_name(f"{ledger.name}-wal"), site.at(site.studies)]
    found = []
    for path in [*paths, site.at(site.mark)]:
        try:
            state = path.stat()
            found.append((state.st_mtime_ns, state.st_size))
        except OSError:
            found.append((0, 0))
    return found
