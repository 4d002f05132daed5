"""A site's node: Flower's SuperNode behind a gate.

**A site never runs code that a server sent.** Flower's own node takes whatever bundle the
SuperLink holds for a run, unpacks it, and puts its folder first on the path of the ClientApp's
process, where any file of it can stand in for any module. Nothing later could undo that, so the
gate is the protection: it lets in the one bundle that this installation builds for itself
(`privacy.bundle`, which holds no code) and those that the operator lists by hash. Every other run
is answered with Flower's error 7; its bundle is dropped unread, before anything is written.

The gate says nothing about a run's configuration, which the coordinator sets freely: a node with a
site.toml reads none of it (`client.app`), and requests are bounded by the site's policy.

Not documented by Flower 1.41, all of it used in this file only (`check_flower` refuses to start
on another minor or where a name is gone, and tests run the gate whole): `start_client_internal`
with its `_init_connection`, `_verify_fab` and `time`; the node's command line; `Run`, `Fab`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import inspect
import logging
import os
import shutil
import sys
import time
import types
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privacy.address import is_loopback
from privacy.bundle import bundle_hash
from privacy.process import end_with_parent, surroundings

if TYPE_CHECKING:
    from flwr.supercore.fab import Fab
    from flwr.supercore.run import Run

LOG = logging.getLogger("fedward.site")

FLOWER = "1.41"
INNER, COMMAND = "flwr.supernode.start_client_internal", "flwr.supernode.cli.flower_supernode"
# Where `_init_connection` gives what; and a length that says whether it still does.
GET_RUN, GET_FAB, CONNECTION = 3, 4, 8


class FlowerDiffers(Exception):
    """This Flower is not the one that the gate was written for and tested with."""


class Gate:
    """Decides which runs a site takes part in, by their bundles.

    Args:
        listed: A file of the operator's: one SHA-256 in hex a line, and what follows it on the
            line is a remark, as are lines that start with `#`. Read anew for each run.
    """

    def __init__(self, listed: Path | None = None) -> None:
        self.own = bundle_hash()
        self._listed = listed

    def accepted(self) -> set[str]:
        """Every hash that may enter.

        Raises:
            OSError: The operator's list cannot be read.
        """
        lines = self._listed.read_text("utf-8").splitlines() if self._listed else []
        words = [line.split()[0].lower() for line in lines if line.strip()]
        return {self.own, *(word for word in words if not word.startswith("#"))}

    def refusal(self, run_id: int, run: Run, fab: Fab) -> str | None:
        """Why a run may not come in; None where it may.

        What the SuperLink says about the run must be what the bundle says: the ClientApp's
        process takes its folder from it, and which of Flower's programs runs at all.
        """
        from flwr.common.config import (
            get_fab_config,
            get_fused_config_from_fab,
            get_metadata_from_config,
        )
        from flwr.supercore.constant import TaskType

        found = hashlib.sha256(fab.content).hexdigest()
        try:
            accepted = self.accepted()
        except (OSError, ValueError):
            return f"the list of bundles {self._listed} cannot be read; mend it"
        if found not in accepted:
            add = f"; if you trust that one, add its hash to {self._listed}" if self._listed else ""
            return (
                f"this installation's is {self.own}; "
                f"install the coordinator's version of fedward{add}"
            )
        try:
            bundled = get_metadata_from_config(get_fab_config(fab.content))
            get_fused_config_from_fab(fab.content, run)
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile):
            return "its own or the run's configuration does not fit it; have it submitted anew"
        said = (run.run_id, run.fab_hash, fab.hash_str, run.fab_id, run.fab_version)
        if said != (run_id, found, found, *bundled):
            return "the SuperLink describes it as another one; ask who runs the SuperLink"
        if run.primary_task_type != TaskType.SERVER_APP:
            return "the run is no ServerApp's; ask the coordinator to submit it with flwr run"
        return None


def check_flower() -> None:
    """Makes sure that Flower is the one that the gate knows.

    Raises:
        FlowerDiffers: With what differs.
    """
    version = metadata.version("flwr")
    if version.split(".")[:2] != FLOWER.split("."):
        raise FlowerDiffers(
            f"the gate knows flwr {FLOWER}, installed is {version}: read {INNER} of the new one, "
            "mend client/supernode.py, and run tests/client/test_supernode.py"
        )
    for module, name, parameters in (
        (INNER, "_init_connection", {"server_address", "authentication_keys"}),
        (INNER, "_verify_fab", {"fab", "trusted_entities"}),
        (INNER, "_pull_and_store_message", {"get_run", "get_fab", "trusted_entities"}),
        (INNER, "start_client_internal", {"trusted_entities"}),
        (COMMAND, "start_client_internal", {"trusted_entities"}),
        (COMMAND, "flower_supernode", set()),
        (COMMAND, "_parse_args_run_supernode", set()),
    ):
        known = getattr(importlib.import_module(module), name, None)
        if known is None or not parameters <= set(inspect.signature(known).parameters):
            raise FlowerDiffers(f"{module}.{name} of flwr {version} is gone or another")
    inner = importlib.import_module(INNER)
    if getattr(inner, "time", None) is not time:
        raise FlowerDiffers(f"{INNER} of flwr {version} does not wait by the module time")


def install(gate: Gate, *, poll_seconds: float) -> Callable[[], None]:
    """Puts the gate into this process's Flower; gives the SuperNode's entry point.

    Raises:
        FlowerDiffers: See `check_flower`.
    """
    check_flower()
    inner: Any = importlib.import_module(INNER)
    command: Any = importlib.import_module(COMMAND)
    # Flower asks for a bundle, then has it verified where `trusted_entities` is not empty. The
    # bundle is emptied before Flower holds it: also if the question were never asked, there
    # is nothing left to unpack.
    inner._init_connection = _gated(inner._init_connection, gate)
    inner._verify_fab = lambda fab, _: fab.content != b""
    start = inner.start_client_internal
    command.start_client_internal = lambda **options: start(
        **{**options, "trusted_entities": {"fedward": "see client.supernode"}}
    )
    # Flower waits for three seconds between questions.
    patient = types.SimpleNamespace(**vars(time))
    patient.sleep = lambda seconds: time.sleep(min(seconds, poll_seconds))
    inner.time = patient
    run: Callable[[], None] = command.flower_supernode
    return run


def _gated(connect: Callable[..., Any], gate: Gate) -> Callable[..., Any]:
    """Flower's connection, whose bundles have come through the gate."""

    @contextlib.contextmanager
    def connection(*args: Any, **options: Any) -> Iterator[tuple[Any, ...]]:
        with connect(*args, **options) as made:
            if len(made) != CONNECTION:
                raise FlowerDiffers(f"{INNER}._init_connection gives {len(made)} things")
            runs: dict[int, Run] = {}

            def get_run(run_id: int) -> Run:
                runs[run_id] = made[GET_RUN](run_id)
                return runs[run_id]

            def get_fab(fab_hash: str, run_id: int) -> Fab:
                return _let_in(gate, run_id, runs.pop(run_id), made[GET_FAB](fab_hash, run_id))

            parts = list(made)
            parts[GET_RUN], parts[GET_FAB] = get_run, get_fab
            yield tuple(parts)

    return connection


def _let_in(gate: Gate, run_id: int, run: Run, fab: Fab) -> Fab:
    """The bundle, or an empty one in its place."""
    reason = gate.refusal(run_id, run, fab)
    found = hashlib.sha256(fab.content).hexdigest()
    if reason is not None:
        LOG.error("refused bundle %s of run %d: %s", found, run_id, reason)
    content = fab.content if reason is None else b""
    return type(fab)(hash_str=found, content=content, verifications={"valid_license": "fedward"})


def run(
    site: Path,
    *,
    superlink: str,
    listed: Path | None = None,
    poll_seconds: float = 0.5,
    more: Sequence[str] = (),
) -> None:
    """Runs the site's node, until it is told to stop. Has the process to itself.

    Flower keeps its files in `flower`, beside site.toml.

    Args:
        site: site.toml.
        superlink: HOST:PORT of the SuperLink's Fleet API.
        listed: See `Gate`.
        poll_seconds: How often to ask for work, 0.01 to 60.
        more: Further arguments of `flower-supernode`, such as `--root-certificates`, `--port`.

    Raises:
        FlowerDiffers: See `check_flower`.
        ValueError: An argument that would open what this closes.
    """
    site = site.resolve(strict=True)
    if '"' in str(site):
        raise ValueError(f"{site}: Flower can pass on no path with a quotation mark")
    prepare(site.parent / "flower", poll_seconds=poll_seconds)
    node = install(Gate(listed), poll_seconds=poll_seconds)
    own = ["--superlink", superlink, "--node-config", f'site="{site}"']
    sys.argv = ["flower-supernode", *more, *own]
    _check_arguments(more)
    node()


def prepare(home: Path, *, poll_seconds: float) -> None:
    """Sets the environment of this process and of those that Flower starts from it.

    Args:
        home: Flower's home, of this site alone. What was unpacked there before is removed:
            Flower takes an unpacked bundle for the one at hand if eight digits of the hash agree.
        poll_seconds: See `run`.

    Raises:
        ValueError: Flower could not wait that long, or has begun to call home already.
    """
    if not 0.01 <= poll_seconds <= 60:
        raise ValueError(f"poll_seconds is {poll_seconds}; 0.01 to 60 are allowed")
    loaded = sys.modules.get("flwr.supercore.telemetry")
    if loaded is not None and loaded.FLWR_TELEMETRY_ENABLED == "1":
        raise ValueError("Flower was imported with its telemetry on; start the site on its own")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.rmtree(home / "apps", ignore_errors=True)
    os.environ |= surroundings(home, os.environ)
    os.environ["FLWR_SUPEREXEC_TASK_POLL_INTERVAL"] = str(poll_seconds)


def _check_arguments(more: Sequence[str]) -> None:
    """Refuses arguments that would go round the gate, or open the node's own port.

    Raises:
        ValueError: Which.
    """
    parser: argparse.ArgumentParser = importlib.import_module(COMMAND)._parse_args_run_supernode()
    given = parser.parse_args(list(more))
    default = parser.parse_args([])
    for name in ("trusted_entities", "runtime_dependency_install", "node_config", "superlink"):
        if getattr(given, name) != getattr(default, name):
            raise ValueError(f"--{name.replace('_', '-')} is set by fedward; leave it out")
    # Whoever reaches this port takes the ClientApp's place: its tasks go to the first who asks.
    if not is_loopback(given.host):
        raise ValueError(f"--host {given.host} is open to other machines; use 127.0.0.1")


def main() -> None:
    """`python -m client.supernode SITE --superlink HOST:PORT`, with arguments for Flower behind."""
    parser = argparse.ArgumentParser(prog="python -m client.supernode", allow_abbrev=False)
    parser.add_argument("site", type=Path, help="site.toml")
    parser.add_argument("--superlink", required=True, help="HOST:PORT")
    parser.add_argument("--bundles", type=Path, help="a file of further hashes that may come in")
    parser.add_argument("--poll-seconds", type=float, default=0.5)
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent")
    given, more = parser.parse_known_args()
    if given.parent is not None:
        end_with_parent(given.parent)
    try:
        run(
            given.site,
            superlink=given.superlink,
            listed=given.bundles,
            poll_seconds=given.poll_seconds,
            more=more,
        )
    except (FlowerDiffers, OSError, ValueError) as error:
        parser.exit(1, f"fedward: {error}\n")


if __name__ == "__main__":
    main()
