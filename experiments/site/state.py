"""What a site's daemon knows of its children; kept in run.json beside site.toml for `status`."""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from experiments.said import Event
from privacy.errors import SiteError
from privacy.files import locked, replacing
from privacy.spec import Spec

FILE, LOCK = "run.json", "run.lock"

State = Literal["running", "connected", "lost", "waiting", "stopped"]
_STATES: dict[str, State] = {
    "started": "running",
    "connected": "connected",
    "lost": "lost",
    "waiting": "waiting",
    "ended": "waiting",
    "stopped": "stopped",
}
"""By the name of the event that begins it."""


class ChildState(Spec):
    """One child of the daemon.

    Attributes:
        state: `running`; the node also `connected` to the coordinator, or `lost` it and tries;
            `waiting` for its next start; `stopped` with the daemon.
        since: When that began, UTC.
        process: Its process, where it has one.
        starts: How often it was started by this daemon.
        why: Why it is not well; empty where it is.
    """

    state: State
    since: datetime
    process: int | None = None
    starts: int = 0
    why: str = ""

    @property
    def restarts(self) -> int:
        """Starts after the first."""
        return max(0, self.starts - 1)


class Daemon(Spec):
    """A daemon.

    Attributes:
        process: Its process.
        since: When it started, UTC.
        monitor: Port of 127.0.0.1 where it serves /healthz and /metrics; None where it does not.
        children: By name.
    """

    process: int
    since: datetime
    monitor: int | None = None
    children: dict[str, ChildState] = {}


class Memory:
    """What a daemon remembers, from its own events.

    Args:
        folder: The site's; gets run.json.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._lock = threading.Lock()
        self.daemon = Daemon(process=os.getpid(), since=datetime.now(UTC))

    def hear(self, event: str) -> None:
        """Takes an event; forgets those that change nothing."""
        if not isinstance(event, Event):
            return
        with self._lock:
            name, state = event.fields.get("child"), _STATES.get(event.name)
            if event.name == "monitor":
                port = event.fields.get("port")
                self._keep(monitor=port if isinstance(port, int) else None)
            elif isinstance(name, str) and state is not None:
                before = self.daemon.children.get(name)
                children = self.daemon.children | {name: _after(before, state, event)}
                self._keep(children=children)

    def _keep(self, **changes: object) -> None:
        self.daemon = self.daemon.model_copy(update=changes)
        # On a full disk the node goes on; `status` then shows what was.
        with contextlib.suppress(OSError, SiteError), replacing(self._file) as file:
            file.write(self.daemon.model_dump_json())


def _after(before: ChildState | None, state: State, event: Event) -> ChildState:
    """A child's state after an event."""
    process, starts = (None, 0) if before is None else (before.process, before.starts)
    if state == "running":
        found = event.fields.get("process")
        process, starts = found if isinstance(found, int) else None, starts + 1
    elif state in {"waiting", "stopped"}:
        process = None
    why = str(event.fields.get("why", ""))
    return ChildState(state=state, since=datetime.now(UTC), process=process, starts=starts, why=why)


def node_ailment(node: ChildState | None) -> list[str]:
    """Why a node does not work; empty where it does."""
    if node is None:
        return ["the node has not started yet"]
    if node.state == "connected":
        return []
    if node.state == "running":
        return ["the node has started and is not connected yet"]
    return [f"the node is not connected: {node.why or node.state}"]


def running(folder: Path) -> Daemon | None:
    """The daemon that runs in a site's folder; None where none does.

    Its lock says so, which ends with it however it ends; run.json outlives it.

    Raises:
        ValueError: One runs, but run.json is not there or damaged.
        OSError: It cannot be read.
    """
    lock = folder / LOCK
    if not lock.exists():
        return None
    try:
        with locked(lock, exclusive=False, wait=0):
            return None
    except TimeoutError:
        pass
    try:
        return Daemon.model_validate_json((folder / FILE).read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{FILE}: missing while a daemon runs; is the disk full?") from None
    except ValueError:
        raise ValueError(f"{FILE}: damaged; the daemon writes it anew at its next event") from None
