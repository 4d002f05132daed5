"""The systemd units: systemd understands them, they are tight, and what they start is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import parse
from federation import ROOT

from experiments.supervision import GRACE_SECONDS

FOLDER = ROOT / "deploy" / "systemd"
UNITS = ("fedward-site", "fedward-coordinator")
PROGRAM = "/opt/fedward/bin/fedward"
EXPOSURE, WITH_GPU = 15, 17
"""In tenths; systemd calls up to 20 OK. What is left is the network and torch's system calls."""

EVERYBODYS = {"/tmp", "/var/tmp", "/dev/shm"}  # noqa: S108 - names only

Settings = dict[str, list[str]]


def settings(path: Path) -> Settings:
    """Values by key; a key may stand more than once."""
    found: Settings = {}
    for line in path.read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def unit(tmp_path, request) -> Path:
    """A unit with its drop-ins, as installed, but for a program that is on every machine."""
    name = request.param
    text = (FOLDER / f"{name}.service").read_text("utf-8")
    path = tmp_path / f"{name}.service"
    path.write_text(text.replace(PROGRAM, shutil.which("true")), "utf-8")
    shutil.copytree(FOLDER / f"{name}.service.d", tmp_path / f"{name}.service.d")
    return path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS, indirect=True)
def test_systemd_understands_every_line(unit):
    shown = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", UNITS, indirect=True)
def test_systemd_finds_it_tight(unit):
    def exposure(most: int) -> int:
        words = ["--offline=true", "--no-pager", f"--threshold={most}"]
        return run("systemd-analyze", "security", *words, unit).returncode

    assert exposure(WITH_GPU) == 0
    (unit.parent / f"{unit.name}.d" / "gpu.conf").unlink(missing_ok=True)
    assert exposure(EXPOSURE) == 0
    assert exposure(1) != 0  # so it was looked at


@pytest.mark.parametrize("name", UNITS)
def test_it_starts_a_command_that_there_is(name):
    (line,) = settings(FOLDER / f"{name}.service")["ExecStart"]
    program, *words = shlex.split(line)
    assert program == PROGRAM
    parse(words)
    (needed,) = settings(FOLDER / f"{name}.service")["AssertPathExists"]
    assert words[-1] == needed


@pytest.mark.parametrize("name", UNITS)
def test_only_its_own_folders_are_writable_and_nothing_there_is_executed(name):
    found = settings(FOLDER / f"{name}.service")
    own = f"/var/lib/{name}"
    writable = [path for value in found["ReadWritePaths"] for path in value.split()]
    assert writable == [own] + ["-/var/lib/fedward-mark"] * (name == "fedward-site")
    never = {path for value in found["NoExecPaths"] for path in value.split()}
    assert {*writable, *EVERYBODYS} == never
    assert found["WorkingDirectory"][0].startswith(own)
    assert found["UMask"] == ["0077"]


@pytest.mark.parametrize(("name", "children"), [("fedward-site", 1), ("fedward-coordinator", 2)])
def test_it_waits_for_the_daemon_to_end_its_processes(name, children):
    found = settings(FOLDER / f"{name}.service")
    assert found["KillMode"] == ["mixed"]
    assert int(found["TimeoutStopSec"][0]) > children * GRACE_SECONDS + 5


@pytest.mark.parametrize("name", UNITS)
def test_packets_go_where_a_drop_in_says_and_nowhere_else(name):
    found = settings(FOLDER / f"{name}.service")
    assert found["IPAddressDeny"] == ["any"]
    assert found["IPAddressAllow"] == ["localhost"]
    (drop_in,) = [
        path for path in (FOLDER / f"{name}.service.d").iterdir() if path.name != "gpu.conf"
    ]
    assert list(settings(drop_in)) == ["IPAddressAllow"]


@pytest.mark.parametrize("name", UNITS)
def test_every_directive_has_a_reason(name):
    """A comment stands over each group of settings."""
    text = (FOLDER / f"{name}.service").read_text("utf-8")
    service = text.partition("[Service]")[2].partition("[Install]")[0]
    groups = re.split(r"\n\n", service.strip())
    bare = [group for group in groups if not re.search(r"^#", group, re.MULTILINE)]
    assert bare == []


def test_users_and_folders_are_those_of_the_units(tmp_path):
    (tmp_path / "etc").mkdir()
    users, folders = FOLDER / "sysusers.conf", FOLDER / "tmpfiles.conf"
    shown = run("systemd-sysusers", f"--root={tmp_path}", users)
    assert shown.returncode == 0, shown.stderr
    made = (tmp_path / "etc" / "passwd").read_text()
    shown = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", folders)
    assert shown.returncode == 0, shown.stderr
    for name in UNITS:
        found = settings(FOLDER / f"{name}.service")
        assert found["User"] == found["Group"] == [name]
        assert re.search(rf"^{name}:.*:/var/lib/{name}:/usr/sbin/nologin$", made, re.MULTILINE)
        for value in found["ReadWritePaths"]:
            folder = tmp_path / value.removeprefix("-").lstrip("/")
            assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "srv" / "fedward-notes").stat().st_mode & 0o777 == 0o750
