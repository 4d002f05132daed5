"""Watching what is to be embedded: what is new, and what purges and kills leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import patient, study_table
from embedding_sites import (
    PREPARING,
    ROOT,
    Kept,
    hello,
    in_a_process,
    members,
    records,
    toml,
)

from client import embed, wanted
from client.embed import Embedded, due
from client.purge import purge_patient, purge_study
from client.watch import Lines, Watch
from embeddings.hashing import Hashing, HashingEncoder
from embeddings.store_file import purge_waits
from tasks.study import Study

# --- Watching -------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """The watch's clock, which stands still until a test moves it; in seconds."""
    time = SimpleNamespace(now=1000.0, monotonic=lambda: time.now)
    monkeypatch.setattr("client.watch.time", time)
    return time


def test_new_notes_are_taken_in_and_unchanged_ones_not_read_again(
    deployed, study, notes, monkeypatch
):
    site = deployed()
    watch = Watch(toml(site), every=1e-9, screen=Kept())
    assert watch.step() == []
    hello(site, study)
    assert [one.notes for one in watch.step()] == [20]
    monkeypatch.setattr(embed.Embedder, "prepare", lambda *_: pytest.fail("nothing has changed"))
    assert watch.step() == watch.step() == []
    monkeypatch.undo()
    with notes.open("a") as file:
        file.write(json.dumps(patient(99)) + "\n")
    assert [(one.notes, one.patients) for one in watch.step()] == [(1, 13)]
    assert members(site, study) == 13
    assert watch.step() == []


def test_a_source_that_cannot_tell_is_read_by_the_clock(deployed, study, notes, clock, monkeypatch):
    monkeypatch.setattr("client.sources.jsonl.Jsonl.state", lambda *_, **__: None)
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=60, screen=Kept())
    assert [one.notes for one in watch.step()] == [20]
    clock.now += 59
    assert watch.step() == []
    clock.now += 1
    assert [one.notes for one in watch.step()] == [0]


def test_a_study_that_waits_does_not_wait_for_the_clock(deployed, study, other, monkeypatch):
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=3600, screen=Kept())
    assert [one.study for one in watch.step()] == ["tiny"]
    hello(site, other)
    assert [one.study for one in watch.step()] == ["other"]
    assert watch.step() == []


def test_who_fails_is_tried_again_by_the_clock_or_when_asked(deployed, study, notes, clock):
    notes.write_text("[]\n")
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=60, screen=Kept())
    assert [bool(one.reason) for one in watch.step()] == [True]
    clock.now += 59
    assert watch.step() == []
    hello(site, study)
    assert [bool(one.reason) for one in watch.step()] == [True]
    clock.now += 1
    assert [bool(one.reason) for one in watch.step()] == [True]


def test_a_site_file_that_is_being_written_is_said_once(deployed, study):
    site = deployed()
    good = toml(site).read_text()
    toml(site).write_text("name =")
    watch = Watch(toml(site), every=1e-9, screen=(screen := Kept()))
    assert watch.step() == watch.step() == []
    assert len(screen.troubles) == 1
    assert "not TOML" in screen.troubles[0]
    toml(site).write_text(good)
    hello(site, study)
    assert len(watch.step()) == 1


def test_one_process_embeds_at_a_time(deployed, study):
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=1e-9, screen=Kept())
    with embed.alone(site):
        assert watch.step() == []
    assert len(watch.step()) == 1


def test_lines_tell_of_each_event_once(capsys):
    lines = Lines()
    study = Study.parse_table(study_table(), where="tiny")
    for _ in range(2):
        lines.begins(study)
        lines.progress("tiny", "embedding", 0, 20)
        lines.progress("tiny", "embedding", 20, 20)
        lines.ended(Embedded(study="tiny", digest=study.digest, notes=20, chunks=30, device="cpu"))
    for reason in ("", "", "no\x1broom", "no\x1broom", ""):
        lines.ended(Embedded(study="tiny", digest=study.digest, reason=reason))
    said = capsys.readouterr().out.splitlines()
    assert all(line.startswith("embed: tiny") for line in said)
    assert "\x1b" not in "".join(said)
    kinds = ["is being", "20 notes to embed", "20 notes embedded"]
    kinds += ["20 notes to embed", "20 notes embedded", "could not", "is prepared"]
    assert [kind in line for kind, line in zip(kinds, said, strict=True)] == [True] * 7


# --- Purges and kills -----------------------------------------------------------------------


class Slow(HashingEncoder):
    """Stops after the first batch until it may go on."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def encode(self, texts):
        if self.begun.is_set():
            self.goes_on.wait(30)
        self.begun.set()
        return super().encode(texts)


@pytest.fixture
def slow(monkeypatch):
    """The hashing encoder, slow, in batches of few chunks."""
    from embeddings import store

    encoder = Slow(64)
    monkeypatch.setattr(Hashing, "load", lambda *_: encoder)
    monkeypatch.setitem(store.embed.__kwdefaults__, "batch", 4)
    return encoder


def go_on_once_a_purge_waits(site, slow: Slow) -> None:
    end = time.monotonic() + 30
    while not purge_waits(site.at(site.vectors)):
        assert time.monotonic() < end
        time.sleep(0.01)
    slow.goes_on.set()


def test_a_purge_goes_first_and_what_was_embedded_stays(deployed, study, slow, monkeypatch):
    monkeypatch.setattr(embed, "LOOK_SECONDS", 0.0)
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=3600, screen=Kept())
    made: list[Embedded] = []
    embeds = threading.Thread(target=lambda: made.extend(watch.step()))
    embeds.start()
    assert slow.begun.wait(30)
    proofs: list[object] = []
    purges = threading.Thread(target=lambda: proofs.append(purge_patient(site, "p0")))
    purges.start()
    go_on_once_a_purge_waits(site, slow)
    for thread in (purges, embeds):
        thread.join(60)
    assert len(proofs) == 1
    (one,) = made
    assert (one.reason, one.patients) == ("", 11)
    assert members(site, study) == 11
    # No note twice, and none of the one who went, unless it was among the first.
    assert 19 <= one.notes <= 20
    assert hello(site, study) == "ash"


def test_a_study_that_is_purged_while_it_is_embedded_is_not_prepared(
    deployed, study, slow, monkeypatch
):
    monkeypatch.setattr(embed, "LOOK_SECONDS", 0.0)
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=3600, screen=Kept())
    made: list[Embedded] = []
    embeds = threading.Thread(target=lambda: made.extend(watch.step()))
    embeds.start()
    assert slow.begun.wait(30)
    threading.Thread(target=go_on_once_a_purge_waits, args=(site, slow)).start()
    assert purge_study(site, study.digest).remaining == 0
    embeds.join(60)
    assert "was revoked" in made[0].reason
    assert records(site) == set()
    assert wanted.wanted(site) == {}
    assert due(site) == []
    assert "awaits approval" in hello(site, study)


KILLED = """
import sys, time
from pathlib import Path
from embeddings import store
from embeddings.hashing import HashingEncoder
from client.watch import Lines, Watch

class Slow(HashingEncoder):
    calls = 0

    def encode(self, texts):
        self.calls += 1
        if self.calls > 2:
            time.sleep(600)
        return super().encode(texts)

from embeddings.hashing import Hashing
Hashing.load = lambda self, _: Slow(self.dim)
store.embed.__kwdefaults__["batch"] = 4
Watch(Path(sys.argv[1]), every=60, screen=Lines()).run()
"""


def test_a_kill_in_the_middle_loses_no_vectors_and_the_next_run_ends_it(deployed, study):
    site = deployed()
    hello(site, study)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(toml(site))],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not (site.at(site.vectors).exists() and len(records(site)) >= 6):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = records(site)
    assert 6 <= len(kept) < 20
    assert hello(site, study) == PREPARING
    (made,) = Watch(toml(site), every=60, screen=Kept()).step()
    assert made.notes == 20 - len(kept)
    assert kept < records(site)
    assert [path.name for path in site.at(site.cohorts).iterdir()] == [f"{study.digest}.jsonl"]
    assert hello(site, study) == "ash"


def test_the_worker_ends_with_its_parent_and_prepares_what_waits(deployed, study):
    site = deployed()
    hello(site, study)
    code = f"""
        import os, subprocess, sys
        command = [sys.executable, "-m", "client.watch", {str(toml(site))!r}]
        child = subprocess.Popen([*command, "--parent", str(os.getpid())], stdout=subprocess.PIPE)
        print(child.pid, os.getpriority(os.PRIO_PROCESS, 0))
        print(child.stdout.readline().decode(), child.stdout.readline().decode(), end="")
        print(child.stdout.readline().decode().strip(), os.getpriority(os.PRIO_PROCESS, child.pid))
    """
    shown = in_a_process(textwrap.dedent(code))
    pid, nice = map(int, shown.stdout.splitlines()[0].split())
    last = shown.stdout.splitlines()[-1]
    assert last.startswith(f"embed: tiny ({study.digest[:12]}) is prepared, 12 patients")
    assert int(last.split()[-1]) == min(nice + 10, 19)
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.1)
