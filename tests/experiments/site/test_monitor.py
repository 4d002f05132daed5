"""What a running site shows on this machine: true figures, on loopback, nothing of a patient."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from builders import CODES, study_table
from canaries import assert_clean, written
from deployment import Daemon, fedward, until
from watched import PATIENTS, Asking, get, metrics, real_site

from client.site import Site
from experiments.said import Event
from experiments.site import monitor_http
from experiments.site.monitor import Monitor
from experiments.site.monitor_http import Page, PageServer
from privacy.errors import SiteError
from privacy.fingerprint import code_fingerprint
from tasks.study import Study

TINY = Study.parse_table(study_table(), where="tiny")


@dataclass
class Watched:
    """A site whose daemon runs and finds no coordinator."""

    site: Site
    asking: Asking
    daemon: Daemon

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.daemon.said.splitlines()]


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[Watched]:
    """A round is asked for before the daemon starts, and all others while it runs."""
    site = real_site(tmp_path_factory.mktemp("watched") / "ash")
    asking = Asking(site, TINY)
    header = asking.hello()
    asking.train(header, 1)
    toml = site.folder / "site.toml"
    home = tmp_path_factory.mktemp("home")
    daemon = Daemon.start(home, "site", "run", "--site", toml, "--log-format", "json")
    try:
        daemon.says("cannot connect: nothing listens")
        daemon.says("monitor answers")
        for number in (2, 2):
            asking.train(header, number)
        asking.nonsense()
        (site.folder / "notes.jsonl").write_text('{"id": "p-quagmire", "MRN-4711-0815"')
        second = Asking(site, Study.parse_table(study_table(name="second"), where="x"))
        with pytest.raises(SiteError, match="StillPreparing"):
            second.hello(prepared=False)
        daemon.says("could not be prepared")
        with pytest.raises(SiteError, match="SourceBroken"):
            second.hello(prepared=False)
        daemon.says('"error": "SourceBroken"')
        until(lambda: get(site, "/metrics").status_code == 200, lambda: daemon.logs("/metrics"))
        yield Watched(site, asking, daemon)
    finally:
        daemon.stop()


def listening(port: int) -> set[str]:
    """Addresses, as the kernel writes them, on which anybody listens at a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, number = local.split(":")
            if int(number, 16) == port and state == "0A":
                found.add(address)
    return found


@pytest.mark.slow
def test_the_metrics_are_those_of_ledger_log_and_store(watched):
    site, ledger = watched.site, watched.site.open_ledger()
    expected = ledger.epsilon(delta=site.policy.lifetime.delta)
    until(
        lambda: metrics(site)["fedward_site_epsilon_spent{cohort=train}"] == expected,
        lambda: str(metrics(site)),
    )
    found = metrics(site)
    heldout = ledger.epsilon(delta=site.policy.heldout.delta, cohort="heldout")
    assert found["fedward_site_epsilon_left{cohort=train}"] == pytest.approx(20 - expected)
    assert found["fedward_site_epsilon_spent{cohort=heldout}"] == pytest.approx(heldout)
    assert found["fedward_site_epsilon_left{cohort=heldout}"] == pytest.approx(2 - heldout)
    assert found["fedward_site_charges_total{cohort=train}"] == len(ledger.spends()) == 2
    assert found["fedward_site_rounds_trained_total"] == 2
    assert found["fedward_site_replays_total"] == 1
    assert found["fedward_site_refusals_total{error=ReleaseBlocked}"] == 1
    assert found["fedward_site_refusals_total{error=SourceBroken}"] == 1
    assert found["fedward_site_message_duration_seconds_count{kind=train}"] == 4
    assert found["fedward_site_training_duration_seconds_count"] == 2
    assert found["fedward_site_ledger_intact"] == found["fedward_site_audit_log_intact"] == 1
    assert found["fedward_site_node_up"] == 0
    assert found["fedward_site_restarts_total{child=node}"] == 0
    released = [line["at"] for line in site.open_log().lines() if line["event"] == "release"][-1]
    at = found["fedward_site_last_release_timestamp_seconds"]
    assert at == pytest.approx(datetime.fromisoformat(released).timestamp(), abs=1e-3)
    code = f"fedward_site_build_info{{code={code_fingerprint()},version=0.1.0}}"
    assert found[code] == 1
    assert "fedward_site_store_quota_bytes" not in found


@pytest.mark.slow
def test_no_true_number_of_patients_or_notes_is_on_the_metrics(watched):
    found = metrics(watched.site)
    assert found["fedward_site_embedded_texts"] == 0
    assert found["fedward_site_store_bytes"] % 1_000_000 == 0
    bins = {value for name, value in found.items() if "_bucket" not in name}
    texts = PATIENTS + len(CODES)
    assert not {PATIENTS, texts, PATIENTS - 1, texts - 1} & bins


@pytest.mark.slow
def test_health_says_what_is_wrong(watched):
    answer = get(watched.site, "/healthz")
    assert answer.status_code == 503
    told = answer.json()
    assert (told["status"], told["site"]) == ("failing", "ash")
    (reason,) = told["reasons"]
    assert reason.startswith("the node is not connected: cannot connect: nothing listens at 127.")


@pytest.mark.slow
def test_the_monitor_listens_on_loopback_alone(watched):
    assert listening(watched.site.coordinator.monitor) == {"0100007F"}


@pytest.mark.slow
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "",
                                  "127.0.0.1.evil.example", "localhost.:{port}"])  # fmt: skip
def test_a_name_that_was_made_to_mean_this_machine_gets_nothing(watched, host):
    host = host.format(port=watched.site.coordinator.monitor)
    for path in ("/metrics", "/healthz"):
        answer = get(watched.site, path, Host=host)
        assert (answer.status_code, answer.text) == (403, "403\n")


@pytest.mark.slow
def test_this_machines_own_names_are_answered(watched):
    port = watched.site.coordinator.monitor
    for host in ("localhost", f"localhost:{port}", "127.0.0.1", f"LOCALHOST:{port}"):
        assert get(watched.site, "/metrics", Host=host).status_code == 200


def raw(port: int, text: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(text.encode())
        found = b""
        while part := connection.recv(65536):
            found += part
        return found.decode()


@pytest.mark.slow
@pytest.mark.parametrize("hosts", ["", "Host: localhost\r\nHost: evil.example\r\n"])
def test_a_request_names_one_host(watched, hosts):
    port = watched.site.coordinator.monitor
    assert raw(port, f"GET /metrics HTTP/1.0\r\n{hosts}\r\n").startswith("HTTP/1.0 403 ")


@pytest.mark.slow
def test_there_are_two_pages_to_get_and_nothing_else(watched):
    site = watched.site
    for path in ("/", "/metrics/", "/healthz/x", "/../site.toml", "/debug"):
        assert get(site, path).status_code == 404
    port = site.coordinator.monitor
    whole = raw(port, "GET http://localhost/metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert whole.startswith("HTTP/1.0 404 ")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"):
        answer = get(site, "/metrics", method=method)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    head = get(site, "/healthz", method="HEAD")
    assert (head.status_code, head.content) == (503, b"")
    assert int(head.headers["content-length"]) > 100
    assert get(site, "/metrics?a=b").status_code == 200
    assert "Python" not in head.headers["server"]


@pytest.mark.slow
def test_events_are_json_and_tell_only_what_happened_since_the_start(watched):
    events = watched.events()
    for event in events:
        assert {"time", "level", "event", "text"} <= set(event)
    releases = [event for event in events if event["event"] == "release"]
    assert [(event["what"], event["round"]) for event in releases] == [("train", 2)] * 2
    assert {event["study"] for event in releases} == {TINY.digest}
    refused = [event for event in events if event["event"] == "refused"]
    assert [event["error"] for event in refused] == [
        *("ReleaseBlocked", "StillPreparing", "SourceBroken")
    ]
    assert {event["level"] for event in refused} == {"warning"}
    failed = [event["text"] for event in events if "could not be prepared: " in event["text"]]
    assert failed
    assert all("notes.jsonl" in text for text in failed)


@pytest.mark.slow
def test_no_canary_is_in_what_is_said_served_or_kept(watched, tmp_path):
    site = watched.site
    shown = fedward(tmp_path, "site", "status", "--site", site.folder / "site.toml",
                    "--json", tmp_path / "status.json")  # fmt: skip
    assert_clean("status", (shown.stdout + shown.stderr).encode())
    for path, content in written(tmp_path):
        assert_clean(path, content)
    assert_clean("the daemon's output", watched.daemon.said.encode())
    for path in ("/metrics", "/healthz"):
        assert_clean(path, get(site, path).content)
    for path, content in written(site.folder):
        if path.name != "notes.jsonl":
            assert_clean(path, content)


@pytest.mark.slow
def test_status_of_a_running_site_says_what_its_daemon_sees(watched, tmp_path):
    file = tmp_path / "status.json"
    toml = watched.site.folder / "site.toml"
    shown = fedward(tmp_path, "site", "status", "--site", toml, "--json", file)
    assert shown.returncode == 1
    told = json.loads(file.read_text())
    assert told["daemon"]["process"] == watched.daemon.process.pid
    assert told["daemon"]["monitor"] == watched.site.coordinator.monitor
    assert told["daemon"]["children"]["node"]["state"] == "waiting"
    assert told["refusals"] == {"ReleaseBlocked": 1, "StillPreparing": 1, "SourceBroken": 1}
    assert told["rounds_trained"] == 2
    assert told["store"]["texts"] == PATIENTS + len(CODES)
    assert "WRONG: the node is not connected: cannot connect" in shown.stdout


@pytest.fixture
def monitor(tmp_path):
    """Makes a monitor in this process, and steps it until it says something."""
    made: list[Monitor] = []
    said: list[str] = []

    def make(site: Site) -> tuple[Monitor, list[str]]:
        made.append(Monitor(site, said.append))
        return made[-1], said

    yield make
    for one in made:
        one.stop()


def stepping(one: Monitor, done, seconds: float = 60) -> None:
    def step() -> bool:
        one.step()
        return bool(done())

    until(step, lambda: "it did not come to that", seconds)


def test_a_taken_port_is_one_line_and_is_tried_again(tmp_path, monitor, monkeypatch):
    monkeypatch.setattr("experiments.site.monitor.RETRY_SECONDS", 0.1)
    site = real_site(tmp_path / "ash")
    port = site.coordinator.monitor
    with socket.create_server(("127.0.0.1", port)):
        one, said = monitor(site)
        end = time.monotonic() + 1
        stepping(one, lambda: time.monotonic() > end)
        (line,) = [line for line in said if "monitor" in line]
        assert line == (
            f"monitor: port {port} of 127.0.0.1 is taken (Address already in use); set another "
            "coordinator.monitor in site.toml; tried again each 0.1 s"
        )
    stepping(one, lambda: any("monitor answers" in line for line in said))
    assert get(site, "/healthz").status_code == 503


def test_zero_serves_nothing(tmp_path, monitor):
    site = real_site(tmp_path / "ash")
    coordinator = site.coordinator.model_copy(update={"monitor": 0})
    one, said = monitor(site.model_copy(update={"coordinator": coordinator}))
    for _ in range(3):
        one.step()
    assert said == []


def test_a_site_is_well_while_its_node_is_connected_and_its_files_hold(tmp_path, monitor):
    site = real_site(tmp_path / "ash")
    Asking(site, TINY).rounds()
    one, said = monitor(site)
    stepping(one, lambda: "monitor answers" in "".join(said))
    until(lambda: get(site, "/metrics").status_code == 200, lambda: "no look")
    assert get(site, "/healthz").json()["reasons"] == ["the node has not started yet"]
    one.say(Event("node started, process 1", "started", child="node", process=1))
    assert get(site, "/healthz").status_code == 503
    one.say(Event("node connected", "connected", child="node"))
    answer = get(site, "/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    one.say(Event("node ended", "ended", child="node", why="ended with signal 9"))
    assert get(site, "/healthz").json()["reasons"] == [
        "the node is not connected: ended with signal 9"
    ]
    for _ in range(2):
        one.say(Event("node started", "started", child="node", process=2))
    assert metrics(site)["fedward_site_restarts_total{child=node}"] == 2


def test_a_ledger_that_was_put_back_makes_a_site_ill(tmp_path, monitor):
    site = real_site(tmp_path / "ash")
    asking = Asking(site, TINY)
    header = asking.hello()
    before = site.at(site.ledger).read_bytes()
    asking.train(header, 1)
    one, said = monitor(site)
    one.say(Event("node connected", "connected", child="node"))
    stepping(one, lambda: "monitor answers" in "".join(said))
    until(lambda: get(site, "/healthz").status_code == 200, lambda: get(site, "/healthz").text)
    site.at(site.ledger).write_bytes(before)
    until(lambda: get(site, "/healthz").status_code == 503, lambda: "still well")
    (reason,) = get(site, "/healthz").json()["reasons"]
    assert reason.startswith("the ledger is broken: ledger.sqlite: ")
    found = metrics(site)
    assert found["fedward_site_ledger_intact"] == 0
    assert not [name for name in found if "epsilon" in name or "waiting" in name]


def test_a_disk_that_is_nearly_full_and_a_log_that_was_edited_make_a_site_ill(
    tmp_path, monitor, monkeypatch
):
    monkeypatch.setattr("experiments.site.monitor.free_bytes", lambda _: 5e8)
    site = real_site(tmp_path / "ash")
    Asking(site, TINY).hello()
    log = site.at(site.audit_log)
    log.write_text(log.read_text().replace('"admitted"', '"purged"'))
    one, said = monitor(site)
    one.say(Event("node connected", "connected", child="node"))
    stepping(one, lambda: "monitor answers" in "".join(said))
    until(lambda: "starting" not in get(site, "/healthz").text, lambda: "no look")
    log_broken, full = get(site, "/healthz").json()["reasons"]
    assert log_broken.startswith("the audit log is broken: audit.jsonl: line 2 was edited")
    assert full == "the disk is nearly full: 0.50 GB free, less than 1 GB; make room"


def test_a_daemon_whose_loop_stands_still_is_ill(tmp_path, monitor, monkeypatch):
    site = real_site(tmp_path / "ash")
    one, said = monitor(site)
    one.say(Event("node connected", "connected", child="node"))
    stepping(one, lambda: "monitor answers" in "".join(said))
    until(lambda: get(site, "/healthz").status_code == 200, lambda: get(site, "/healthz").text)
    monkeypatch.setattr("experiments.site.monitor.STALE_SECONDS", 0.3)
    time.sleep(0.5)
    assert get(site, "/healthz").json()["reasons"] == ["the daemon stands still; start it again"]


def test_who_holds_connections_open_does_not_hold_up_others_for_long(monkeypatch):
    monkeypatch.setattr(monitor_http._Handler, "timeout", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = PageServer(port, {"/x": lambda: Page(b"x", "text/plain")})
    try:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return "200" in raw(port, "GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return False

        until(answers, lambda: "nobody else was answered", 15)
        for one in idle:
            one.close()
    finally:
        server.close()
