"""docs/hospital-it.md is followed: its commands are run in their order, in a clean folder."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import tomli_w
import typer
from builders import patient, study_table
from commands import commands, parse
from deployment import FEDWARD, Daemon, environment, fedward, until
from federation import ROOT, free_port

from experiments.command import app
from server.deployment.config import ServerConfig
from server.deployment.control import ended, submit
from tasks.study import Study

pytestmark = pytest.mark.deployment
PAGE = ROOT / "docs" / "hospital-it.md"
UNIT = ROOT / "deploy" / "systemd" / "fedward-site.service"
VERBS = typer.main.get_command(app).commands["site"].commands
DIGEST = "0123456789ab"
WITHDRAWN = "p3"


@dataclass
class Followed:
    """Somebody who follows the page, on a machine of their own.

    Attributes:
        folder: Stands for the machine.
        config: The coordinator's.
        coordinator: Its daemon.
        study: heart-failure.toml.
        daemon: The site's, while it runs.
        said: Exit status and output of each command of fedward, by its words as the page has them.
        seen: The first words of all commands.
    """

    folder: Path
    config: ServerConfig
    coordinator: Daemon
    study: Study
    daemon: Daemon | None = None
    said: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    key: str = ""

    def here(self, word: str) -> str:
        """What the page writes, on this machine."""
        for there, here in {
            "/var/lib/fedward-site": self.folder / "site",
            "/var/lib/fedward-mark": self.folder / "mark",
            "/srv/fedward-notes": self.folder / "notes",
            "/srv/backup": self.folder / "backup",
            "/etc/fedward/ca.crt": self.config.at(self.config.ca),
            "fed.example.org:9443": self.config.reached_at,
            DIGEST: self.study.digest[:12],
        }.items():
            word = word.replace(there, str(here))
        return word

    def environment(self) -> dict[str, str]:
        """As `sudo -u fedward-site -s` and the exports of the page give it."""
        own = {"FEDWARD_SITE": self.here("/var/lib/fedward-site/site.toml")}
        return environment(self.folder) | own | dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")

    def run(self, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a program at a terminal where something is typed."""
        ours, theirs = pty.openpty()
        try:
            os.write(ours, typed.encode())
            return subprocess.run(
                words, cwd=self.folder / "site", env=self.environment(), stdin=theirs,
                capture_output=True, text=True, check=False, timeout=180,
            )  # fmt: skip
        finally:
            os.close(ours)
            os.close(theirs)

    def fedward(self, words: list[str]) -> None:
        """Runs a command of fedward, after what the other side has to do first."""
        verb = words[1]
        parse(words)
        if words == ["site", "approve"]:
            self.ask()  # the study comes, is refused, and waits
        more = []
        if verb == "init":
            ports = ("--port", "--monitor-port")
            more = [word for port in ports for word in (port, str(free_port()))]
        typed = f"y\n{WITHDRAWN}\n" if "--patient" in words else "y\n"
        command = [sys.executable, "-P", "-c", FEDWARD, *map(self.here, words), *more]
        shown = self.run(*command, typed=typed)
        assert shown.returncode == 0, f"{words}\n{shown.stdout}\n{shown.stderr}\n{self.logs()}"
        self.said[" ".join(words)] = shown
        if verb == "init":
            (self.key,) = re.findall(r"^ecdsa-sha2-nistp384 .+$", shown.stdout, re.MULTILINE)
            self.enrol()
        if words == ["site", "approve", DIGEST]:
            self.ask()

    def enrol(self, *flags: str) -> None:
        """What the coordinator does with the line that the site sent."""
        server = self.config.folder / "server.toml"
        shown = fedward(
            self.config.folder, "server", "enrol", "ash", self.key, "--server", server, *flags
        )
        assert shown.returncode == 0, shown.stderr

    def system(self, words: list[str]) -> None:
        """What root does: the service, and whether files to be installed are there."""
        if words[0] == "systemctl" and words[-1] == "fedward-site":
            if "stop" in words:
                self.stop()
            else:
                assert "start" in words or "--now" in words
                self.start()
        elif words[0] == "install":
            sources = [word for word in words if word.startswith("deploy/")]
            assert sources
            assert all((ROOT / source).is_file() for source in sources)
        else:
            known = (
                *("systemctl daemon-reload", "systemd-sysusers", "systemd-tmpfiles", "journalctl"),
                *("python3 -m venv /opt/fedward", "/opt/fedward/bin/python -m pip install"),
                "-u fedward-site",
            )
            assert " ".join(words).startswith(known), words

    def start(self) -> None:
        """Runs what the unit runs."""
        (line,) = re.findall(r"^ExecStart=(.+)$", UNIT.read_text("utf-8"), re.MULTILINE)
        words = [self.here(word) for word in shlex.split(line)[1:]]
        (self.folder / "service").mkdir(exist_ok=True)
        if self.daemon is not None:
            self.daemon.output.unlink()
        self.daemon = Daemon.start(self.folder / "service", *words)
        # Flower keeps the place of a node for up to a minute.
        self.daemon.says("node connected; waits for studies", seconds=120)

    def stop(self) -> None:
        if self.daemon is not None and self.daemon.process.poll() is None:
            assert self.daemon.stop() == 0

    def look(self, url: str) -> None:
        """Asks the daemon how it is, at the port that it has here."""
        table = tomllib.loads((self.folder / "site" / "site.toml").read_text("utf-8"))
        here = url.replace("9095", str(table["coordinator"]["monitor"]))
        with httpx.Client(trust_env=False) as client:
            until(lambda: client.get(here).status_code == 200, self.logs)

    def ask(self) -> None:
        """The coordinator runs the study; what becomes of it is not asked here."""
        settings = {
            "study": str(self.folder / "site" / "heart-failure.toml"),
            "home": str(self.config.at(self.config.runs)),
            "run": f"run-{len(self.said)}",
            "nodes": 1,
        }
        number = submit(self.config, settings)
        until(lambda: ended(self.config, number) is not None, self.logs, 240)

    def logs(self) -> str:
        site = self.daemon.logs("what was waited for") if self.daemon else ""
        return self.coordinator.logs("what was waited for") + site

    def follow(self, words: list[str]) -> None:
        """One line of the page."""
        self.seen.add(words[0])
        match words:
            case ["fedward", *rest]:
                self.fedward(rest)
            case ["sudo", *rest]:
                self.system(rest)
            case ["cd" | "export" | "umask", *_]:
                pass  # `environment` has it
            case ["curl", url]:
                assert url in {f"http://127.0.0.1:9095/{page}" for page in ("healthz", "metrics")}
                self.look(url)
            case ["tar" | "rm" | "cat" | "ssh-keygen" as program, *rest]:
                assert shutil.which(program), program
                shown = self.run(program, *map(self.here, rest))
                assert shown.returncode == 0, shown.stderr
                if program == "cat":
                    self.key = shown.stdout.strip()
                    self.enrol("--replace")
            case _:
                pytest.fail(f"the page has a command that this test does not know: {words}")


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Iterator[Followed]:
    folder = tmp_path_factory.mktemp("hospital")
    for name in ("site", "mark", "notes", "backup", "center"):
        (folder / name).mkdir(mode=0o700)
    lines = [json.dumps(patient(number)) + "\n" for number in range(60)]
    (folder / "notes" / "patients.jsonl").write_text("".join(lines))
    ports = ["--port", free_port(), "--control-port", free_port()]
    assert fedward(folder, "server", "init", folder / "c", *ports).returncode == 0
    config = ServerConfig.read(folder / "c" / "server.toml")
    file = folder / "site" / "heart-failure.toml"
    file.write_text(tomli_w.dumps(study_table(rounds=1, sample_rate=1.0)), "utf-8")
    coordinator = Daemon.start(
        folder / "center", "server", "run", "--server", config.folder / "server.toml"
    )
    one = Followed(folder, config, coordinator, Study.read(file))
    try:
        coordinator.says("SuperLink answers")
        for words in commands(PAGE):
            one.follow(words)
        yield one
    finally:
        if one.daemon is not None:
            one.daemon.stop()
        coordinator.stop()


@pytest.mark.slow
def test_every_command_of_the_page_does_what_it_says(followed):
    said = {words: shown.stdout for words, shown in followed.said.items()}
    verbs = {words.split()[1] for words in said}
    assert verbs >= {
        "init",
        "check",
        "embed",
        "status",
        "approve",
        "ledger",
        "statement",
        "personalise",
        "log",
        "purge",
    }
    assert "this site can take part" in said["site check"]
    assert "keeps every rule" in said["site check --study heart-failure.toml"]
    assert followed.study.digest[:12] in said["site approve"]
    assert f"approved: tiny {followed.study.digest}" in said[f"site approve {DIGEST}"]
    assert "7.99 spent of 10.00" in said["site ledger"]
    assert "(7.99, 1e-05)-differentially private" in " ".join(said["site statement"].split())
    assert "they must not leave the site" in said[f"site personalise {DIGEST}"]
    assert "the hash chain holds" in said["site log"]
    assert "Notes whose vectors went    1 " in said["site purge --patient -"]
    assert "revoked: tiny" in said[f"site approve {DIGEST} --revoke --yes"]
    assert "Key of the store destroyed  yes" in said["site purge --everything --yes"]


@pytest.mark.slow
def test_what_the_page_says_is_kept_is_what_is_there(followed):
    """Every file of a site that took part stands in the table."""
    table = PAGE.read_text("utf-8").partition("## What is kept")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name.strip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    ours = {"heart-failure.toml"}
    there = {path.name for path in (followed.folder / "site").iterdir()} - ours
    assert {name for name in there if not name.endswith(".lock")} <= named
    kept = {"ledger.sqlite", "site.key", "parts.txt", "withdrawn.txt", "audit.jsonl", "node.key"}
    assert kept <= there
    assert {"store.key", "vectors.sqlite", "releases.sqlite"}.isdisjoint(there)


@pytest.mark.slow
def test_an_older_ledger_is_refused_as_the_page_says_and_a_new_mark_begins(followed):
    site = followed.folder / "site"
    with_backup = [words for words in commands(PAGE) if words[:2] == ["tar", "--extract"]]
    followed.follow(with_backup[0])
    command = [sys.executable, "-P", "-c", FEDWARD, "site", "ledger"]
    shown = followed.run(*command)
    assert shown.returncode == 1
    told = re.search(r"it has \d+ entries, its high-water mark says \d+", shown.stderr)
    assert told, shown.stderr
    assert re.sub(r"\d+ entries", "N entries", re.sub(r"says \d+", "says M", told[0])) in " ".join(
        PAGE.read_text("utf-8").split()
    )
    (followed.folder / "mark" / "high-water.sqlite").unlink()
    assert followed.run(*command).returncode == 1
    begun = followed.run(*command, "--new-mark")
    assert begun.returncode == 0, begun.stderr
    assert "a new high-water mark of the ledger stands at" in begun.stdout
    assert json.loads((site / "audit.jsonl").read_text().splitlines()[-1])["event"] == "mark"


def test_every_flag_in_the_table_is_one_of_init():
    table = PAGE.read_text("utf-8").partition("| flag | means |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(--[a-z-]+)`", table))
    options = {option for param in VERBS["init"].params for option in param.opts}
    assert named <= options
    assert options - named <= {"folder"}


def test_a_command_that_does_not_exist_is_noticed():
    import click

    for words in (
        ["site", "chekc"],
        ["site", "check", "--nothing"],
        ["site", "ledger", "--last", "x"],
    ):
        with pytest.raises(click.exceptions.UsageError):
            parse(words)
