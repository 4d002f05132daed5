"""`fedward site run` against a coordinator that runs: TLS, node keys, a study to its end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tomli_w
from builders import patient, study_table
from deployment import Daemon, fedward, until
from federation import free_port
from watched import get, metrics

from client.site import Site
from experiments.site import daemon as site_daemon
from experiments.site.daemon import NodeWords
from experiments.supervision import Child
from privacy.bundle import bundle_hash
from server.deployment.config import ServerConfig
from server.deployment.control import ended, submit
from tasks.study import Study


@dataclass
class Deployment:
    """A coordinator and the site ash, which asked for its place before it was enrolled."""

    config: ServerConfig
    coordinator: Daemon
    site: Path
    daemon: Daemon

    def run(self, study: Path, name: str) -> tuple[str, str]:
        """Submits a study and waits for its end; Flower's status and its details."""
        runs = self.config.at(self.config.runs)
        settings = {"study": str(study), "home": str(runs), "run": name, "nodes": 1}
        number = submit(self.config, settings)
        until(lambda: ended(self.config, number) is not None, self.logs, 240)
        status, _, details = (ended(self.config, number) or "").partition(": ")
        return status, details

    def logs(self) -> str:
        return self.coordinator.logs("the end of a run") + self.daemon.logs("the end of a run")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    (folder / "notes.jsonl").write_text(
        "".join(json.dumps(patient(number)) + "\n" for number in range(60))
    )
    daemons = []
    try:
        ports = ["--port", free_port(), "--control-port", free_port()]
        assert fedward(folder, "server", "init", folder / "c", *ports).returncode == 0
        config = ServerConfig.read(folder / "c" / "server.toml")
        (folder / "center").mkdir()
        daemons.append(
            Daemon.start(folder / "center", "server", "run", "--server", folder / "c/server.toml")
        )
        flags = {
            "--name": "ash", "--superlink": config.reached_at, "--ca": config.at(config.ca),
            "--source": "jsonl", "--path": folder / "notes.jsonl", "--declared-patients": 40,
            "--epsilon": 20, "--port": free_port(), "--monitor-port": free_port(),
        }  # fmt: skip
        words = [word for pair in flags.items() for word in pair]
        made = fedward(folder, "site", "init", folder / "ash", *words)
        assert made.returncode == 0, made.stderr
        daemons[0].says("SuperLink answers")
        daemons.append(
            Daemon.start(folder / "ash", "site", "run", "--site", folder / "ash" / "site.toml")
        )
        daemons[1].says("the coordinator does not let this site's key in")
        enrolled = fedward(folder, "server", "enrol", "ash", folder / "ash" / "node.key.pub",
                           "--server", folder / "c" / "server.toml")  # fmt: skip
        assert enrolled.returncode == 0, enrolled.stderr
        daemons[1].says("node connected; waits for studies")
        yield Deployment(config, daemons[0], folder / "ash" / "site.toml", daemons[1])
    finally:
        for daemon in reversed(daemons):
            daemon.stop()


def daemon_logs(deployment: Deployment):
    return lambda: deployment.daemon.logs("503")


@pytest.fixture
def study(tmp_path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(study_table(sample_rate=1.0, rounds=1)), "utf-8")
    return path


@pytest.mark.slow
def test_a_private_study_runs_to_its_end_over_tls(deployment, study, tmp_path):
    site = deployment.site
    digest = Study.read(study).digest
    approved = fedward(
        tmp_path, "site", "approve", digest, "--study", study, "--yes", "--site", site
    )
    assert approved.returncode == 0, approved.stderr
    deployment.daemon.says(f"study tiny ({digest[:12]}) is prepared, 60 patients")
    assert deployment.run(study, "first")[0] == "completed", deployment.logs()
    journal = deployment.config.at(deployment.config.runs) / "runs" / "first" / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    assert events[-1]["event"] == "end"
    assert events[-1]["reason"] is None
    assert [event["site"] for event in events if event["event"] == "reply"] == ["ash"] * 2
    entries = Site.read(site).open_ledger().entries()
    spends = [entry for entry in entries if entry.kind == "spend" and entry.cohort == "train"]
    assert [entry.spend.round for entry in spends] == [1]
    deployment.daemon.says("study tiny: taken in")
    deployment.daemon.says("round 1 of study tiny: trained")
    found = metrics(Site.read(site))
    assert found["fedward_site_rounds_trained_total"] == 1
    assert found["fedward_site_charges_total{cohort=train}"] == 1
    assert found["fedward_site_node_up"] == 1
    file = tmp_path / "status.json"
    shown = fedward(tmp_path, "site", "status", "--site", site, "--json", file)
    assert shown.returncode == 0, shown.stdout
    assert "nothing is wrong" in shown.stdout
    status = json.loads(file.read_text())
    assert status["study"] == {"name": "tiny", "digest": digest, "round": 1, "rounds": 1}
    assert status["daemon"]["children"]["node"]["state"] == "connected"


@pytest.mark.slow
def test_a_node_that_was_killed_comes_back_and_leaves_nothing_running(deployment):
    daemon, site = deployment.daemon, Site.read(deployment.site)
    connected = daemon.said.count("node connected")
    assert get(site, "/healthz").status_code == 200
    os.kill(daemon.children("node")[-1], signal.SIGKILL)
    until(lambda: get(site, "/healthz").status_code == 503, daemon_logs(deployment), 5)
    assert "ended with signal 9" in get(site, "/healthz").json()["reasons"][0]
    daemon.says("node ended with signal 9")
    # Flower keeps the place of the one that was killed for up to a minute.
    daemon.says("node connected", times=connected + 1, seconds=120)
    assert get(site, "/healthz").status_code == 200
    assert metrics(site)["fedward_site_restarts_total{child=node}"] >= 1


@pytest.mark.slow
def test_a_coordinator_that_went_away_is_told_of_and_so_is_its_return(deployment):
    daemon, site = deployment.daemon, Site.read(deployment.site)
    superlink = deployment.coordinator.children("SuperLink")[-1]
    os.kill(superlink, signal.SIGSTOP)
    try:
        daemon.says("node lost the coordinator: no answer from", seconds=90)
        reasons = get(site, "/healthz").json()["reasons"]
        assert reasons[0].startswith("the node is not connected: no answer from")
    finally:
        os.kill(superlink, signal.SIGCONT)
    daemon.says("node reaches the coordinator again", seconds=60)
    assert get(site, "/healthz").status_code == 200


@pytest.mark.slow
def test_a_second_daemon_of_a_site_does_not_start(deployment, tmp_path):
    shown = fedward(tmp_path, "site", "run", "--site", deployment.site)
    assert shown.returncode == 1
    assert "this site's node runs already" in shown.stderr


@pytest.mark.slow
def test_it_says_where_it_connects_and_what_is_kept_is_private(deployment):
    host, port = deployment.config.reached_at.split(":")
    said = f"ash connects to {host} port {port}, and to nothing else"
    assert said in deployment.daemon.said.splitlines()[0]
    folder = deployment.site.parent
    kept = [folder, *(folder / "flower").rglob("*"), *(folder / "logs").rglob("*")]
    assert [path for path in kept if path.stat().st_mode & 0o077] == []


def words_of(lines: list[str]) -> tuple[list[str], str]:
    said: list[str] = []
    coordinator = Site.model_fields["coordinator"].annotation.__args__[0](superlink="a.example:1")
    words = NodeWords(coordinator, said.append)
    for line in lines:
        words.heard(line)
    return said, words.why()


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["ERROR: Exit Code: 305", "No"], "the coordinator does not let this site's key in"),
        (["[Errno 98] error while attempting to bind: address already in use"], "port 9094 of"),
        (["fedward: the gate knows flwr 1.41"], "the gate knows flwr 1.41"),
        (["Exit Code: 305", "INFO: SuperNode ID: 7"], ""),
        ([], ""),
    ],
)
def test_why_a_node_ended_is_said_in_words(lines, why):
    found = words_of(lines)[1]
    assert found.startswith(why)
    assert bool(found) == bool(why)


@pytest.mark.parametrize(("embed", "names"), [("daemon", ["node", "embed"]), ("manual", ["node"])])
def test_who_prepares_studies_runs_beside_the_node_unless_it_is_scheduled(
    make_site, monkeypatch, embed, names
):
    children: list[Child] = []
    monkeypatch.setattr(site_daemon, "supervise", lambda given, _, **__: children.extend(given))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    coordinator = {"superlink": "fed.example.org:9443", "embed": embed}
    site = make_site("ash", coordinator=coordinator, test_seed=None)
    said: list[str] = []
    site_daemon.run_site(site, site.folder / "site.toml", said.append)
    assert [child.name for child in children] == names
    for child in children[1:]:
        before = len(said)
        for line in ("Loading weights", "embed: tiny (3f) is prepared,\x1b 61 patients"):
            child.heard(line)
        assert said[before:] == ["study tiny (3f) is prepared,  61 patients"]


def test_a_refused_bundle_is_an_event():
    line = f"refused bundle {'0' * 64} of run 3: this installation's is {bundle_hash()}; install"
    assert words_of([line])[0] == [f"node {line}"]
