"""Real processes: a SuperLink and gated nodes, what they let in, write, send and connect to."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders import deployed_site_table, study_table
from canaries import CANARIES, found, with_canaries, written
from federation import BIN, ROOT, Federation, Node, free_port, write_site

from privacy.bundle import NOTE, bundle, bundle_files, bundle_hash, write_bundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning"),
]

GUARD = ROOT / "tests" / "guard"
MARK = "planted-was-here"
PLANTED = f"""import os
from pathlib import Path
Path(os.environ["FLWR_HOME"], "{MARK}").write_text("ran")
from flwr.clientapp import ClientApp
app = ClientApp()
"""
REFUSED = "the site refused the bundle; both sides must install the same version of fedward"


@dataclass
class Ran:
    """A run that is over."""

    status: tuple[str, str, str]
    folder: Path

    @property
    def journal(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for line in (self.folder / "journal.jsonl").read_text().splitlines()
        ]

    def refused(self) -> dict[str, str]:
        events = self.journal
        return {e["site"]: e["reason"] for e in events if e["event"] == "refused"}


@pytest.fixture(scope="module")
def federation(tmp_path_factory) -> Iterator[Federation]:
    """Two gated sites in a hostile environment: Flower is told to call home, by a dead proxy."""
    federation = Federation(tmp_path_factory.mktemp("federation"))
    try:
        federation.start()
        for name in ("ash", "birch"):
            lines = [with_canaries(number) for number in range(40)]
            env = watched(federation.folder / name)
            federation.add_site(name, deployed_site_table(name), lines, **env)
        yield federation
    finally:
        federation.close()


def watched(folder: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": f"{ROOT}:{GUARD}",
        "FEDWARD_TEST_TARGETS": str(folder / "targets.jsonl"),
        "FEDWARD_TEST_BREAK": str(broken_by(folder)),
        "FLWR_TELEMETRY_ENABLED": "1",
        "https_proxy": f"http://127.0.0.1:{free_port()}",
        "no_proxy": "127.0.0.1",
    }


def broken_by(folder: Path) -> Path:
    """What makes a node's training fail while it exists."""
    return folder / "break.txt"


@pytest.fixture(scope="module")
def run(federation, tmp_path_factory) -> Callable[..., Ran]:
    """Runs a tiny private study to its end."""

    def run(name: str, submit: Callable[..., int], **changes: Any) -> Ran:
        study = tmp_path_factory.mktemp("study") / f"{name}.toml"
        # At rate 1 the noise is found in no time; each of the many processes looks for it.
        table = study_table(name=name, sample_rate=1.0, **changes)
        study.write_text(tomli_w.dumps(table), "utf-8")
        home = federation.folder / "home"
        nodes = sum(node.process.poll() is None for node in federation.nodes.values())
        number = submit(study=str(study), home=str(home), run=name, nodes=nodes)
        return Ran(federation.wait(number), home / "runs" / name)

    return run


@pytest.fixture(scope="module")
def whole(federation, run, tmp_path_factory) -> Ran:
    """A study that goes well, submitted by Flower's own command."""
    folder = write_bundle(tmp_path_factory.mktemp("bundle"))
    return run("whole", lambda **config: federation.flwr_run(folder, **config))


@pytest.fixture(scope="module")
def failing(federation, run, whole) -> Ran:
    """A study in which training fails at birch, with the canaries in the exception."""
    words = broken_by(federation.nodes["birch"].folder)
    words.write_text(" ".join(CANARIES))
    try:
        return run(
            "failing",
            lambda **config: federation.submit(bundle(), **config),
            strategy={"kind": "fedavg", "minimum_sites": 2},
        )
    finally:
        words.unlink()


@pytest.fixture(scope="module")
def planted(federation, run, failing) -> Ran:
    """A bundle with code for the ClientApp, sent to the gated nodes and to one without a gate."""
    folder = federation.folder / "open"
    site = write_site(folder, deployed_site_table("open"), [with_canaries(1)])
    federation.add_node(
        "open",
        [BIN / "flower-supernode", "--node-config", f'site="{site}"'],
        **watched(folder) | {"FLWR_HOME": str(folder / "flower")},
    )
    try:
        return run("planted", lambda **config: federation.submit(with_code(), **config))
    finally:
        federation.stop("open")


def with_code() -> bytes:
    """The thin bundle with the same apps, and a file that stands in for `client.app`."""
    from flwr.cli.build import build_fab_from_files

    files = bundle_files()
    line = f'"{NOTE}",\n'
    project = files["pyproject.toml"].decode().replace(line, line + '    "client/*.py",\n')
    return build_fab_from_files(
        files
        | {"pyproject.toml": project.encode()}
        | {"client/__init__.py": b"", "client/app.py": PLANTED.encode()}
    )[0]


def everything(federation: Federation) -> Iterator[tuple[object, bytes]]:
    """All that was written, but for what the test wrote to begin with; all that was sent."""
    for path, content in written(federation.folder):
        if path.name != "notes.jsonl":
            yield path, content
    for name, node in federation.nodes.items():
        yield f"what {name} sent", node.proxy.sent()
        yield f"what {name} was sent", node.proxy.received()


def test_a_private_study_runs_to_its_end_through_the_gate(federation, whole):
    assert whole.status[:2] == ("finished", "completed"), federation.logs()
    *_, end = whole.journal
    assert end["event"] == "end"
    assert end["reason"] is None
    assert Path(end["weights"]) == whole.folder / "final.safetensors"
    assert Path(end["weights"]).stat().st_size > 0
    assert whole.refused() == {}
    replies = [event["site"] for event in whole.journal if event["event"] == "reply"]
    assert sorted(replies) == ["ash"] * 3 + ["birch"] * 3


def test_nothing_but_the_bundle_of_this_installation_is_unpacked_at_a_site(federation, planted):
    for name in ("ash", "birch"):
        (unpacked,) = (federation.nodes[name].folder / "flower" / "apps").iterdir()
        assert unpacked.name.endswith(f".{bundle_hash()[:8]}")
        assert {path.name for path in unpacked.iterdir()} == {"pyproject.toml", NOTE}


def test_a_bundle_with_other_code_is_refused_and_its_code_never_runs(federation, planted):
    import hashlib

    nodes = federation.nodes
    assert sorted(planted.refused().values()) == [
        *(REFUSED, REFUSED, "the site's part of Flower failed; its own log says where")
    ]
    # What the same bundle does where there is no gate.
    assert (nodes["open"].folder / "flower" / MARK).is_file()
    assert planted_in(nodes["open"])
    for name in ("ash", "birch"):
        assert not list(nodes[name].folder.rglob(MARK))
        assert not planted_in(nodes[name])
        (line,) = [line for line in nodes[name].log.splitlines() if "refused bundle" in line]
        assert line.startswith(f"refused bundle {hashlib.sha256(with_code()).hexdigest()} of run")
        assert f"this installation's is {bundle_hash()}; install" in line


def planted_in(node: Node) -> list[Path]:
    """Files of a node that hold anything of the planted code."""
    return [path for path, content in written(node.folder) if MARK.encode() in content]


def test_a_site_that_fails_says_only_what_failed(federation, failing):
    assert failing.status[:2] == ("finished", "failed"), federation.logs()
    assert failing.journal[-1]["reason"] == "1 sites take part, the study needs 2"
    assert failing.refused() == {"birch": "ValueError: failed; the site's own log says where"}
    assert "ValueError at sitecustomize.py" in federation.nodes["birch"].log


def test_the_canaries_are_in_nothing_that_was_written_or_sent(federation, whole, failing, planted):
    names = {path.name for path, _ in written(federation.folder)}
    assert names > {"state.db", "mlflow.db", "journal.jsonl", "ledger.sqlite", "vectors.sqlite"}
    assert names > {"final.safetensors", "cohorts", "log.txt", "tmp"}
    assert [where for where, content in everything(federation) if found(content)] == []


def test_the_search_finds_what_is_there(federation, whole, failing, planted):
    for name in ("ash", "birch"):
        node = federation.nodes[name]
        assert found((node.folder / "notes.jsonl").read_bytes()) == list(CANARIES)
        # What a site does send is found in its traffic, so nothing hides it: no compression,
        # no encryption, no encoding; and in what the coordinator writes.
        assert found(node.proxy.sent(), [name]) == [name]
        assert b"content-encoding" not in (node.proxy.sent() + node.proxy.received()).lower()
        assert len(node.proxy.sent()) > 20_000
    for word in ("ash", "birch"):
        hits = {Path(str(where)).name for where, content in everything(federation)
                if found(content, [f'"{word}"'])}  # fmt: skip
        assert "journal.jsonl" in hits
    name = CANARIES[0].encode()
    for coded in (name, name.upper(), name.hex().encode(), name.decode().encode("utf-16-le")):
        assert found(b"x" + coded + b"y") == [CANARIES[0]]
    for before in range(3):
        assert found(base64.b64encode(b"." * before + name + b"..")) == [CANARIES[0]]


def strangers(node: Node) -> list[dict[str, Any]]:
    """What a node's processes had to do with that is not the SuperLink or the node itself."""
    own = [["127.0.0.1", str(port)] for port in (node.proxy.port, node.port)]
    known = {
        "connect": own,
        "look-up": ["127.0.0.1"],
        # The last two by Python itself, which Flower asks for the machine's name.
        "start": ["flower-superexec", "flwr-clientapp", "uname", "file"],
    }
    return [line for line in node.targets() if line["target"] not in known[line["what"]]]


def test_a_site_connects_to_its_superlink_and_to_nothing_else(federation, whole, failing, planted):
    for name in ("ash", "birch"):
        node = federation.nodes[name]
        assert strangers(node) == []
        programs = {line["program"] for line in node.targets() if line["what"] == "connect"}
        assert programs == {"flower-supernode", "flower-superexec", "flwr-clientapp"}


def test_a_node_that_calls_home_is_seen(federation, planted):
    """The same environment without the gate: Flower's telemetry goes to the dead proxy."""
    seen = strangers(federation.nodes["open"])
    assert {line["what"] for line in seen} >= {"connect"}
