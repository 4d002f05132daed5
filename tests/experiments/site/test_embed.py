"""`fedward site embed` as an operator types it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import tomli_w
from builders import patient, policy_table, study_table
from deployment import Daemon, fedward
from typer.testing import CliRunner

from client import approval, embed
from client.site import Site
from experiments.command import app
from tasks.study import Study

RUN = CliRunner(env={"COLUMNS": "300"})


@pytest.fixture
def site(make_site, write_lines) -> Site:
    """A site that connects to a coordinator and runs what was approved."""
    path = write_lines(*(patient(n) for n in range(12)))
    return make_site(
        "ash",
        source={"kind": "jsonl", "paths": [str(path)]},
        coordinator={"superlink": "fed.example.org:9443"},
        policy=policy_table(studies="approved"),
        test_seed=None,
    )


@pytest.fixture
def study_path(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps(study_table()))
    return path


def run(site: Site, *words: object):
    file = site.folder / "site.toml"
    return RUN.invoke(app, ["site", "embed", "--site", str(file), *map(str, words)])


def test_every_study_that_is_taken_is_prepared_and_told(site, study, tmp_path):
    approval.decide(site, study, approve=True)
    shown = run(site, "--json", tmp_path / "made.json")
    assert shown.exit_code == 0, shown.output
    assert f"tiny ({study.digest[:12]}) is prepared, 12 patients: 20 notes embedded, " in (
        shown.stdout
    )
    assert "a second on cpu" in shown.stdout
    (made,) = json.loads((tmp_path / "made.json").read_text())
    assert (made["digest"], made["notes"], made["device"]) == (study.digest, 20, "cpu")
    again = run(site)
    assert again.exit_code == 0
    assert "nothing was left to embed" in again.stdout


def test_where_no_study_is_taken_it_says_what_to_do(site):
    shown = run(site)
    assert shown.exit_code == 0
    assert "no study waits here" in shown.stdout


def test_a_study_file_is_embedded_ahead_of_its_approval(site, study, study_path):
    shown = run(site, "--study", study_path)
    assert shown.exit_code == 0, shown.output
    assert "20 notes embedded" in shown.stdout
    assert not approval.approved(site.open_ledger(), study.digest)
    approval.decide(site, study, approve=True)
    assert "nothing was left to embed" in run(site).stdout


def test_a_study_that_fails_is_a_line_and_exit_1_and_the_others_go_on(site, study):
    other = Study.parse_table(study_table(name="other", steps=4), where="other")
    for one in (study, other):
        approval.decide(site, one, approve=True)
    (site.at(site.studies) / f"{study.digest}.json").write_text("{}")
    shown = run(site)
    assert shown.exit_code == 1
    assert f"study ({study.digest[:12]}) could not be prepared: " in shown.stdout
    assert f"other ({other.digest[:12]}) is prepared" in shown.stdout


def test_a_bad_line_is_named_and_not_quoted(site, study, study_path, write_lines):
    write_lines(patient(1), '{"id": "Zebulon", "notes": 3}')
    shown = run(site, "--study", study_path)
    assert shown.exit_code == 1
    assert "could not be prepared: patients.jsonl line 2: notes: " in shown.stdout
    assert "Zebulon" not in shown.output


def test_a_study_that_breaks_the_policy_is_refused(site, tmp_path):
    path = tmp_path / "off.toml"
    path.write_text(tomli_w.dumps(study_table(privacy={"kind": "off"})))
    shown = run(site, "--study", path)
    assert shown.exit_code == 1
    assert "policy.mechanisms allows dp-sgd; the study asks for 'off'" in shown.stdout


def test_two_do_not_embed_at_once(site, study_path):
    with embed.alone(site):
        shown = run(site, "--study", study_path, "--wait", 0.1)
    assert shown.exit_code == 1
    assert "another process of this site still embeds" in shown.stderr


def test_one_waits_for_the_other(site, study_path):
    with ThreadPoolExecutor() as pool:
        with embed.alone(site):
            waiting = pool.submit(run, site, "--study", study_path)
            time.sleep(0.5)
            assert not waiting.done()
        assert waiting.result(60).exit_code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--study", "no.toml"], 1, "no.toml: no such file"),
        (["--study", "no.toml", "--watch"], 2, "give --study or --watch"),
    ],
)
def test_a_mistake_is_one_line(site, words, code, said):
    shown = run(site, *words)
    assert shown.exit_code == code
    assert said in shown.stderr


@pytest.mark.slow
def test_a_watch_takes_in_new_notes_and_new_studies(site, study_path, study, tmp_path):
    file = site.folder / "site.toml"
    folder = tmp_path / "watcher"
    folder.mkdir()
    daemon = Daemon.start(folder, "site", "embed", "--watch", "--every", 1, "--site", file)
    try:
        daemon.says(f"watches {file}")
        words = ["approve", study.digest, "--study", study_path, "--yes", "--site", file]
        assert fedward(tmp_path, "site", *words).returncode == 0
        daemon.says("12 patients: 20 notes embedded")
        with (tmp_path / "patients.jsonl").open("a") as notes:
            notes.write(json.dumps(patient(99)) + "\n")
        daemon.says("13 patients: 1 notes embedded")
    finally:
        daemon.stop()
