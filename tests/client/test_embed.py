"""Embedding apart from messages: who answers them waits for it, and nothing made is lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import tomli_w
from builders import CODES, patient, policy_table, study_table
from site_app import ask

from client import approval, cohort, embed, local, wanted
from client.embed import Embedded, Embedder, due
from client.purge import purge_patient, purge_study
from client.watch import Lines, Watch
from embeddings.hashing import Hashing, HashingEncoder
from privacy import wire
from privacy.errors import SiteError, SourceBroken, StillPreparing, StudyRefused
from privacy.fingerprint import code_fingerprint
from privacy.release import Request, RequestHeader
from tasks.study import Study

ROOT = Path(__file__).parents[2]
COORDINATOR = {"superlink": "fed.example.org:9443"}
PREPARING = "StillPreparing: the site is preparing the study; it can be asked again"


@pytest.fixture
def notes(write_lines):
    return write_lines(*(patient(n) for n in range(12)))


@pytest.fixture
def deployed(make_site, notes):
    """Makes a site that connects to a coordinator, as far as its site.toml says."""

    def make(**changes: object):
        source = {"kind": "jsonl", "paths": [str(notes)]}
        told = {"source": source, "coordinator": COORDINATOR, "test_seed": None}
        return make_site("ash", **told | changes)

    return make


@pytest.fixture
def other() -> Study:
    """Another study with the same encoder and notes, which asks for one code more."""
    task = {"kind": "icd-coding", "codes": [*CODES, "E78"]}
    return Study.parse_table(study_table(name="other", task=task), where="other")


class Kept:
    """A `Screen` that keeps what it is shown."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.seen: list[tuple[str, int, int]] = []
        self.made: list[Embedded] = []
        self.troubles: list[str] = []

    def begins(self, study: Study) -> None:
        self.begun.append(study.name)

    def progress(self, name: str, what: str, done: int, total: int) -> None:
        self.seen.append((what, done, total))

    def ended(self, one: Embedded) -> None:
        self.made.append(one)

    def trouble(self, reason: str) -> None:
        self.troubles.append(reason)


def asked(study: Study) -> RequestHeader:
    return RequestHeader(study=study.canonical(), code=code_fingerprint())


def toml(site) -> Path:
    return site.folder / "site.toml"


def hello(site, study: Study) -> str:
    """What a coordinator is told."""
    content = ask(wire.pack_request(Request(asked(study))), site=str(toml(site))).content
    try:
        return wire.unpack_hello(content).site
    except SiteError as refused:
        return str(refused)


def records(site) -> set[bytes]:
    with closing(sqlite3.connect(site.at(site.vectors))) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'record'").fetchone():
            return set()  # its file is there before its tables are
        return {key for (key,) in database.execute("SELECT key FROM record")}


def members(site, study: Study) -> int:
    return sum(map(len, cohort.load(site, study).members.values()))


def prepare_all(site, screen: Kept | None = None) -> list[Embedded]:
    embedder = Embedder(site, screen or Kept())
    return [embedder.prepare(digest) for digest in due(site)]


# --- Hello ----------------------------------------------------------------------------------


def test_a_deployed_site_refuses_until_the_study_is_prepared_elsewhere(
    deployed, study, monkeypatch
):
    site = deployed()
    with monkeypatch.context() as patch:
        patch.setattr(cohort, "prepare", lambda *_, **__: pytest.fail("within a message"))
        assert hello(site, study) == PREPARING
        assert hello(site, study) == PREPARING
    assert list(wanted.wanted(site)) == [study.digest]
    assert not site.at(site.vectors).exists()
    (made,) = prepare_all(site)
    assert (made.reason, made.patients) == ("", 12)
    assert wanted.wanted(site) == {}
    monkeypatch.setattr(cohort, "prepare", lambda *_, **__: pytest.fail("within a message"))
    assert hello(site, study) == "ash"
    assert [line["event"] for line in site.open_log().lines()] == [
        *("request", "refused", "request", "refused", "prepared"),
        *("request", "admitted", "release"),
    ]


def test_a_site_without_a_coordinator_prepares_within_the_message(deployed, study):
    site = deployed(coordinator=None)
    assert hello(site, study) == "ash"
    assert not site.at(site.studies).exists()


def test_what_is_refused_is_not_marked(deployed, study):
    site = deployed(policy=policy_table(lifetime={"epsilon": 1.0}))
    with pytest.raises(StudyRefused):
        local.hello(site, asked(study))
    assert due(site) == []
    strict = deployed(policy=policy_table(studies="approved"))
    with pytest.raises(StudyRefused, match="awaits approval"):
        local.hello(strict, asked(study))
    assert due(strict) == []
    assert wanted.wanted(site) == {}


def test_an_approval_marks_the_study(deployed, study):
    site = deployed(policy=policy_table(studies="approved"))
    approval.decide(site, study, approve=True)
    assert list(wanted.wanted(site)) == due(site) == [study.digest]
    approval.decide(site, study, approve=False)
    assert due(site) == []
    assert wanted.wanted(site) == {}


def test_no_more_studies_wait_than_may(deployed, study, other, monkeypatch):
    monkeypatch.setattr(wanted, "MOST_WANTED", 1)
    site = deployed()
    assert hello(site, study) == hello(site, other) == hello(site, study) == PREPARING
    assert due(site) == [study.digest]
    assert len(list(site.at(site.studies).iterdir())) == 2
    prepare_all(site)
    assert hello(site, other) == PREPARING
    assert due(site) == [other.digest, study.digest]


def test_a_study_that_any_site_takes_awaits_no_decision(deployed, study):
    site = deployed()
    hello(site, study)
    assert approval.waiting(site) == []


@pytest.mark.parametrize("damage", ["cohort", "vector", "file of the cohort"])
def test_what_was_damaged_since_is_prepared_again(deployed, study, damage):
    site = deployed()
    Embedder(site, Kept()).prepare(study)
    assert hello(site, study) == "ash"
    if damage == "vector":
        with closing(sqlite3.connect(site.at(site.vectors))) as database, database:
            database.execute("UPDATE record SET sealed = zeroblob(9) WHERE id = 3")
    elif damage == "cohort":
        cohort.cohort_path(site, study).write_text("{}")
    else:
        cohort.cohort_path(site, study).unlink()
    assert hello(site, study) == PREPARING
    assert [made.reason for made in prepare_all(site)] == [""]
    assert hello(site, study) == "ash"


def test_a_split_that_changed_stops_the_site_also_where_all_is_prepared(deployed, study):
    Embedder(site := deployed(), Kept()).prepare(study)
    changed = deployed(split={"tune": 0.1, "heldout": 0.4})
    assert hello(changed, study).startswith("SiteError: the site cannot do what it was asked")
    assert hello(deployed(), study) == "ash"
    assert wanted.wanted(site) == {}


ANSWER = """
import sys
from pathlib import Path
from tasks.study import Study
from privacy.fingerprint import code_fingerprint
from privacy.release import Request, RequestHeader
from privacy import wire
from site_app import ask

site, study = sys.argv[1], Study.read(Path(sys.argv[2]))
header = RequestHeader(study=study.canonical(), code=code_fingerprint())
reply = ask(wire.pack_request(Request(header)), site=site)
try:
    said = wire.unpack_hello(reply.content)
    header = header.model_copy(update={"round": 1, "encoder": said.encoder})
    reply = ask(wire.pack_request(Request(header, study.initial())), "train", site=site)
    wire.unpack_release(reply.content, contract=study.contract())
    print("trained")
except Exception as error:
    print(error)
print(*({"sentence_transformers", "transformers", "tokenizers"} & set(sys.modules)))
"""


def in_a_process(code: str, *words: object, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


@pytest.mark.slow
def test_who_answers_messages_never_loads_an_encoder(deployed, tmp_path):
    table = study_table(encoder={"kind": "sentence-transformer"}, sample_rate=1.0, rounds=1)
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(table))
    site = deployed(policy=policy_table(lifetime={"epsilon": 20.0}))
    shown = in_a_process(ANSWER, toml(site), file)
    assert shown.stdout == f"{PREPARING}\n\n", shown.stderr
    (made,) = prepare_all(site)
    assert made.notes >= 12, made.reason
    assert made.device is not None
    shown = in_a_process(ANSWER, toml(site), file)
    assert shown.stdout == "trained\n\n", shown.stderr


# --- Preparing ------------------------------------------------------------------------------


def test_an_encoder_is_loaded_once_for_all_studies(deployed, study, other, monkeypatch):
    loads = []
    load = Hashing.load
    monkeypatch.setattr(Hashing, "load", lambda *args: loads.append(1) or load(*args))
    site = deployed()
    hello(site, study), hello(site, other)
    approval.keep(
        site, wide := Study.parse_table(study_table(encoder={"kind": "hashing"}), where="")
    )
    made = prepare_all(site, screen := Kept())
    assert [one.study for one in made] == screen.begun == ["tiny", "other", "tiny"]
    assert made[0].notes == 12 + 8  # the notes, and what the outputs mean
    assert made[0].chunks >= made[0].notes
    assert (made[1].notes, made[1].device) == (1, "cpu")
    assert (made[2].notes, made[2].device) == (20, "cpu")
    assert (made[2].digest, len(loads)) == (wide.digest, 2)
    assert ("embedding", 20, 20) in screen.seen
    assert "20 notes embedded" in made[0].said
    assert "a second on cpu" in made[0].said


def test_a_study_that_fails_is_told_and_the_others_go_on(deployed, study, other, notes):
    site = deployed()
    hello(site, study)
    approval.keep(site, other)
    (site.at(site.studies) / f"{study.digest}.json").write_text("{}")
    first, second = prepare_all(site)
    assert (first.study, first.digest) == ("", study.digest)
    assert "could not be prepared: " in first.said
    assert (second.study, second.reason) == ("other", "")


def test_a_coordinator_is_told_of_a_failure_in_place_of_being_put_off(deployed, study, notes):
    site = deployed()
    hello(site, study)
    good = notes.read_text()
    notes.write_text(good + '{"id": "Zebulon"\n')
    (made,) = prepare_all(site)
    assert made.reason == "patients.jsonl line 13: is not JSON; mend or remove the line"
    with pytest.raises(SourceBroken, match=r"could not be prepared; see logs/embed\.log"):
        local.hello(site, asked(study))
    # It was marked anew, and may have been mended since.
    assert hello(site, study) == PREPARING
    prepare_all(site)
    assert hello(site, study) == (
        "SourceBroken: the site's source cannot be used; its operator sees why in the site's log"
    )
    notes.write_text(good)
    prepare_all(site)
    assert hello(site, study) == "ash"


def test_what_no_site_error_says_is_not_told(deployed, study, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("Zebulon Quagmire")

    monkeypatch.setattr(Hashing, "load", broken)
    site = deployed()
    hello(site, study)
    (made,) = prepare_all(site)
    assert made.reason.startswith("RuntimeError at test_embed.py:")
    assert "Zebulon" not in made.reason
    with pytest.raises(SiteError, match=r"could not be prepared \(RuntimeError\)") as error:
        local.hello(site, asked(study))
    assert error.value.aloud == SiteError.public


def test_a_study_that_breaks_the_policy_is_not_embedded(deployed, study):
    site = deployed(policy=policy_table(encoders=["sentence-transformer"]))
    made = Embedder(site, Kept()).prepare(study)
    assert "policy.encoders allows sentence-transformer" in made.reason
    assert not site.at(site.vectors).exists()


def test_a_study_may_be_embedded_before_it_is_approved(deployed, study):
    site = deployed(policy=policy_table(studies="approved"))
    assert Embedder(site, Kept()).prepare(study).reason == ""
    with pytest.raises(StudyRefused, match="awaits approval"):
        local.hello(site, asked(study))
    approval.decide(site, study, approve=True)
    assert hello(site, study) == "ash"
    assert purge_study(site, study.digest).records > 0
    assert "was revoked" in Embedder(site, Kept()).prepare(study).reason


def test_a_study_that_ran_to_its_end_is_left_alone(deployed, study):
    site = deployed(policy=policy_table(lifetime={"epsilon": 20.0}))
    hello(site, study)
    prepare_all(site)
    said = local.hello(site, asked(study))
    for number in range(1, study.rounds + 1):
        assert due(site) == [study.digest]
        header = asked(study).model_copy(update={"round": number, "encoder": said.encoder})
        local.train(site, study, header, study.initial())
    assert due(site) == []
    cohort.cohort_path(site, study).unlink()
    assert hello(site, study) == PREPARING
    assert due(site) == [study.digest]


# --- Watching -------------------------------------------------------------------------------


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


def test_a_source_that_cannot_tell_is_read_by_the_clock(deployed, study, notes, monkeypatch):
    monkeypatch.setattr("client.sources.jsonl.Jsonl.state", lambda *_, **__: None)
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=0.3, screen=Kept())
    assert [one.notes for one in watch.step()] == [20]
    assert watch.step() == []
    time.sleep(0.4)
    assert [one.notes for one in watch.step()] == [0]


def test_a_study_that_waits_does_not_wait_for_the_clock(deployed, study, other, monkeypatch):
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=3600, screen=Kept())
    assert [one.study for one in watch.step()] == ["tiny"]
    hello(site, other)
    assert [one.study for one in watch.step()] == ["other"]
    assert watch.step() == []


def test_who_fails_is_tried_again_by_the_clock_or_when_asked(deployed, study, notes):
    notes.write_text("[]\n")
    site = deployed()
    hello(site, study)
    watch = Watch(toml(site), every=0.5, screen=Kept())
    assert [bool(one.reason) for one in watch.step()] == [True]
    assert watch.step() == []
    hello(site, study)
    assert [bool(one.reason) for one in watch.step()] == [True]
    time.sleep(0.6)
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
    time.sleep(0.3)
    slow.goes_on.set()
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
    later = threading.Timer(0.3, slow.goes_on.set)
    later.start()
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
    def encode(self, texts):
        time.sleep(0.5)
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
        end = time.monotonic() + 60
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
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_preparing_site_says_one_constant_sentence():
    assert StillPreparing("study 3f takes 61 patients").aloud == PREPARING.partition(": ")[2]
