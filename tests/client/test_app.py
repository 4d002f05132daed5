"""The ClientApp's guard: nothing but what a SiteError says aloud gets out."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tomli_w
from builders import study_table
from flwr.app import Context, Message, RecordDict
from site_app import ask

from client.app import sealed
from privacy import wire
from privacy.errors import SiteError, StudyRefused

ROOT = Path(__file__).parents[2]
CANARY = "Zebulon Quagmire, record 4711"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError(CANARY), "ValueError: failed; the site's own log says where"),
        (KeyError(CANARY), "KeyError: failed; the site's own log says where"),
        (StudyRefused("policy.tasks allows none"), "StudyRefused: policy.tasks allows none"),
    ],
)
def test_an_error_leaves_as_its_name_or_as_what_its_author_wrote(error, said, caplog, monkeypatch):
    def broken(_message: Message, _context: Context) -> Message:
        raise error

    sent = {}
    nobody = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    monkeypatch.setattr(
        "client.app.Message", lambda content, reply_to: sent.update(content=content) or content
    )
    with caplog.at_level(logging.DEBUG):
        sealed(SimpleNamespace(metadata=SimpleNamespace(message_type="train")), nobody, broken)
    with pytest.raises(SiteError) as back:
        wire.unpack_hello(sent["content"])
    assert str(back.value) == said
    assert CANARY not in caplog.text
    assert type(error).__name__ in caplog.text


def test_a_node_without_a_site_says_what_to_do_in_its_own_log(caplog):
    content = wire.pack_refusal(SiteError("not a request"))
    reply = ask(content)
    with pytest.raises(SiteError, match="SiteError: the site cannot do what it was asked"):
        wire.unpack_hello(reply.content)
    assert "this node has no site; start it with" in caplog.text


def test_a_site_file_with_a_mistake_does_not_get_out(tmp_path, study):
    path = tmp_path / "site.toml"
    path.write_text(f'name = "{CANARY}"')
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    request = Request(RequestHeader(study=study.canonical(), code=code_fingerprint()))
    reply = ask(wire.pack_request(request), site=str(path))
    with pytest.raises(SiteError) as error:
        wire.unpack_hello(reply.content)
    assert str(error.value) == "ValueError: failed; the site's own log says where"


def test_a_real_site_with_a_test_seed_takes_no_part(make_site, study, caplog):
    site = make_site("ash")
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    request = Request(RequestHeader(study=study.canonical(), code=code_fingerprint()))
    reply = ask(wire.pack_request(request), site=str(site.folder / "site.toml"))
    with pytest.raises(SiteError, match="the site cannot do what it was asked"):
        wire.unpack_hello(reply.content)
    assert "test_seed is set" in caplog.text


def test_the_audit_log_tells_of_every_request_decision_spend_and_release(make_site, study):
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    site = make_site("ash", test_seed=None)
    toml = str(site.folder / "site.toml")
    header = RequestHeader(study=study.canonical(), code=code_fingerprint())
    said = wire.unpack_hello(ask(wire.pack_request(Request(header)), site=toml).content)
    header = header.model_copy(update={"round": 1, "encoder": said.encoder})
    request = wire.pack_request(Request(header, study.initial()))
    for _ in range(2):
        reply = ask(request, "train", site=toml)
    ask(wire.pack_refusal(SiteError("not a request")), site=toml)
    lines = site.open_log().lines()
    assert [line["event"] for line in lines] == [
        *("request", "prepared", "admitted", "release"),
        *("request", "admitted", "spend", "spend", "release"),
        *("request", "admitted", "replay", "release"),
        *("request", "refused"),
    ]
    assert {line["study"] for line in lines if "study" in line} == {study.digest}
    first, again = (line for line in lines if line.get("what") == "update and tallies")
    assert first["digest"] == again["digest"] == wire.digest(reply.content)
    assert first["bytes"] == wire.count_bytes(reply.content)
    assert [line["cohort"] for line in lines if line["event"] == "spend"] == ["train", "heldout"]
    assert lines[-1]["error"] == "ReleaseBlocked"
    assert lines[-1]["severity"] == "warning"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e7])
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_weights_that_no_study_starts_from_cost_nothing_and_are_not_scored(
    make_site, study, kind, value
):
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    site = make_site("ash", test_seed=None)
    toml = str(site.folder / "site.toml")
    header = RequestHeader(study=study.canonical(), code=code_fingerprint())
    said = wire.unpack_hello(ask(wire.pack_request(Request(header)), site=toml).content)
    weights = {name: array.copy() for name, array in study.initial().items()}
    next(iter(weights.values())).flat[0] = value
    header = header.model_copy(update={"round": 1, "encoder": said.encoder})
    ask(wire.pack_request(Request(header, weights)), kind, site=toml)
    assert site.open_log().lines()[-1]["error"] == "ReleaseBlocked"
    assert site.open_ledger().spends() == site.open_ledger().spends(cohort="heldout") == ()


def test_what_cannot_be_logged_does_not_leave(make_site, study, monkeypatch):
    """A full disk: the update stays, the charge stands."""
    from privacy.audit_log import AuditLog
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    site = make_site("ash", test_seed=None)
    toml = str(site.folder / "site.toml")
    header = RequestHeader(study=study.canonical(), code=code_fingerprint())
    said = wire.unpack_hello(ask(wire.pack_request(Request(header)), site=toml).content)
    header = header.model_copy(update={"round": 1, "encoder": said.encoder})
    write = AuditLog.write

    def full(self: AuditLog, event: str, **what: object) -> None:
        if event == "release":
            raise OSError("no space left")
        write(self, event, **what)

    monkeypatch.setattr(AuditLog, "write", full)
    reply = ask(wire.pack_request(Request(header, study.initial())), "train", site=toml)
    assert set(reply.content) == {"refusal"}
    assert len(site.open_ledger().spends()) == 1


# --- A message that hangs -------------------------------------------------------------------

HANGS = """
import itertools, signal, sys, time
from pathlib import Path
import client.app
from client import local
from privacy import wire
from privacy.errors import SiteError
from privacy.fingerprint import code_fingerprint
from privacy.release import Request, RequestHeader
from site_app import ask
from tasks.study import Study

site, study, how = sys.argv[1], Study.read(Path(sys.argv[2])), sys.argv[3]
client.app.KILL_SECONDS = 4.0 if how == "waits" else 1.0
note = "Zebulon Quagmire, record 4711"

def hang(site, header):
    if how == "waits":
        time.sleep(60)
    if how == "holds":
        0 in itertools.repeat(1)  # in C for ever, with the interpreter's lock
    while how == "swallows":
        try:
            time.sleep(60)
        except Exception:
            pass
    return answered(site, header)

answered, local.admitted = local.admitted, hang
header = RequestHeader(study=study.canonical(), code=code_fingerprint())
reply = ask(wire.pack_request(Request(header)), site=site)
try:
    wire.unpack_hello(reply.content)
except SiteError as error:
    print(error)
if how == "waits":
    time.sleep(5)  # who was done in time is not ended later
print(signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM))
"""

GAVE_UP = "TookTooLong: the site gave up on a message that took longer than it allows"


@pytest.fixture
def hanging(make_site, tmp_path):
    """Runs a message that hangs in a process of its own."""
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(study_table()))

    def run(how: str, **changes: object) -> subprocess.CompletedProcess[str]:
        limit = {"superlink": "fed.example.org:9443", "longest_message_minutes": 0.02}
        site = make_site("ash", **{"coordinator": limit, "test_seed": None} | changes)
        return subprocess.run(
            [sys.executable, "-c", HANGS, str(site.folder / "site.toml"), str(file), how],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def test_a_message_that_hangs_is_refused_and_the_node_goes_on(hanging):
    shown = hanging("waits")
    assert shown.returncode == 0, shown.stderr
    refusal, after = shown.stdout.splitlines()
    assert refusal == f"{GAVE_UP}; its operator sees why in the site's log"
    assert after == "(0.0, 0.0) 0"
    assert "query.hello message took longer than coordinator.longest_message_min" in shown.stderr


@pytest.mark.parametrize("how", ["holds", "swallows"])
def test_where_that_does_not_help_the_process_ends(hanging, how):
    shown = hanging(how)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "Timeout" in shown.stderr
    assert CANARY not in shown.stderr


def test_a_message_in_time_is_left_alone(hanging, study):
    limit = {"superlink": "fed.example.org:9443", "longest_message_minutes": 30}
    shown = hanging("answers", coordinator=limit)
    assert shown.stdout.splitlines()[0].startswith("StillPreparing")
    assert shown.stdout.splitlines()[1] == "(0.0, 0.0) 0"
    assert "Timeout" not in shown.stderr


def test_nothing_is_timed_where_processes_are_shared(make_site, study, monkeypatch):
    """A simulation's: its sites have no coordinator."""
    armed = []
    monkeypatch.setattr("client.app.signal.setitimer", lambda *_: armed.append(1))
    monkeypatch.setattr("client.app.faulthandler.dump_traceback_later", lambda *_: armed.append(1))
    site = make_site("ash", test_seed=None)
    from privacy.fingerprint import code_fingerprint
    from privacy.release import Request, RequestHeader

    header = RequestHeader(study=study.canonical(), code=code_fingerprint())
    reply = ask(wire.pack_request(Request(header)), site=str(site.folder / "site.toml"))
    assert wire.unpack_hello(reply.content).site == "ash"
    assert armed == []
