"""`fedward site run`: the site's node, kept running; outbound only.

Beside it runs who prepares studies (`client.watch`), which connects to nothing.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from client.connection import proxy_of, trouble
from client.site import Coordinator, Site
from client.watch import SAID
from experiments.said import Event, Say
from experiments.site.monitor import Monitor
from experiments.site.state import LOCK
from experiments.supervision import Child, supervise
from privacy.address import split_address
from privacy.files import locked
from privacy.process import surroundings
from privacy.spec import printable

LOCK_SECONDS = 0.5
"""Whoever looks whether a daemon runs holds its lock for a moment."""
RETRY_SECONDS = 15.0
"""Flower keeps a killed node's place for up to a minute, so the node is tried without haste."""

_REFUSED = (
    "the coordinator does not let this site's key in: it must enrol what node.key.pub holds "
    "(fedward server enrol); a node that was killed also keeps its place for up to a minute"
)


class NodeWords:
    """What a node's output means; tells what matters and remembers why it ended.

    Args:
        coordinator: Whom the node connects to.
        say: Gets one line for each event.
        doubt: Called where the node, or what it started, could not reach something.
    """

    def __init__(
        self, coordinator: Coordinator, say: Say, doubt: Callable[[], None] = lambda: None
    ) -> None:
        self._coordinator = coordinator
        self._say = say
        self._doubt = doubt
        self._last: deque[str] = deque(maxlen=40)

    def heard(self, line: str) -> None:
        """Takes a line of the node's."""
        self._last.append(line)
        if "SuperNode ID:" in line:
            self._last.clear()
            self._say(Event("node connected; waits for studies", "connected", child="node"))
        elif line.startswith("refused bundle"):
            text = f"node {printable(line, 400)}"
            self._say(Event(text, "refused-bundle", level="warning"))
        elif "Connection attempt failed" in line:
            self._doubt()

    def why(self) -> str:
        """Why the node ended, in words; empty where that is not known."""
        text = "\n".join(self._last)
        self._last.clear()
        if "Exit Code: 305" in text:
            return _REFUSED
        if "address already in use" in text:
            port = self._coordinator.port
            return f"port {port} of 127.0.0.1 is taken; set another coordinator.port in site.toml"
        said = [line for line in text.splitlines() if line.startswith("fedward: ")]
        return printable(said[-1].removeprefix("fedward: "), 400) if said else ""


def run_site(site: Site, path: Path, say: Say) -> None:
    """Runs a site's node until it is told to stop.

    Args:
        site: As it stands in site.toml.
        path: site.toml.
        say: Gets one line for each event.

    Raises:
        ValueError: The site has no coordinator, is a simulated one, or runs already.
        OSError: A file cannot be read or written.
    """
    coordinator = site.coordinator
    if coordinator is None:
        raise ValueError(f"{path}: no table [coordinator]; fedward site init writes one")
    if site.test_seed is not None:
        raise ValueError(f"{path}: test_seed is for simulations; take it out")
    os.umask(0o077)
    os.environ |= surroundings(site.folder / "flower", os.environ)
    for name in ("flower", "logs"):
        (site.folder / name).mkdir(mode=0o700, exist_ok=True)
    host, port = split_address(coordinator.superlink)
    proxy = proxy_of(coordinator.superlink)
    by = f", by the proxy {proxy}" if proxy else ""
    try:
        with locked(site.folder / LOCK, exclusive=True, wait=LOCK_SECONDS):
            monitor = Monitor(site, say)
            text = f"{site.name} connects to {host} port {port}{by}, and to nothing else"
            monitor.say(Event(text, "daemon", site=site.name, host=host, port=port))
            children = [_node(site, coordinator, path, monitor)]
            if coordinator.embed == "daemon":
                children.append(_embedder(site, path, monitor.say))
            supervise(children, monitor.say, beside=[monitor])
    except TimeoutError:
        raise ValueError(f"{site.folder}: this site's node runs already") from None


def _node(site: Site, coordinator: Coordinator, path: Path, monitor: Monitor) -> Child:
    words = NodeWords(coordinator, monitor.say, monitor.doubt)
    options = {
        "--superlink": coordinator.superlink,
        "--root-certificates": str(site.at(coordinator.ca)),
        "--auth-supernode-private-key": str(site.at(coordinator.node_key)),
        "--port": str(coordinator.port),
        "--host": "127.0.0.1",
        "--parent": str(os.getpid()),
    }

    def before() -> str:
        reason = trouble(site)
        return f"cannot connect: {reason}" if reason else ""

    return Child(
        name="node",
        command=[
            *(sys.executable, "-P", "-m", "client.supernode", str(path.resolve())),
            *(word for pair in options.items() for word in pair),
        ],
        environment=os.environ,
        folder=site.folder / "flower",
        log=site.folder / "logs" / "node.log",
        waits=(RETRY_SECONDS, RETRY_SECONDS),
        heard=words.heard,
        why=words.why,
        before=before,
    )


def _embedder(site: Site, path: Path, say: Callable[[str], None]) -> Child:
    def heard(line: str) -> None:
        if line.startswith(SAID):
            say(f"study {printable(line.removeprefix(SAID), 600)}")

    return Child(
        name="embed",
        command=[
            *(sys.executable, "-P", "-m", "client.watch", str(path.resolve())),
            *("--parent", str(os.getpid())),
        ],
        environment=os.environ,
        folder=site.folder,
        log=site.folder / "logs" / "embed.log",
        waits=(RETRY_SECONDS, RETRY_SECONDS),
        heard=heard,
    )
