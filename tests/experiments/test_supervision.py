"""Processes that die are started again, and none outlives its supervisor's stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from experiments.supervision import Child, Supervised, supervise
from privacy.process import LOCAL, QUIET, surroundings

SLEEPER = "import time; time.sleep(300)"


@pytest.fixture
def child(tmp_path):
    """Describes a Python program as a child; nothing waits."""

    def make(code: str, **changes: object) -> Child:
        told = {
            "name": "it",
            "command": [sys.executable, "-c", code],
            "environment": os.environ,
            "folder": tmp_path,
            "log": tmp_path / "log.txt",
            "waits": (0.01, 0.04),
        }
        return Child(**told | changes)

    return make


def until(done, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"


def stepping(one: Supervised, done) -> None:
    def step() -> bool:
        one.step()
        return done()

    until(step)


def test_who_dies_is_started_again_later_and_later(child, tmp_path):
    said: list[str] = []
    one = Supervised(child("print('hello'); raise SystemExit(3)"), said.append)
    stepping(one, lambda: len([line for line in said if "ended" in line]) == 4)
    one.stop()
    ended = [line for line in said if "ended" in line]
    log = tmp_path / "log.txt"
    assert ended[0] == f"it ended with status 3; see {log}; again in 0.01 s"
    assert [line.rsplit(" ", 2)[1] for line in ended] == ["0.01", "0.02", "0.04", "0.04"]
    assert log.read_text().count("hello\n") == 4


def test_why_it_died_is_asked_once_all_was_heard(child):
    heard: list[str] = []
    said: list[str] = []
    code = r"print('a'); print('\x1b[91mthe reason\x1b[0m'); raise SystemExit(1)"
    one = Supervised(child(code, heard=heard.append, why=lambda: heard[-1]), said.append)
    stepping(one, lambda: any("ended" in line for line in said))
    one.stop()
    assert "it ended with status 1: the reason; again in 0.01 s" in said


def test_what_speaks_against_a_start_is_said_and_nothing_starts(child):
    said: list[str] = []
    reasons = ["no reason"] * 3 + ["another"] * 2
    one = Supervised(child(SLEEPER, before=lambda: reasons.pop(0) if reasons else ""), said.append)
    stepping(one, lambda: len(said) == 3)
    one.stop()
    assert said[:2] == ["it no reason; again in 0.01 s", "it another; again in 0.04 s"]
    assert said[2].startswith("it started, process ")


def test_it_is_asked_whether_it_is_ready_until_it_is(child, monkeypatch):
    monkeypatch.setattr("experiments.supervision.LOOK_SECONDS", 0.01)
    answers = [False, False, True]
    one = Supervised(child(SLEEPER, ready=lambda: answers.pop(0)), lambda _: None)
    stepping(one, lambda: not answers)
    for _ in range(20):
        one.step()
    one.stop()


FAMILY = """
import subprocess, sys, time
rest = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(rest.pid, flush=True)
{then}
"""


@pytest.mark.parametrize("takes_along", [True, False])
def test_what_it_started_ends_with_it_or_not(child, takes_along):
    heard: list[str] = []
    said: list[str] = []
    code = FAMILY.format(then="raise SystemExit(1)")
    one = Supervised(
        child(code, heard=heard.append, takes_along=takes_along, waits=(60, 60)), said.append
    )
    stepping(one, lambda: any("ended" in line for line in said))
    pid = int(heard[0])
    try:
        if takes_along:
            until(lambda: not alive(pid))
        else:
            time.sleep(0.2)
            assert alive(pid)
    finally:
        one.stop()
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_stop_ends_all_that_was_started_also_who_does_not_listen(child, monkeypatch):
    monkeypatch.setattr("experiments.supervision.GRACE_SECONDS", 0.3)
    heard: list[str] = []
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code = deaf + FAMILY.format(then="time.sleep(300)")
    one = Supervised(child(code, heard=heard.append), lambda _: None)
    stepping(one, lambda: bool(heard))
    one.stop()
    until(lambda: not alive(int(heard[0])))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything(tmp_path, number):
    code = f"""
        import os
        from pathlib import Path
        from experiments.supervision import Child, supervise
        command = {[sys.executable, "-c", SLEEPER]!r}
        here = Path({str(tmp_path)!r})
        children = [Child(name, command, os.environ, here, here / name) for name in ("a", "b")]
        supervise(children, lambda line: print(line, flush=True))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    started = [process.stdout.readline() for _ in range(2)]
    process.send_signal(number)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert rest.split("\n") == ["b stopped", "a stopped", ""]
    assert not any(alive(int(line.split()[-1])) for line in started)


def test_an_orphan_ends():
    code = f"""
        import subprocess, sys
        orphan = ("import os; from privacy.process import end_with_parent;"
                  "end_with_parent(os.getppid(), seconds=0.05);"
                  "print(os.getpid(), flush=True); {SLEEPER}")
        subprocess.Popen([sys.executable, "-c", orphan])
        import time; time.sleep(300)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    pid = int(parent.stdout.readline())  # it watches its parent from now on
    time.sleep(0.3)
    assert alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not alive(pid))


def test_a_proxy_stays_but_is_never_asked_for_this_machine(tmp_path):
    given = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "intranet, localhost"}
    made = surroundings(tmp_path, given)
    assert made["HTTPS_PROXY"] == given["HTTPS_PROXY"]
    assert made["no_proxy"] == made["NO_PROXY"] == "intranet,localhost,127.0.0.1"
    assert made.items() >= QUIET.items()
    assert made["FLWR_HOME"] == str(tmp_path)
    assert surroundings(tmp_path, {})["NO_PROXY"] == ",".join(LOCAL)


def test_a_program_that_is_not_there_ends_the_supervision(child):
    with pytest.raises(FileNotFoundError):
        supervise([child("", command=["/nowhere/at/all"])], lambda _: None)
