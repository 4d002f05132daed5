"""docs/coordinator.md is followed: its commands are run in their order, in a clean folder."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from commands import commands, parse
from deployment import fedward
from federation import ROOT, free_port
from whole import MlflowServer, Whole

PAGE = ROOT / "docs" / "coordinator.md"
SITES = ("ash", "birch")

pytestmark = pytest.mark.deployment


@dataclass
class Followed:
    """Somebody who follows the page, with two sites beside them."""

    whole: Whole
    study: Path = Path()
    said: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    def here(self, word: str) -> str:
        """What the page writes, on this machine."""
        for there, here in {
            "/var/lib/fedward-coordinator/server": self.whole.folder / "c",
            "fed.example.org": "127.0.0.1",
            "http://127.0.0.1:5000": self.whole.mlflow.uri,
            "study.toml": self.study,
            "ash.pub": self.whole.folder / "ash" / "node.key.pub",
            "birch.pub": self.whole.folder / "birch" / "node.key.pub",
        }.items():
            word = word.replace(there, str(here))
        return word

    def follow(self, words: list[str]) -> None:
        """One line of the page."""
        match words:
            case ["python3", "-m", "venv", _] | ["/opt/fedward/bin/python", "-m", "pip", *_]:
                pass  # installed already
            case ["export", *_]:
                pass
            case ["mlflow", "server", *_]:
                self.whole.mlflow.start()
            case ["fedward", "server", "run"]:
                self.whole.start("coordinator")
            case ["fedward", *rest]:
                parse(rest)
                self.fedward(rest)
            case _:
                pytest.fail(f"the page has a command that this test does not know: {words}")

    def fedward(self, words: list[str]) -> None:
        more: list[object] = []
        server = self.whole.folder / "c" / "server.toml"
        if words[:2] == ["server", "init"]:
            more = ["--port", free_port(), "--control-port", free_port()]
        elif words[0] == "server" or words[1] in {"run", "resume", "status", "stop"}:
            more = ["--server", server]
        if words == ["study", "run", "study.toml"]:
            self.sites_come()
        if words == ["study", "resume"]:
            self.broken_off(server)
        shown = fedward(self.whole.folder, *map(self.here, words), *more, seconds=400)
        assert shown.returncode == 0, shown.stdout + shown.stderr + self.whole.logs()
        self.said[" ".join(words)] = shown
        if words[:2] == ["server", "init"]:
            for name in SITES:
                self.whole.make_site(name)

    def sites_come(self) -> None:
        """What the sites do when they have the study file."""
        for name in SITES:
            self.whole.prepare(self.study, name)
            self.whole.approve(self.study, name)
        self.whole.start(*SITES)

    def broken_off(self, server: Path) -> None:
        """A second run of the study, which was stopped."""
        for verb in (["run", self.study, "--again", "--detach"], ["stop"]):
            shown = fedward(self.whole.folder, "study", *verb, "--server", server)
            assert shown.returncode == 0, shown.stderr


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> Iterator[Followed]:
    folder = tmp_path_factory.mktemp("coordinator")
    whole = Whole(folder, MlflowServer(folder / "mlflow"), SITES)
    one = Followed(whole)
    one.study = whole.write_study(rounds=1)
    try:
        for words in commands(PAGE):
            one.follow(words)
        yield one
    finally:
        whole.close()


def test_every_command_of_the_page_does_what_it_says(followed):
    said = {words: shown.stdout for words, shown in followed.said.items()}
    assert "enrolled: ash" in said["server enrol ash ash.pub"]
    assert "after round" in said["study plan study.toml"]
    run = said["study run study.toml"]
    assert "2 of 2 sites are ready" in run
    assert "birch takes part, with 40 declared patients" in run
    assert re.search(r"(?m)^ +1 ", run)
    assert f"MLflow: {followed.whole.mlflow.uri}, experiment fedward, run whole" in run
    assert "finished" in said["study status"]
    assert "weights: " in said["study resume"]
    assert "holds until" in said["server renew"]


def test_what_the_page_says_of_messages_is_what_the_code_says():
    table = PAGE.read_text("utf-8").partition("| it says | means | do |")[2].partition("\n\n")[0]
    quoted = re.findall(r"`([^`]+)`", table)
    assert len(quoted) > 8
    code = "".join(
        path.read_text("utf-8")
        for folder in ("server", "experiments", "privacy", "client")
        for path in (ROOT / folder).rglob("*.py")
    )
    for said in quoted:
        for part in re.split(r"\.\.\.|\b\d[\d ]*(?:of \d+|s)?\b|: |cedar|3600", said):
            words = part.strip(" .:")
            if len(words) > 8:
                assert words in code, words
