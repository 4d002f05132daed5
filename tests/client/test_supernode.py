"""The gate: what may come in, and whether Flower is the one that it was written for.

`tests/experiments/test_federation.py` runs it with real processes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import logging
import os
import time

import pytest
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run

from client import supernode
from client.supernode import FlowerDiffers, Gate
from privacy.bundle import bundle, bundle_files, bundle_hash
from privacy.process import QUIET

OTHER = b"patient Zebulon's bundle"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fab(content: bytes, **changes: object) -> Fab:
    return dataclasses.replace(Fab(digest(content), content, {}), **changes)


def a_run(content: bytes, **changes: object) -> Run:
    told = {"fab_id": "fedward/fedward", "fab_version": "0.1.0", "fab_hash": digest(content)}
    return dataclasses.replace(Run.create_empty(7), **told | changes)


def test_this_is_the_flower_that_the_gate_knows():
    supernode.check_flower()


@pytest.mark.parametrize("version", ["1.42.0", "1.4.1", "2.41.0", "1.40.9"])
def test_another_minor_of_flower_is_refused_with_what_to_do(version, monkeypatch):
    monkeypatch.setattr(supernode.metadata, "version", lambda _: version)
    with pytest.raises(FlowerDiffers, match=f"knows flwr 1.41, installed is {version}: read"):
        supernode.check_flower()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (supernode.INNER, "_init_connection"),
        (supernode.INNER, "_verify_fab"),
        (supernode.INNER, "_pull_and_store_message"),
        (supernode.INNER, "start_client_internal"),
        (supernode.INNER, "time"),
        (supernode.COMMAND, "start_client_internal"),
        (supernode.COMMAND, "flower_supernode"),
        (supernode.COMMAND, "_parse_args_run_supernode"),
    ],
)
def test_a_private_name_that_is_gone_is_told(module, name, monkeypatch):
    monkeypatch.delattr(importlib.import_module(module), name)
    with pytest.raises(FlowerDiffers, match=r"of flwr 1\.41"):
        supernode.check_flower()


def test_a_private_function_with_other_parameters_is_told(monkeypatch):
    inner = importlib.import_module(supernode.INNER)
    monkeypatch.setattr(inner, "_verify_fab", lambda bundle: True)
    with pytest.raises(FlowerDiffers, match=r"_verify_fab of flwr .* is gone or another"):
        supernode.check_flower()


def test_the_bundle_of_this_installation_comes_in_and_no_other():
    gate = Gate()
    assert gate.accepted() == {bundle_hash()}
    assert gate.refusal(7, a_run(bundle()), fab(bundle())) is None
    assert "install the coordinator's version of fedward" in gate.refusal(
        7, a_run(OTHER), fab(OTHER)
    )
    # Whatever the SuperLink says that the hash is.
    own = bundle_hash()
    assert gate.refusal(7, a_run(OTHER, fab_hash=own), fab(OTHER, hash_str=own)) is not None


def with_another_version() -> bytes:
    from flwr.cli.build import build_fab_from_files

    files = bundle_files()
    project = files["pyproject.toml"].replace(b'version = "0.1.0"', b'version = "0.0.9"')
    return build_fab_from_files(files | {"pyproject.toml": project})[0]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_operator_lets_in_others_by_their_hash_without_a_restart(tmp_path):
    older = with_another_version()
    listed = tmp_path / "bundles.txt"
    listed.write_text(f"# last year's\n\n#{digest(older)}\n")
    gate = Gate(listed)
    asked = a_run(older, fab_version="0.0.9")
    assert f"add its hash to {listed}" in gate.refusal(7, asked, fab(older))
    listed.write_text(f"# last year's\n{digest(older).upper()}  version 0.0.9\n")
    assert gate.refusal(7, asked, fab(older)) is None
    assert gate.refusal(7, a_run(bundle()), fab(bundle())) is None
    listed.unlink()
    assert gate.refusal(7, asked, fab(older)).endswith("cannot be read; mend it")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": 8}, "describes it as another one"),
        ({"fab_hash": "0" * 64}, "describes it as another one"),
        ({"fab_id": "fedward/other"}, "describes it as another one"),
        ({"fab_version": "/../../../../tmp/x"}, "describes it as another one"),
        ({"primary_task_type": TaskType.AGENT_APP}, "no ServerApp's"),
        ({"primary_task_type": ""}, "no ServerApp's"),
        ({"override_config": {"evil": "x"}}, "does not fit"),
    ],
)
def test_what_the_superlink_says_of_the_run_must_fit_the_bundle(changes, said):
    reason = Gate().refusal(7, a_run(bundle(), **changes), fab(bundle()))
    assert said in reason
    assert "evil" not in reason


def test_a_listed_bundle_that_is_none_does_not_stop_the_node(tmp_path):
    (tmp_path / "listed").write_text(digest(OTHER))
    reason = Gate(tmp_path / "listed").refusal(7, a_run(OTHER), fab(OTHER))
    assert "does not fit" in reason


def connected(gate: Gate, run: Run, sent: Fab, parts: int = 8):
    """What the gate gives Flower for a connection that gives this run and this bundle."""

    @contextlib.contextmanager
    def connect(address: str):
        made = [address] * parts
        made[supernode.GET_RUN], made[supernode.GET_FAB] = lambda _: run, lambda _hash, _run: sent
        yield tuple(made)

    return supernode._gated(connect, gate)("here")


def test_flower_gets_the_bundle_or_an_empty_one(caplog):
    with caplog.at_level(logging.DEBUG):
        for content, left in ((bundle(), bundle()), (OTHER, b"")):
            sent = fab(content, verifications={"valid_license": "", "by": "the server"})
            with connected(Gate(), a_run(content), sent) as made:
                assert made[3](7).run_id == 7
                got = made[4]("asked", 7)
            assert got == Fab(digest(content), left, {"valid_license": "fedward"})
    (line,) = caplog.messages
    assert line.startswith(f"refused bundle {digest(OTHER)} of run 7: this installation's is")
    assert "Zebulon" not in line


def test_a_connection_of_another_form_stops_the_node():
    with (
        pytest.raises(FlowerDiffers, match="gives 9 things"),
        connected(Gate(), a_run(b""), fab(b""), parts=9),
    ):
        pass


def test_flower_is_made_to_ask_the_gate_and_to_wait_less(monkeypatch):
    inner = importlib.import_module(supernode.INNER)
    command = importlib.import_module(supernode.COMMAND)
    for module, name in (
        (inner, "_init_connection"),
        (inner, "_verify_fab"),
        (inner, "time"),
        (command, "start_client_internal"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back when the test is over
    started = {}

    def start_client_internal(*, trusted_entities=None, **options):
        started.update(options, trusted_entities=trusted_entities)

    monkeypatch.setattr(inner, "start_client_internal", start_client_internal)
    assert supernode.install(Gate(), poll_seconds=0.01) is command.flower_supernode
    command.start_client_internal(trusted_entities=None, isolation="subprocess")
    assert started["trusted_entities"]
    assert started["isolation"] == "subprocess"
    assert inner._verify_fab(fab(b"x"), {})
    assert not inner._verify_fab(fab(b""), {})
    began = time.monotonic()
    inner.time.sleep(60)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "more",
    [
        ["--trusted-entities", "x"],
        ["--trusted", "x"],
        ["--allow-runtime-dependency-installation"],
        ["--allow"],
        ["--node-config", "site='x'"],
        ["--superlink", "elsewhere:1"],
        ["--host", "0.0.0.0"],  # noqa: S104 - that it is refused is the point
        ["--host", "::"],
        ["--host", "hospital.example"],
    ],
)
def test_arguments_that_would_open_the_gate_are_refused(more):
    with pytest.raises(ValueError, match=r"leave it out|use 127\.0\.0\.1"):
        supernode._check_arguments(more)


def test_other_arguments_of_flower_pass():
    supernode._check_arguments(["--insecure", "--port", "9000", "--host", "127.0.0.1"])


def test_the_environment_is_quiet_whatever_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {"FLWR_TELEMETRY_ENABLED": "1", "FLWR_HOME": "/elsewhere"})
    old = tmp_path / "flower" / "apps" / "fedward.fedward.0.1.0.00000000"
    old.mkdir(parents=True)
    supernode.prepare(tmp_path / "flower", poll_seconds=0.2)
    assert not old.exists()
    assert os.environ["FLWR_HOME"] == str(tmp_path / "flower")
    assert os.environ["FLWR_SUPEREXEC_TASK_POLL_INTERVAL"] == "0.2"
    for name, value in QUIET.items():
        assert os.environ[name] == value


def test_what_comes_too_late_or_waits_too_long_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"0\.01 to 60"):
        supernode.prepare(tmp_path, poll_seconds=0)
    import flwr.supercore.telemetry as telemetry

    monkeypatch.setattr(telemetry, "FLWR_TELEMETRY_ENABLED", "1")
    with pytest.raises(ValueError, match="telemetry on"):
        supernode.prepare(tmp_path, poll_seconds=1)


def test_a_path_that_flower_cannot_pass_on_is_refused(tmp_path):
    site = tmp_path / 'a"b.toml'
    site.touch()
    with pytest.raises(ValueError, match="quotation mark"):
        supernode.run(site, superlink="127.0.0.1:1")
