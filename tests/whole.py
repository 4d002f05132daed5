"""A whole deployment on this machine: a coordinator, three sites and MLflow, by fedward's commands.

Each site has patients, keys, a policy and a daemon of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w
from builders import patient, study_table
from deployment import Daemon, environment, fedward, until
from federation import ROOT, free_port
from hospital_sources import Write, as_jsonl

from client.site import Site
from privacy import accounting
from server.deployment.config import ServerConfig
from server.journal import Follower
from server.tracking import EXPERIMENT
from tasks.study import Study

GUARD = ROOT / "tests" / "guard"
MARKS = [
    pytest.mark.deployment,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]
NAMES = ("ash", "birch", "cedar")
PATIENTS = {"ash": range(60), "birch": range(60, 110), "cedar": range(110, 180)}


def processes(words: str, *, below: Path) -> list[int]:
    """Process ids of programs whose command line has these words and which work below a folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((folder / "cwd").readlink())
            if words in line and place.startswith(str(below)):
                found.append(int(folder.name))
    return sorted(found)


def kill(pid: int) -> None:
    """kill -9, by pid."""
    os.kill(pid, signal.SIGKILL)


@dataclass
class MlflowServer:
    """A real MLflow server on 127.0.0.1, which can be killed and started again."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.folder.mkdir(exist_ok=True)
        words = ["server", "--host", "127.0.0.1", "--port", self.port, "--workers", 1,
                 "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
                 "--artifacts-destination", self.folder / "artifacts"]  # fmt: skip
        with (self.folder / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *map(str, words)],
                cwd=self.folder,
                env=environment(self.folder) | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, (self.folder / "mlflow.log").read_text, 120)

    def kill(self) -> None:
        """kill -9 of it and its workers."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.uri}/health", trust_env=False).status_code == 200
        return False


@dataclass
class Whole:
    """The deployment.

    Attributes:
        folder: Everything is below it.
        mlflow: Its server, or None for a file.
        names: Of the sites.
        sources: How a site has its patients; as JSON lines where nothing is said.
        daemons: By name: `coordinator` and the sites.
    """

    folder: Path
    mlflow: MlflowServer | None = None
    names: tuple[str, ...] = NAMES
    sources: Mapping[str, Write] = field(default_factory=dict)
    daemons: dict[str, Daemon] = field(default_factory=dict)

    @property
    def config(self) -> ServerConfig:
        return ServerConfig.read(self.folder / "c" / "server.toml")

    def site_file(self, name: str) -> Path:
        return self.folder / name / "site.toml"

    def site(self, name: str) -> Site:
        return Site.read(self.site_file(name))

    def make(self, **changes: Any) -> None:
        """Makes folders and keys, and enrols the sites; starts nothing but MLflow.

        `changes` are lines of each site.toml.
        """
        ports = ["--port", free_port(), "--control-port", free_port()]
        uri = ["--mlflow", self.mlflow.uri] if self.mlflow else []
        self.typed("server", "init", self.folder / "c", *ports, *uri)
        for name in self.names:
            self.make_site(name, **changes)
            self.enrol(name)
        if self.mlflow:
            self.mlflow.start()

    def make_site(self, name: str, *, epsilon: float = 20, **changes: Any) -> None:
        """Makes a site with patients of its own."""
        data = self.folder / f"data-of-{name}"
        data.mkdir()
        lines = [patient(number) for number in PATIENTS.get(name, range(200, 240))]
        table = self.sources.get(name, as_jsonl)(lines, data)
        flags = {
            "--name": name, "--superlink": self.config.reached_at,
            "--ca": self.config.at(self.config.ca), "--source-table": table,
            "--declared-patients": 40, "--epsilon": epsilon, "--port": free_port(),
            "--monitor-port": free_port(),
        }  # fmt: skip
        words = [word for pair in flags.items() for word in pair]
        self.typed("site", "init", self.folder / name, *words)
        path = self.site_file(name)
        text = path.read_text()
        for key, value in changes.items():
            text, times = re.subn(rf"(?m)^(# )?{key} = .*$", f"{key} = {value}", text, count=1)
            assert times == 1, key
        path.write_text(text)

    @property
    def server(self) -> list[object]:
        return ["--server", self.folder / "c" / "server.toml"]

    def typed(self, *words: object, rc: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command, and looks at its exit status."""
        ran = fedward(self.folder, *words)
        assert ran.returncode == rc, ran.stdout + ran.stderr
        return ran

    def start(self, *names: str) -> None:
        """Starts the daemons, and waits until all sites are connected."""
        for name in names or ("coordinator", *self.names):
            self.start_one(name)
        for name in names or self.names:
            if name != "coordinator":
                self.daemons[name].says("node connected; waits for studies", seconds=120)

    def start_one(self, name: str) -> None:
        """Starts a daemon; waits for nothing but that the SuperLink answers."""
        folder = self.folder / f"at-{name}"
        folder.mkdir(exist_ok=True)
        if name == "coordinator":
            self.daemons[name] = Daemon.start(folder, "server", "run", *self.server)
            self.daemons[name].says("SuperLink answers")
            return
        watched = {
            "PYTHONPATH": f"{ROOT}:{GUARD}",
            "FEDWARD_TEST_TARGETS": str(folder / "targets.jsonl"),
            "FEDWARD_TEST_STRIKE": str(self.strike(name)),
        }
        site = ["--site", self.site_file(name)]
        self.daemons[name] = Daemon.start(folder, "site", "run", *site, **watched)

    def enrol(self, name: str) -> None:
        """Lets a site in."""
        self.typed("server", "enrol", name, self.folder / name / "node.key.pub", *self.server)

    def strike(self, name: str) -> Path:
        """What is to happen to a site's training process; see tests/guard."""
        return self.folder / f"at-{name}" / "strike.txt"

    def targets(self, name: str) -> list[dict[str, Any]]:
        """What a site's processes connected to, looked up and started; see tests/guard."""
        lines = (self.folder / f"at-{name}" / "targets.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def write_study(self, **changes: Any) -> Path:
        """Writes a study file."""
        study = study_table(**{"name": "whole", "sample_rate": 1.0, "rounds": 2,
                               "strategy": {"kind": "fedavg", "minimum_sites": 2, "timeout": 120},
                               **changes})  # fmt: skip
        path = self.folder / f"{study['name']}.toml"
        path.write_text(tomli_w.dumps(study), "utf-8")
        return path

    def approve(self, study: Path, *names: str) -> None:
        """Lets a study in at sites."""
        digest = Study.read(study).digest
        self.each(names, "site", "approve", digest, "--study", study, "--yes")

    def prepare(self, study: Path, *names: str) -> None:
        """Has sites embed what a study needs."""
        self.each(names, "site", "embed", "--study", study)

    def each(self, names: tuple[str, ...], *words: object) -> None:
        """Runs a command at several sites at once; at all where none is named."""

        def at(name: str) -> None:
            self.typed(*words, "--site", self.site_file(name))

        with ThreadPoolExecutor() as pool:
            list(pool.map(at, names or self.names))

    def study(self, verb: str, *words: object) -> Watched:
        """Starts a `fedward study` command, which watches a study."""
        folder = self.folder / f"{verb}-{time.time_ns()}"
        folder.mkdir()
        daemon = Daemon.start(
            folder, "study", verb, *words, "--superlink", self.folder / "c",
            "--json", folder / "outcome.json",
        )  # fmt: skip
        self.daemons[folder.name] = daemon
        return Watched(self, daemon, folder / "outcome.json")

    def logged(self, run: str) -> dict[str, Any]:
        """MLflow's runs of a study by the name of the site; the study's own has none."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.config.tracking_uri)
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        found = client.search_runs([experiment], f"tags.`fedward.run` = '{run}'")
        assert len({one.data.tags.get("site") for one in found}) == len(found)
        return {one.data.tags.get("site", ""): one for one in found}

    def history(self, run: Any, key: str) -> list[int]:
        """The steps of a metric in MLflow, as often as each was logged."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.config.tracking_uri)
        return [metric.step for metric in client.get_metric_history(run.info.run_id, key)]

    def charges(self, name: str, study: Path) -> Counter[int]:
        """How often each round of a study was charged at a site."""
        spends = self.site(name).open_ledger().spends(study=Study.read(study).digest)
        return Counter(spend.round for spend in spends)

    def logs(self) -> str:
        """What everybody said."""
        return "\n".join(f"=== {n}\n{d.logs('the end')}" for n, d in self.daemons.items())

    def close(self) -> None:
        """Ends everything."""
        for daemon in reversed(list(self.daemons.values())):
            daemon.stop()
        if self.mlflow:
            self.mlflow.kill()


@dataclass
class Watched:
    """A `fedward study` command that watches a study."""

    whole: Whole
    daemon: Daemon
    json: Path

    @property
    def run(self) -> Path:
        """The run's folder."""
        until(lambda: "run " in self.daemon.said, lambda: self.daemon.logs("run"))
        name = re.search(r"(?m)^run ([^\s,]+),", self.daemon.said)
        assert name is not None
        return self.whole.config.at(self.whole.config.runs) / name[1]

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Of the run's journal."""
        found = Follower(self.run / "journal.jsonl").events()
        return [event for event in found if not kinds or event["event"] in kinds]

    def wait_for(self, kind: str, seconds: float = 240, **values: Any) -> dict[str, Any]:
        """Waits for an event that has these values."""

        def found() -> list[dict[str, Any]]:
            return [e for e in self.events(kind) if values.items() <= e.items()]

        until(found, self.whole.logs, seconds)
        return found()[0]

    def ends(self, seconds: float = 600) -> dict[str, Any]:
        """Waits for its end, which must be good; what --json wrote."""
        assert self.end(seconds) == 0, self.whole.logs()
        return json.loads(self.json.read_text())

    def end(self, seconds: float = 600) -> int:
        """Waits for its end; the exit status."""
        try:
            return self.daemon.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(self.whole.logs()) from None


def begun(whole: Whole, name: str, *, rounds: int = 1) -> tuple[Path, Watched]:
    """A study that needs every site in each of its rounds."""
    strategy = {"kind": "fedavg", "minimum_sites": len(whole.names), "timeout": 180}
    study = whole.write_study(name=name, rounds=rounds, strategy=strategy)
    whole.approve(study)
    whole.prepare(study)
    return study, whole.study("run", study)


def once(whole: Whole, study: Path, outcome: dict[str, Any], **more: dict[int, int]) -> None:
    """Each round was charged once at each site, or as `more` says, and logged once."""
    asked = Study.read(study)
    for name in whole.names:
        charged = dict.fromkeys(range(1, asked.rounds + 1), 1) | more.get(name, {})
        assert whole.charges(name, study) == charged
        # What the coordinator reports is what the ledger holds.
        spends = whole.site(name).open_ledger().spends(study=asked.digest)
        said = next(site["epsilon"] for site in outcome["sites"] if site["name"] == name)
        spent = accounting.epsilon(spends, delta=asked.privacy.promise.delta)
        assert abs(said - spent) < 1e-9
    runs = whole.logged(outcome["run"])
    assert set(runs) == {"", *whole.names}
    for run in runs.values():
        assert whole.history(run, "epsilon") == list(range(asked.rounds + 1))
        assert run.info.status == "FINISHED"


@contextlib.contextmanager
def deployed(
    folder: Path,
    *,
    names: tuple[str, ...] = NAMES,
    sources: Mapping[str, Write] | None = None,
    mlflow: bool = True,
    **changes: Any,
) -> Iterator[Whole]:
    """A deployment that runs; ended whatever happens."""
    server = MlflowServer(folder / "mlflow") if mlflow else None
    whole = Whole(folder, server, names, sources or {})
    try:
        whole.make(**changes)
        whole.start()
        yield whole
    finally:
        whole.close()
