"""`fedward site init` as an operator types it."""

from __future__ import annotations

import json

import pytest
from builders import patient
from typer.testing import CliRunner

from client.site import Site
from experiments.command import app
from experiments.site import init as site_init_command
from server.deployment.certificates import make_ca

RUN = CliRunner(env={"COLUMNS": "300"})


@pytest.fixture
def flags(tmp_path):
    (tmp_path / "ca.crt").write_bytes(make_ca("a CA").certificate_pem())
    (tmp_path / "notes.jsonl").write_text(json.dumps(patient(1)) + "\n")
    return {
        "--name": "ash",
        "--superlink": "fed.example.org:9443",
        "--ca": str(tmp_path / "ca.crt"),
        "--source": "jsonl",
        "--path": str(tmp_path / "notes.jsonl"),
        "--declared-patients": "40",
        "--epsilon": "8",
    }


def init(folder, flags, **options):
    words = [word for pair in flags.items() for word in pair]
    return RUN.invoke(app, ["site", "init", str(folder), *words], **options)


def test_a_site_is_made_from_flags(tmp_path, flags):
    shown = init(tmp_path / "ash", flags)
    assert shown.exit_code == 0, shown.stderr
    file = tmp_path / "ash" / "site.toml"
    site = Site.read(file)
    assert (site.name, site.declared_patients, site.policy.lifetime.epsilon) == ("ash", 40, 8.0)
    assert site.source.paths == (flags["--path"],)
    public = (tmp_path / "ash" / "node.key.pub").read_text()
    assert public in shown.stdout
    assert f"fedward site run --site {file}" in shown.stdout
    assert "PRIVATE" not in shown.stdout


def test_what_was_not_given_is_asked_on_a_terminal(tmp_path, flags, monkeypatch):
    monkeypatch.setattr(site_init_command, "on_terminal", lambda: True)
    answers = ["ash", "fed.example.org:9443", flags["--ca"], "", flags["--path"], "many", "40", "8"]
    shown = init(tmp_path / "ash", {}, input="\n".join([*answers, ""]))
    assert shown.exit_code == 0, shown.stdout
    assert Site.read(tmp_path / "ash" / "site.toml").declared_patients == 40
    assert "not a valid integer" in shown.stdout + shown.stderr


def test_where_nobody_is_there_to_ask_all_that_is_missing_is_named(tmp_path):
    shown = init(tmp_path / "ash", {"--name": "ash"})
    assert shown.exit_code == 2
    assert "give --superlink, --ca, --source, --declared-patients, --epsilon" in shown.stderr
    assert not (tmp_path / "ash").exists()


def test_a_trial_needs_no_notes(tmp_path, flags):
    del flags["--path"]
    shown = init(tmp_path / "ash", flags | {"--source": "synthetic"})
    assert shown.exit_code == 0, shown.stderr
    assert Site.read(tmp_path / "ash" / "site.toml").source.patient_count == 58


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--name", "a b", "name: String should match pattern"),
        ("--superlink", "https://fed.example.org", "coordinator.superlink: must be HOST:PORT"),
        ("--path", "nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("--epsilon", "0", "policy.lifetime.epsilon: Input should be greater than 0"),
    ],
)
def test_what_does_not_fit_is_one_line_and_nothing_is_made(tmp_path, flags, flag, value, said):
    shown = init(tmp_path / "ash", flags | {flag: value})
    assert shown.exit_code == 1
    assert said in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert not (tmp_path / "ash").exists()


def test_a_source_of_any_kind_comes_from_a_table(tmp_path, flags):
    del flags["--path"], flags["--source"]
    file = tmp_path / "source.toml"
    file.write_text('[source]\nkind = "synthetic"\nhospital = "Ash"\npatient_count = 7\n')
    shown = init(tmp_path / "ash", flags | {"--source-table": str(file), "--data": str(tmp_path)})
    assert shown.exit_code == 0, shown.stderr
    assert Site.read(tmp_path / "ash" / "site.toml").data == tmp_path
    assert Site.read(tmp_path / "ash" / "site.toml").source.patient_count == 7
    other = init(tmp_path / "b", flags | {"--source-table": str(file), "--source": "jsonl"})
    assert "its kind is not jsonl" in other.stderr
    file.write_text('kind = "synthetic"\nhospital = "Ash"\nbeds = 7\n')
    odd = init(tmp_path / "b", flags | {"--source-table": str(file)})
    assert "source.toml: synthetic: " in odd.stderr
    assert "beds: no such key" in odd.stderr
    assert not (tmp_path / "b").exists()
