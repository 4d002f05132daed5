"""What surrounds every process in which Flower runs: it is quiet, and ends with its parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""What keeps Flower from calling home and from installing at run time."""

LOCAL = ("127.0.0.1", "localhost")


def surroundings(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that runs Flower.

    Args:
        home: Flower's home, of this process and its like alone.
        given: What it is made from. A proxy stays; this machine itself is never reached by it.
    """
    names = (given.get("no_proxy") or given.get("NO_PROXY") or "").split(",")
    direct = ",".join(dict.fromkeys([name.strip() for name in names if name.strip()] + [*LOCAL]))
    # Flower starts its other programs by name: this installation's come first.
    path = os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", os.defpath)])
    own = {"FLWR_HOME": str(home), "PATH": path, "no_proxy": direct, "NO_PROXY": direct}
    # The user's own cache may be out of reach of a service.
    own["FEDWARD_CACHE"] = given.get("FEDWARD_CACHE") or str(home / "cache")
    return dict(given) | QUIET | own


def end_with_parent(parent: int, *, seconds: float = 1.0) -> None:
    """Tells this process to end, with SIGTERM, once its parent is another than this one.

    Args:
        parent: Process id of whoever started this one.
        seconds: How often to look.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
