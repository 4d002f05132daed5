"""A deployment with real processes: what listens, what is restarted, who is let in."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from deployment import Daemon, fedward, until
from federation import free_port

from client.setup import make_node_key
from server.deployment.certificates import strict_context
from server.deployment.config import ServerConfig

pytestmark = pytest.mark.slow


def new_coordinator(folder: Path) -> ServerConfig:
    """Makes a coordinator on free ports."""
    folder.mkdir(parents=True)
    ports = ["--port", free_port(), "--control-port", free_port()]
    made = fedward(folder, "server", "init", folder / "c", *ports)
    assert made.returncode == 0, made.stderr
    return ServerConfig.read(folder / "c" / "server.toml")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory) -> Iterator[tuple[ServerConfig, Daemon]]:
    """A coordinator that runs, with nobody enrolled at its start."""
    folder = tmp_path_factory.mktemp("coordinator") / "here"
    config = new_coordinator(folder)
    daemon = Daemon.start(folder, "server", "run", "--server", config.folder / "server.toml")
    try:
        daemon.says("SuperLink answers; enrolled: nobody")
        yield config, daemon
    finally:
        daemon.stop()


def status(address: str, ca: Path, path: str) -> int:
    with httpx.Client(verify=strict_context(ca), trust_env=False) as client:
        return client.post(f"https://{address}{path}").status_code


def test_sites_reach_the_fleet_api_and_nothing_else(coordinator):
    config, _ = coordinator
    ca, control_ca = config.at(config.ca), config.at(config.control_ca)
    with httpx.Client(verify=strict_context(ca), trust_env=False) as client:
        assert client.get(f"https://{config.fleet}/health").status_code == 200
    for path in ("/v1/control/register-node", "/v1/control/list-runs", "/docs", "/v1/runtime/x"):
        assert status(config.fleet, ca, path) == 404
    for path in ("/v1/control/register-node", "/v1/control/list-runs"):
        assert status(config.control, control_ca, path) != 404
    assert status(config.fleet, ca, "/v1/fleet/pull-messages") not in {200, 404}
    # A site's CA is not that of the other port.
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        status(config.control, ca, "/docs")


def test_what_a_coordinator_keeps_is_for_its_owner_alone(coordinator):
    config, _ = coordinator
    assert {path.stat().st_mode & 0o077 for path in config.folder.rglob("*")} == {0}


def test_a_site_is_let_in_at_once_and_once(coordinator):
    config, _ = coordinator
    server = ["--server", config.folder / "server.toml"]
    line = make_node_key("ash")[1].decode()
    for _ in range(2):
        shown = fedward(config.folder, "server", "enrol", "ash", line, *server)
        assert shown.returncode == 0, shown.stderr
        assert "the SuperLink knows it now" in shown.stdout
    again = fedward(config.folder, "server", "run", *server)
    assert again.returncode == 1
    assert "a coordinator runs here already" in again.stderr


def test_a_killed_superlink_comes_back_and_still_knows_its_sites(coordinator):
    config, daemon = coordinator
    (before,) = daemon.children("SuperLink")
    os.kill(before, signal.SIGKILL)
    daemon.says("SuperLink ended with signal 9")
    daemon.says("SuperLink answers; enrolled: ash")
    assert "SuperLink lets in" not in daemon.said  # its database knew
    assert status(config.fleet, config.at(config.ca), "/docs") == 404


def test_a_removed_site_stays_out(coordinator):
    config, _ = coordinator
    server = ["--server", config.folder / "server.toml"]
    line = make_node_key("birch")[1].decode()
    fedward(config.folder, "server", "enrol", "birch", line, *server)
    shown = fedward(config.folder, "server", "remove", "birch", *server)
    assert shown.stdout == "removed: birch\nthe SuperLink knows it now\n"
    again = fedward(config.folder, "server", "enrol", "birch", line, *server)
    assert again.returncode == 1
    assert "never lets a removed key in again" in again.stderr


def test_a_killed_coordinator_leaves_nothing_behind(tmp_path):
    config = new_coordinator(tmp_path / "here")
    server = ["server", "run", "--server", config.folder / "server.toml"]
    enrolled = fedward(config.folder, "server", "enrol", "ash", make_node_key("ash")[1].decode(),
                       "--server", config.folder / "server.toml")  # fmt: skip
    assert "is told when it starts" in enrolled.stdout
    daemon = Daemon.start(tmp_path / "here", *server)
    try:
        daemon.says("SuperLink answers; enrolled: ash")
        daemon.says("SuperLink lets in ash")
        pids = daemon.children("SuperLink") + daemon.children("SuperExec")
        daemon.process.kill()
        daemon.process.wait()
        until(lambda: all(map(gone, pids)), lambda: "the children live on", 30)
        daemon = Daemon.start(tmp_path / "here", *server)
        daemon.says("SuperLink answers; enrolled: ash", times=2)
        pids = daemon.children("SuperLink") + daemon.children("SuperExec")
        assert daemon.stop() == 0
        assert all(map(gone, pids))
    finally:
        daemon.stop()
