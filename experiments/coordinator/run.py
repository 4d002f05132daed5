"""`fedward server run`: the coordinator's processes, and who may connect."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.supervision import Child, supervise
from privacy.files import locked
from privacy.process import surroundings
from server.deployment.config import FILE, ServerConfig
from server.deployment.control import ControlFailed, synchronize
from server.deployment.sites import read_sites


def run_coordinator(config: ServerConfig, say: Callable[[str], None]) -> None:
    """Runs SuperLink and SuperExec until it is told to stop.

    Args:
        config: The coordinator's.
        say: Gets one line for each event.

    Raises:
        ValueError: Another process runs this coordinator, or the file of sites is damaged.
        OSError: A file cannot be read or written.
    """
    os.umask(0o077)
    os.environ |= surroundings(config.at(config.flower), os.environ)
    read_sites(config.at(config.sites))
    for folder in (config.at(config.flower), config.at(Path("logs"))):
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        with locked(config.at(Path("run.lock")), exclusive=True, wait=0):
            say(f"sites connect to {config.reached_at}; this machine listens on {config.fleet}")
            supervise([_superlink(config, say), _superexec(config), _courier(config, say)], say)
    except TimeoutError:
        raise ValueError(f"{config.folder}: a coordinator runs here already") from None


def _superlink(config: ServerConfig, say: Callable[[str], None]) -> Child:
    def ready() -> bool:
        """Tells it who may connect, as soon as it answers."""
        try:
            sites = read_sites(config.at(config.sites))
            changes = synchronize(config, sites)
        except (ControlFailed, OSError, ValueError):
            return False
        for name in changes.registered:
            say(f"SuperLink lets in {name}")
        for name in changes.removed:
            say(f"SuperLink lets in {name} no more")
        say(f"SuperLink answers; enrolled: {', '.join(site.name for site in sites) or 'nobody'}")
        return True

    return Child(
        name="SuperLink",
        command=[
            *(sys.executable, "-P", "-m", "server.deployment.superlink"),
            *(str(config.folder / FILE), "--parent", str(os.getpid())),
        ],
        environment=os.environ,
        folder=config.at(config.flower),
        log=config.at(Path("logs/superlink.log")),
        ready=ready,
    )


def _superexec(config: ServerConfig) -> Child:
    """Starts the coordinator's part of a study; what it started outlives its own death."""
    options = {
        "--runtime-api-address": config.control,
        "--root-certificates": str(config.at(config.control_ca)),
        "--superexec-auth-secret-file": str(config.at(config.superexec_secret)),
        "--parent-pid": str(os.getpid()),
    }
    program = Path(sys.executable).with_name("flower-superexec")
    return Child(
        name="SuperExec",
        command=[str(program), *(word for pair in options.items() for word in pair)],
        environment=os.environ
        | {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5", "MLFLOW_DISABLE_TELEMETRY": "true"},
        folder=config.at(config.flower),
        log=config.at(Path("logs/superexec.log")),
        takes_along=False,
    )


def _courier(config: ServerConfig, say: Callable[[str], None]) -> Child:
    """Delivers to MLflow what it missed."""

    def heard(line: str) -> None:
        if line.startswith(("delivered", "MLflow")):
            say(f"courier {line}")

    return Child(
        name="courier",
        command=[
            *(sys.executable, "-P", "-m", "server.deployment.courier"),
            *(str(config.folder / FILE), "--parent", str(os.getpid())),
        ],
        environment=os.environ,
        folder=config.at(config.flower),
        log=config.at(Path("logs/courier.log")),
        heard=heard,
    )
