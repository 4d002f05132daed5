"""kill -9, by pid, of one process after the other, each in a study of its own.

Every study ends; every ledger holds what was really trained, every metric is logged once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deployment import until
from whole import Watched, Whole, deployed, kill, processes

from privacy import accounting
from tasks.study import Study

pytestmark = [
    pytest.mark.deployment,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]

SITES = ("ash", "birch")
ROUNDS = 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Iterator[Whole]:
    """Two sites that let any study in."""
    changes = {"epsilon": 1000.0, "studies": '"any"'}
    with deployed(tmp_path_factory.mktemp("chaos"), names=SITES, **changes) as made:
        yield made


def begun(whole: Whole, name: str) -> tuple[Path, Watched]:
    """A study that needs both sites in each of its rounds."""
    strategy = {"kind": "fedavg", "minimum_sites": 2, "timeout": 180}
    study = whole.write_study(name=name, rounds=ROUNDS, strategy=strategy)
    whole.prepare(study)
    return study, whole.study("run", study)


def once(whole: Whole, study: Path, outcome: dict[str, Any], **more: dict[int, int]) -> None:
    """Each round was charged once at each site, or as `more` says, and logged once."""
    for name in SITES:
        charged = dict.fromkeys(range(1, ROUNDS + 1), 1) | more.get(name, {})
        assert whole.charges(name, study) == charged
        # What the coordinator reports is what the ledger holds.
        asked = Study.read(study)
        spends = whole.site(name).open_ledger().spends(study=asked.digest)
        said = next(site["epsilon"] for site in outcome["sites"] if site["name"] == name)
        assert said == pytest.approx(accounting.epsilon(spends, delta=asked.privacy.promise.delta))
    runs = whole.logged(outcome["run"])
    assert set(runs) == {"", *SITES}
    for run in runs.values():
        assert whole.history(run, "epsilon") == list(range(ROUNDS + 1))
        assert run.info.status == "FINISHED"


def test_the_superlink_dies(whole):
    study, watched = begun(whole, "superlink")
    watched.wait_for("asked", round=1)
    daemon = whole.daemons["coordinator"]
    kill(daemon.children("SuperLink")[-1])
    once(whole, study, watched.ends())
    assert "SuperLink ended with signal 9" in daemon.said


def test_the_serverapp_dies(whole):
    study, watched = begun(whole, "serverapp")
    watched.wait_for("asked", round=2)
    (pid,) = processes("flwr-serverapp", below=whole.folder)
    kill(pid)
    once(whole, study, watched.ends())
    assert "the study's process died; it goes on from the last round" in watched.daemon.said
    assert [event["round"] for event in watched.events("start")] == [1, 2]


def test_the_whole_coordinator_dies_with_its_study_and_the_one_who_watches(whole):
    study, watched = begun(whole, "machine")
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


def test_a_supernode_dies(whole):
    study, watched = begun(whole, "supernode")
    watched.wait_for("asked", round=1)
    kill(whole.daemons["birch"].children("node")[-1])
    outcome = watched.ends(400)
    # Its training may have gone on to the charge, and its answer found nobody.
    charged = whole.charges("birch", study)
    assert set(charged) == {1, 2}
    assert charged[1] <= 2
    once(whole, study, outcome, birch=dict(charged))


@pytest.mark.parametrize(
    ("where", "charged"),
    [
        ("privacy.ledger Ledger.reserve before", 1),
        ("privacy.ledger Ledger.reserve after", 2),
        # The answer was kept: the second question is answered with it.
        ("client.app _left after", 1),
    ],
    ids=["before the charge", "after the charge", "after the release"],
)
def test_a_training_process_dies(whole, where, charged):
    name = where.replace(" ", "-").lower()
    study, watched = begun(whole, name)
    watched.wait_for("site", site="birch")
    whole.strike("birch").write_text(where)
    outcome = watched.ends(400)
    assert not whole.strike("birch").exists()
    (refused,) = watched.events("refused")
    assert (refused["site"], refused["reason"]) == ("birch", "the site's training process died")
    once(whole, study, outcome, birch={refused["round"]: charged})


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
