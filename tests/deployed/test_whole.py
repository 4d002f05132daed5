"""Three sites, a coordinator and MLflow as they would be deployed: studies to their ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hospital_sources import as_fhir, as_omop
from whole import MARKS, NAMES, PATIENTS, Watched, Whole, deployed

from experiments.simulate.in_process import FIRST_NODE_ID, InProcessGrid, _identity
from server.checkpoint import load_weights
from server.deployment.certificates import make_ca
from server.journal import Journal
from server.outbox import Outbox
from server.rounds import Rounds
from tasks.study import Study

pytestmark = MARKS


@pytest.fixture(scope="module")
def whole(tmp_path_factory, postgres_server) -> Iterator[Whole]:
    """Three hospitals whose patients stand in three kinds of source; they also train without
    privacy, if somebody approves it.
    """
    changes = {"epsilon": float("inf"), "mechanisms": '["dp-sgd", "off"]'}
    sources = {"birch": as_omop(postgres_server, "birch"), "cedar": as_fhir}
    with deployed(tmp_path_factory.mktemp("whole"), sources=sources, **changes) as made:
        yield made


def test_each_hospital_reads_another_kind_of_source_and_all_of_it(whole):
    """`site check` counts what `hospital_sources` wrote; a count below ten reads few."""
    assert [whole.site(name).source.kind for name in NAMES] == ["jsonl", "omop", "fhir"]
    for name in NAMES:
        number = len(PATIENTS[name])
        said = whole.typed("site", "check", "--site", whole.site_file(name)).stdout
        assert f"{number} patients, about " in said
        assert f"{number} stays, begun 2024 to 2024" in said
        assert f"notes by kind: {number} discharge" in said
        assert f"codes by system: {2 * number} icd-10-cm" in said
        assert "for readmission: " in said


def in_process(study: Study, sites: list[Path], folder: Path) -> dict[str, Any]:
    """The same study at the same sites, without a network; the final weights."""
    from client.app import app

    class Grid(InProcessGrid):
        def __init__(self) -> None:
            super().__init__(app, nodes=len(sites), run_config={}, run_id=1)
            for number, site in enumerate(sites):
                self._contexts[FIRST_NODE_ID + number].node_config = {"site": str(site)}

    folder.mkdir()
    journal, outbox = Journal(folder / "journal.jsonl"), Outbox(folder / "outbox.jsonl")
    try:
        with _identity(run_id=1, node_id=1):
            return Rounds(study, Grid(), folder, journal, outbox).run()
    finally:
        journal.close()
        outbox.close()


def test_a_deployed_study_ends_with_the_weights_of_a_simulation_bit_for_bit(whole, tmp_path):
    study = whole.write_study(name="plain", privacy={"kind": "off"}, steps=4)
    whole.approve(study)
    whole.prepare(study)
    copies = [shutil.copytree(whole.folder / name, tmp_path / name) for name in NAMES]
    outcome = whole.study("run", study).ends()
    here = in_process(
        Study.read(study), [folder / "site.toml" for folder in copies], tmp_path / "run"
    )
    there = load_weights(Path(outcome["weights"]))
    assert here.keys() == there.keys()
    for name, value in here.items():
        assert value.tobytes() == there[name].tobytes()
    assert value.any()


@pytest.fixture(scope="module")
def private(whole) -> Watched:
    """A private study that has ended."""
    study = whole.write_study(name="private")
    whole.approve(study)
    whole.prepare(study)
    watched = whole.study("run", study)
    watched.ends()
    return watched


def test_a_private_study_is_charged_once_a_round_and_logged_once(whole, private):
    outcome = private.ends()
    assert [one["number"] for one in outcome["rounds"]] == [0, 1, 2]
    assert [(site["name"], site["rounds"]) for site in outcome["sites"]] == [
        (name, 2) for name in NAMES
    ]
    for name in NAMES:
        assert whole.charges(name, whole.folder / "private.toml") == {1: 1, 2: 1}
    runs = whole.logged(outcome["run"])
    assert set(runs) == {"", *NAMES}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs[""].info.run_id == outcome["mlflow_run"]
    for run in runs.values():
        assert whole.history(run, "epsilon") == [0, 1, 2]
    shown = whole.typed("study", "status", "--superlink", whole.folder / "c").stdout
    assert outcome["run"][:20] in shown.replace("\n", "")
    assert "finished" in shown
    assert "ash takes part, with 40 declared patients" in private.daemon.said
    assert "weights: " in private.daemon.said


def test_a_round_that_is_asked_for_again_is_answered_and_not_charged_again(whole, private):
    first = private.ends()
    weights = load_weights(Path(first["weights"]))
    # As if the coordinator had lost its last checkpoint and the end of its journal.
    (private.run / "checkpoints" / "round-00002.safetensors").unlink()
    journal = private.run / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"end"' not in line))
    second = whole.study("resume", first["run"]).ends()
    again = load_weights(Path(second["weights"]))
    assert all(again[name].tobytes() == value.tobytes() for name, value in weights.items())
    for name in NAMES:
        assert whole.charges(name, whole.folder / "private.toml") == {1: 1, 2: 1}
        log = whole.site(name).open_log().lines()
        replays = [line for line in log if line["event"] == "replay"]
        assert [(line["kind"], line["round"]) for line in replays] == [
            ("train", 2), ("evaluate", 2)
        ]  # fmt: skip
    for run in whole.logged(first["run"]).values():
        assert whole.history(run, "epsilon") == [0, 1, 2]
        assert run.info.status == "FINISHED"


def test_a_site_that_has_not_approved_is_left_out_with_its_reason_and_joins_when_it_has(whole):
    study = whole.write_study(name="asked", rounds=4)
    whole.approve(study, "ash", "birch")
    watched = whole.study("run", study, "--sites", 2)
    refused = watched.wait_for("refused", site="cedar")
    assert refused["reason"].startswith("StudyRefused: study asked awaits approval at cedar")
    whole.approve(study, "cedar")
    outcome = watched.ends()
    rounds = {site["name"]: site["rounds"] for site in outcome["sites"]}
    assert (rounds["ash"], rounds["birch"]) == (4, 4)
    assert 0 < rounds["cedar"] < 4
    assert "cedar takes no part yet: StudyRefused" in watched.daemon.said


@pytest.fixture(scope="module")
def strangers(whole) -> None:
    """Sites that cannot take part, each for a reason of its own; each has its daemon."""
    for name in ("dogwood", "elm", "fir"):
        whole.make_site(name, **({"tasks": "[]"} if name == "fir" else {}))
        if name != "dogwood":
            whole.enrol(name)
    other = make_ca("another CA").certificate_pem()
    (whole.folder / "elm" / "coordinator-ca.crt").write_bytes(other)
    # Enrolled as gum, but its site.toml says fir too.
    whole.make_site("gum")
    whole.enrol("gum")
    toml = whole.site_file("gum")
    toml.write_text(toml.read_text().replace('name = "gum"', 'name = "fir"'))
    for name in ("dogwood", "elm", "fir", "gum"):
        whole.start_one(name)
    for name in ("fir", "gum"):
        whole.daemons[name].says("node connected; waits for studies", seconds=120)


def test_each_fault_is_a_line_at_the_right_place_and_who_is_left_finishes(whole, strangers):
    strategy = {"kind": "fedavg", "minimum_sites": 1, "timeout": 120}
    study = whole.write_study(name="faults", strategy=strategy)
    whole.approve(study, *NAMES, "gum")
    whole.prepare(study, *NAMES, "gum")
    whole.strike("birch").write_text("client.local fit nan")
    watched = whole.study("run", study, "--sites", 3)
    try:
        watched.wait_for("round", number=0)
        site = whole.site("cedar")
        for path in (site.at(site.ledger), site.at(site.mark)):
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
        outcome = watched.ends()
    finally:
        whole.strike("birch").unlink()
    by_name = {site["name"]: site for site in outcome["sites"]}
    assert by_name["ash"]["rounds"] == 2
    assert (by_name["birch"]["rounds"], by_name["cedar"]["rounds"]) == (0, 1)
    (spoilt,) = by_name["birch"]["refusals"]
    assert spoilt.startswith("ReleaseBlocked: what was asked, or the answer, is not what")
    said = [json.dumps(line) for line in whole.site("birch").open_log().lines()]
    assert any("not finite" in line for line in said)
    (lost,) = by_name["cedar"]["refusals"]
    assert lost.startswith("LedgerBroken: the site's ledger or audit log cannot be used")
    (policy,) = by_name["fir"]["refusals"]
    assert policy.startswith("StudyRefused: policy.tasks allows none")
    (named,) = by_name["gum"]["refusals"]
    assert named == "is enrolled as gum, but its site.toml says fir"
    assert {"dogwood", "elm"}.isdisjoint(by_name)
    whole.daemons["dogwood"].says("the coordinator does not let this site's key in")
    whole.daemons["elm"].says("is not issued by coordinator-ca.crt")


def test_a_site_connects_to_its_coordinator_and_to_nothing_else(whole, private):
    host, port = whole.config.reached_at.split(":")
    for name in NAMES:
        own = [[host, port], [host, str(whole.site(name).coordinator.port)]]
        connects = [one["target"] for one in whole.targets(name) if one["what"] == "connect"]
        assert [target for target in connects if target not in own] == []
        assert [host, port] in connects
        looked_up = {one["target"] for one in whole.targets(name) if one["what"] == "look-up"}
        assert looked_up <= {"127.0.0.1"}
