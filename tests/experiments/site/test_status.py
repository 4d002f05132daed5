"""`fedward site status` of sites whose daemon does not run, and what it takes for one that does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from builders import CODES, policy_table, study_table
from typer.testing import CliRunner
from watched import PATIENTS, Asking, real_site

from client import approval
from experiments.command import app
from experiments.said import Event
from experiments.site import look as site_look
from experiments.site import status as site_status
from experiments.site.gpu import GpuMemory, gpus
from experiments.site.state import FILE, LOCK, Memory, running
from experiments.site.status import _time, status_of
from privacy.files import locked
from tasks.study import Study

RUN = CliRunner(env={"COLUMNS": "300"})
TINY = Study.parse_table(study_table(), where="tiny")

KEYS = {
    "site", "at", "coordinator", "daemon", "study", "last_request", "last_release",
    "rounds_trained", "ledger", "epsilon", "audit_log", "refusals", "store", "disk_free",
    "ca_ends", "wrong", "notes",
}  # fmt: skip


@pytest.fixture
def site(tmp_path):
    return real_site(tmp_path / "ash")


def status(site, *words: str):
    return RUN.invoke(app, ["site", "status", "--site", str(site.folder / "site.toml"), *words])


def well(site):
    """A daemon of this process, whose node is connected."""
    memory = Memory(site.folder)
    memory.hear(Event("node started, process 7", "started", child="node", process=7))
    memory.hear(Event("node connected", "connected", child="node"))
    return locked(site.folder / LOCK, exclusive=True, wait=0)


def test_a_site_without_a_daemon_is_shown_all_the_same(site, tmp_path):
    Asking(site, TINY).rounds()
    shown = status(site, "--json", str(tmp_path / "status.json"))
    assert shown.exit_code == 1
    assert "WRONG: the daemon does not run; start it: fedward site run" in shown.stdout
    told = json.loads((tmp_path / "status.json").read_text())
    assert told.keys() == KEYS
    ledger = site.open_ledger()
    assert told["epsilon"]["train"]["spent"] == ledger.epsilon(delta=1e-5)
    assert told["ledger"]["charges"] == {"train": 2, "heldout": 2}
    assert told["ledger"]["entries"] == len(ledger.entries())
    assert told["audit_log"]["lines"] == len(site.open_log().lines())
    assert told["study"] == {"name": "tiny", "digest": TINY.digest, "round": 2, "rounds": 2}
    assert told["refusals"] == {"ReleaseBlocked": 1}
    assert told["store"]["texts"] == PATIENTS + len(CODES)
    assert told["wrong"] == ["the daemon does not run; start it: fedward site run"]


def test_a_new_site_has_nothing_to_tell(site):
    shown = status(site)
    assert "none was ever let in" in shown.stdout
    assert "0 entries, intact" in shown.stdout
    assert "Refused in 24 h    nothing" in shown.stdout


def test_a_site_that_is_well_is_status_0(site):
    with well(site):
        shown = status(site)
    assert shown.exit_code == 0, shown.stdout
    assert "connected since" in shown.stdout
    assert "nothing is wrong" in shown.stdout
    assert status(site).exit_code == 1


def test_an_approved_study_has_its_name_and_its_rounds(site):
    approval.decide(site, TINY, approve=True)
    Asking(site, TINY).rounds()
    found = status_of(site).study
    assert (found.name, found.round, found.rounds) == ("tiny", 2, 2)
    assert f"tiny {TINY.digest[:12]}, round 2 of 2" in status(site).stdout


def test_what_waits_for_a_decision_is_named(tmp_path):
    policy = policy_table(studies="approved")
    site = real_site(tmp_path / "ash", policy=policy)
    approval.wait(site, TINY)
    assert f"Await approval     tiny {TINY.digest[:12]}" in status(site).stdout


def test_a_broken_ledger_and_a_full_disk_are_wrong(site, monkeypatch):
    Asking(site, TINY).rounds()
    site.at(site.mark).unlink()
    monkeypatch.setattr(site_status, "free_bytes", lambda _: 1e8)
    with well(site):
        shown = status(site)
        wrong = status_of(site).wrong
    assert shown.exit_code == 1
    assert "Ledger           BROKEN" in shown.stdout
    assert [reason.split(":")[0] for reason in wrong] == [
        "the ledger is broken", "the audit log is broken", "the disk is nearly full",
    ]  # fmt: skip
    assert status_of(site).epsilon == {}


def test_a_ca_that_ends_soon_is_a_note_and_one_that_ended_is_wrong(site, monkeypatch):
    now = datetime.now(UTC)
    for module in (site_status, site_look):
        monkeypatch.setattr(module, "ca_ends", lambda _: now + timedelta(days=10))
    with well(site):
        found = status_of(site)
        assert (found.wrong, len(found.notes)) == ((), 1)
        monkeypatch.setattr(site_status, "ca_ends", lambda _: now - timedelta(days=1))
        assert "the coordinator's CA ended on" in status_of(site).wrong[0]


def test_a_store_that_is_nearly_full_is_a_note(site):
    Asking(site, TINY).hello()
    used = status_of(site).store.bytes
    full = "embeddings fill more than nine tenths of quota_gb; raise it or purge"
    for share, notes in ((0.89, ()), (0.91, (full,))):
        found = status_of(site.model_copy(update={"quota_gb": used / share / 1e9}))
        assert found.notes == notes


def test_a_child_that_died_is_wrong_whatever_its_name(site):
    with well(site):
        memory = Memory(site.folder)
        memory.hear(Event("x", "connected", child="node"))
        memory.hear(Event("x", "ended", child="embed", why="ended with status 1"))
        shown = status(site)
    assert shown.exit_code == 1
    assert "WRONG: embed does not run: ended with status 1" in shown.stdout
    assert "embed" in shown.stdout.split("WRONG")[0]


def test_a_daemon_that_was_killed_does_not_run_whatever_run_json_says(site):
    code = (
        "import os, sys, pathlib; from experiments.site.state import *\n"
        "from experiments.said import Event\n"
        "from privacy.files import locked\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with locked(folder / LOCK, exclusive=True, wait=0):\n"
        "    Memory(folder).hear(Event('x', 'connected', child='node'))\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(site.folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "held\n"
        found = running(site.folder)
        assert (found.process, found.children["node"].state) == (process.pid, "connected")
        process.kill()
    assert (site.folder / FILE).exists()
    assert running(site.folder) is None
    assert (site.folder / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [None, "", "{}", "[1]"])
def test_a_state_that_cannot_be_read_is_said(site, content):
    if content is not None:
        (site.folder / FILE).write_text(content)
    with locked(site.folder / LOCK, exclusive=True, wait=0):
        shown = status(site)
    assert shown.exit_code == 1
    assert "WRONG: the daemon's state cannot be read: run.json: " in shown.stdout


def test_a_simulated_site_has_no_daemon(make_site):
    shown = status(make_site("ash"))
    assert shown.exit_code == 1
    assert "site.toml has no table [coordinator]" in shown.stdout


def test_a_site_file_with_a_mistake_is_one_line(tmp_path):
    shown = RUN.invoke(app, ["site", "status", "--site", str(tmp_path / "site.toml")])
    assert (shown.exit_code, shown.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("ago", "said"), [(0, "0 s ago"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"),
                      (200_000, "2 d ago"), (-5, "0 s ago")],
)  # fmt: skip
def test_how_long_ago_something_was(ago, said):
    now = datetime.now(UTC)
    assert _time(now - timedelta(seconds=ago), now).endswith(f"UTC, {said}")


def test_port_and_monitor_are_two(tmp_path):
    with pytest.raises(ValueError, match=r"coordinator: port and monitor are the same"):
        real_site(tmp_path / "ash", coordinator={"superlink": "a:1", "port": 5, "monitor": 5})


@pytest.mark.parametrize(
    ("out", "status", "found"),
    [
        ("0, 512, 81559\n1, 0, 81559\n", 0,
         (GpuMemory(index=0, used=512 << 20, total=81559 << 20),
          GpuMemory(index=1, used=0, total=81559 << 20))),
        ("0, [N/A], 81559\n", 0, ()),
        ("No devices were found\n", 6, ()),
    ],
)  # fmt: skip
def test_gpu_memory_is_what_the_driver_program_says(tmp_path, monkeypatch, out, status, found):
    """A program in its place that prints what it prints."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '{out}'\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus() == found


def test_without_a_gpu_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus() == ()
