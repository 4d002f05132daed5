"""kill -9, by pid, of one process of the coordinator after the other, each in a study of its own.

Every study ends; every ledger holds what was really trained, every metric is logged once.
"""

from __future__ import annotations

import time

from deployment import until
from whole import MARKS, begun, kill, once, processes

pytestmark = MARKS


def test_the_superlink_dies(pair):
    study, watched = begun(pair, "superlink")
    watched.wait_for("asked", round=1)
    daemon = pair.daemons["coordinator"]
    kill(daemon.children("SuperLink")[-1])
    once(pair, study, watched.ends())
    assert "SuperLink ended with signal 9" in daemon.said


def test_the_serverapp_dies(pair):
    study, watched = begun(pair, "serverapp", rounds=2)
    watched.wait_for("asked", round=2)
    (pid,) = processes("flwr-serverapp", below=pair.folder)
    kill(pid)
    once(pair, study, watched.ends())
    assert "the study's process died; it goes on from the last round" in watched.daemon.said
    assert [event["round"] for event in watched.events("start")] == [1, 2]


def test_the_whole_coordinator_dies_with_its_study_and_the_one_who_watches(pair):
    study, watched = begun(pair, "machine", rounds=2)
    watched.wait_for("asked", round=2)
    watched.daemon.process.kill()
    daemon = pair.daemons["coordinator"]
    pids = [
        pid for name in ("SuperLink", "SuperExec", "courier") for pid in daemon.children(name)[-1:]
    ]
    for pid in [daemon.process.pid, *pids, *processes("flwr-serverapp", below=pair.folder)]:
        kill(pid)
    daemon.process.wait()
    time.sleep(1)
    pair.start("coordinator")
    outcome = pair.study("resume", watched.run.name).ends()
    once(pair, study, outcome)


def test_mlflow_dies_and_gets_what_it_missed_when_it_is_back(pair):
    study, watched = begun(pair, "mlflow")
    watched.wait_for("asked", round=1)
    pair.mlflow.kill()
    outcome = watched.ends()
    assert outcome["undelivered"] > 0
    assert "MLflow does not have" in watched.daemon.said
    pair.mlflow.start()
    daemon = pair.daemons["coordinator"]
    until(lambda: f"entries of {outcome['run']}" in daemon.said, pair.logs, 120)
    once(pair, study, outcome)
