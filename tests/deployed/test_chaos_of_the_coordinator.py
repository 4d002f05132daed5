"""kill -9, by pid, of one process of the coordinator after the other, each in a study of its own.

Every study ends; every ledger holds what was really trained, every metric is logged once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from deployment import until
from whole import Whole, begun, deployed, kill, once, processes

pytestmark = [
    pytest.mark.deployment,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]

SITES = ("ash", "birch")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Iterator[Whole]:
    """Two sites with privacy for many studies."""
    with deployed(tmp_path_factory.mktemp("chaos"), names=SITES, epsilon=1000.0) as made:
        yield made


def test_the_superlink_dies(whole):
    study, watched = begun(whole, "superlink")
    watched.wait_for("asked", round=1)
    daemon = whole.daemons["coordinator"]
    kill(daemon.children("SuperLink")[-1])
    once(whole, study, watched.ends())
    assert "SuperLink ended with signal 9" in daemon.said


def test_the_serverapp_dies(whole):
    study, watched = begun(whole, "serverapp", rounds=2)
    watched.wait_for("asked", round=2)
    (pid,) = processes("flwr-serverapp", below=whole.folder)
    kill(pid)
    once(whole, study, watched.ends())
    assert "the study's process died; it goes on from the last round" in watched.daemon.said
    assert [event["round"] for event in watched.events("start")] == [1, 2]


def test_the_whole_coordinator_dies_with_its_study_and_the_one_who_watches(whole):
    study, watched = begun(whole, "machine", rounds=2)
    watched.wait_for("asked", round=2)
    watched.daemon.process.kill()
    daemon = whole.daemons["coordinator"]
    pids = [
        pid for name in ("SuperLink", "SuperExec", "courier") for pid in daemon.children(name)[-1:]
    ]
    for pid in [daemon.process.pid, *pids, *processes("flwr-serverapp", below=whole.folder)]:
        kill(pid)
    daemon.process.wait()
    time.sleep(1)
    whole.start("coordinator")
    outcome = whole.study("resume", watched.run.name).ends()
    once(whole, study, outcome)


def test_mlflow_dies_and_gets_what_it_missed_when_it_is_back(whole):
    study, watched = begun(whole, "mlflow")
    watched.wait_for("asked", round=1)
    whole.mlflow.kill()
    outcome = watched.ends()
    assert outcome["undelivered"] > 0
    assert "MLflow does not have" in watched.daemon.said
    whole.mlflow.start()
    daemon = whole.daemons["coordinator"]
    until(lambda: f"entries of {outcome['run']}" in daemon.said, whole.logs, 120)
    once(whole, study, outcome)
