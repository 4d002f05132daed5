"""`fedward study ...` without a SuperLink: what is listed, found and refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import tomli_w
from builders import study_table
from federation import free_port
from typer.testing import CliRunner

from client.setup import make_node_key
from experiments.command import app
from experiments.study.run import outcome
from privacy.files import locked
from server.checkpoint import save_weights
from server.deployment import runs
from server.deployment.config import ServerConfig
from server.deployment.folder import make_folder
from server.deployment.runs import NoRun
from server.deployment.sites import enrol
from server.journal import Journal
from server.outbox import Outbox
from server.start import FILE, give
from tasks.metrics import Metrics
from tasks.study import Study

RUN = CliRunner()
STUDY = Study.parse_table(study_table(), where="tiny")


@pytest.fixture
def config(tmp_path) -> ServerConfig:
    return make_folder(tmp_path / "c", port=int(free_port()), control_port=int(free_port()))


@pytest.fixture
def study(tmp_path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(study_table()), "utf-8")
    return path


def typed(config: ServerConfig, *words: object):
    return RUN.invoke(app, ["study", *map(str, words), "--superlink", str(config.folder)])


def launched(config: ServerConfig) -> Path:
    return runs.launch(config, STUDY, sites=2, wait=60, again=15)


def wrote(folder: Path, *, reason: str | bool | None = False, rounds: int = 1) -> None:
    """A journal of a run; ended with a reason, or not at all where that is False."""
    journal, outbox = Journal(folder / "journal.jsonl"), Outbox(folder / "outbox.jsonl")
    journal.write("start", round=1, rounds=2)
    for name in ("ash", "birch"):
        journal.write("site", site=name, declared_patients=40)
    journal.write("refused", site="cedar", round=0, reason="StudyRefused: no")
    for number in range(rounds):
        journal.write("asked", round=number + 1, sites=["ash", "birch"])
        journal.write("reply", site="ash", round=number + 1, update=True)
        journal.write("refused", site="birch", round=number + 1, reason="too late")
        journal.write(
            "round", number=number, metrics=Metrics().model_dump(), sites={"ash": {}},
            epsilon=1.5, epsilons={"ash": 1.5, "birch": 1.0}, bytes_down=1, bytes_up=2, seconds=3.0,
        )  # fmt: skip
    journal.write("reply", site="ash", round=rounds, update=False)
    if reason is not False:
        weights = None if reason else str(folder / "final.safetensors")
        journal.write("end", weights=weights, reason=reason)
    outbox.start(STUDY)
    for handle in (journal, outbox):
        handle.close()


def test_the_states_of_a_run(config):
    folder = launched(config)
    assert runs.progress(folder).state == "submitted"
    wrote(folder, rounds=2)
    found = runs.progress(folder)
    assert (found.state, found.done, found.rounds) == ("broken off", 1, 2)
    assert found.sites == ("ash", "birch")
    with locked(folder / runs.LOCK, exclusive=True):
        assert runs.progress(folder).state == "running"
    wrote(folder, reason="3 sites take part, the study needs 4")
    found = runs.progress(folder)
    assert (found.state, found.reason) == ("stopped", "3 sites take part, the study needs 4")
    wrote(folder, reason=None)
    assert runs.progress(folder).state == "finished"


def test_a_run_is_found_by_its_first_letters_or_because_it_is_the_unfinished_one(config):
    with pytest.raises(NoRun, match="no study is unfinished: none was launched"):
        runs.find(config, "")
    first, second = launched(config), launched(config)
    wrote(first, reason=None)
    assert runs.find(config, "") == second
    assert runs.find(config, first.name) == first
    with pytest.raises(NoRun, match=f"more than one study starts with 'tiny-': {first.name[:12]}"):
        runs.find(config, "tiny-")
    with pytest.raises(NoRun, match="no study starts with 'tidy'"):
        runs.find(config, "tidy")


def test_a_study_that_starts_elsewhere_wants_the_file_and_its_run_keeps_it(config, tmp_path):
    weights = tmp_path / "final.safetensors"
    save_weights(weights, STUDY.initial())
    pin = hashlib.sha256(weights.read_bytes()).hexdigest()
    path = tmp_path / "started.toml"
    path.write_text(tomli_w.dumps(study_table(start={"weights_sha256": pin})), "utf-8")
    shown = typed(config, "run", path)
    assert (shown.exit_code, "with --start" in shown.stderr) == (1, True)
    shown = typed(config, "run", path, "--start", weights)
    assert "nobody is enrolled" in shown.stderr
    asked = Study.read(path)
    content = give(asked, weights)
    folder = runs.launch(config, asked, sites=2, wait=60, again=15, start=content)
    assert (folder / FILE).read_bytes() == weights.read_bytes()
    assert not (launched(config) / FILE).exists()


def test_runs_are_listed_with_how_far_they_came(config, tmp_path):
    folder = launched(config)
    wrote(folder, reason="too few", rounds=2)
    shown = typed(config, "status", "--json", tmp_path / "status.json")
    assert shown.exit_code == 0
    assert "stopped: too few" in " ".join(shown.stdout.split())
    (made,) = json.loads((tmp_path / "status.json").read_text())
    assert (made["run"], made["done"], made["sites"]) == (folder.name, 1, ["ash", "birch"])


def test_an_outcome_counts_updates_and_refusals_by_site_and_reason(config):
    folder = launched(config)
    wrote(folder, reason=None, rounds=2)
    events = list(runs.Follower(folder / "journal.jsonl").events())
    made = outcome(config, folder, events)
    by_name = {site.name: site for site in made.sites}
    assert (by_name["ash"].rounds, by_name["birch"].rounds) == (2, 0)
    assert by_name["birch"].refusals == {"too late": 2}
    assert by_name["cedar"].declared_patients is None
    assert by_name["ash"].epsilon == 1.5
    assert [one.number for one in made.rounds] == [0, 1]
    assert made.undelivered == 1
    assert made.mlflow == f"sqlite:///{config.folder / 'runs' / 'mlflow.db'}"


def test_without_a_superlink_nothing_is_launched_and_the_line_says_what_to_do(config, study):
    shown = typed(config, "run", study)
    assert (shown.exit_code, shown.stderr) == (
        1, "fedward: nobody is enrolled; fedward server enrol lets a site in\n"
    )  # fmt: skip
    enrol(config.at(config.sites), "ash", make_node_key("ash")[1].decode())
    shown = typed(config, "run", study)
    assert shown.exit_code == 1
    assert "is fedward server run running?" in shown.stderr
    assert list(runs.runs(config)) == []


def test_a_finished_study_is_shown_again_and_not_run_again(config, tmp_path):
    folder = launched(config)
    wrote(folder, reason=None, rounds=2)
    shown = typed(config, "resume", folder.name, "--json", tmp_path / "outcome.json")
    assert shown.exit_code == 0, shown.stderr
    assert "ash takes part, with 40 declared patients" in shown.stdout
    assert "round 2 without birch: too late" in shown.stdout
    assert "too late (2 times)" in shown.stdout
    assert json.loads((tmp_path / "outcome.json").read_text())["run"] == folder.name
    stopped = typed(config, "stop", folder.name)
    assert f"{folder.name} does not run" in stopped.stderr


def test_a_folder_that_is_no_coordinators_is_named(tmp_path):
    shown = RUN.invoke(app, ["study", "status", "--superlink", str(tmp_path)])
    assert shown.exit_code == 1
    assert "server.toml" in shown.stderr
