"""`fedward lab audit`: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
import math
import re

import pytest
from builders import policy_table, simulation_table
from typer.testing import CliRunner

from experiments.audit import run as running
from experiments.audit.run import AuditResult
from experiments.command import app

KEYS = {
    "lower_bound",
    "ledger_epsilon",
    "delta",
    "canaries",
    "guesses",
    "correct",
    "confidence",
}


@pytest.fixture
def lab_audit(tmp_path):
    def call(path, *options):
        home = ["--data", str(tmp_path), "--home", str(tmp_path / "home")]
        few = ["--canaries", "40", "--guesses", "10"]
        result = CliRunner().invoke(app, ["lab", "audit", str(path), *home, *few, *options])
        return result, re.sub(r"\s+", " ", result.stdout)

    return call


def outcome(**changes) -> AuditResult:
    table = {
        "lower_bound": 0.5,
        "ledger_epsilon": 3.0,
        "delta": 1e-5,
        "canaries": 1000,
        "guesses": 100,
        "correct": 70,
        "confidence": 0.95,
    }
    return AuditResult.model_validate(table | changes)


def test_an_audit_prints_its_numbers_and_its_limits_and_writes_them(
    lab_audit, study_file, tmp_path
):
    out, figure = tmp_path / "audit.json", tmp_path / "inversion.png"
    result, said = lab_audit(study_file(), "--json", str(out), "--figure", str(figure))
    assert result.exit_code == 0
    written = json.loads(out.read_text())
    assert set(written) == KEYS
    assert 7.5 < written["ledger_epsilon"] <= 8
    assert (written["canaries"], written["guesses"], written["confidence"]) == (40, 10, 0.95)
    assert 0 <= written["correct"] <= 10
    most = AuditResult.model_validate(written).most
    for words in (
        "audit of tiny at ash",
        f"lower bound on epsilon {written['lower_bound']:.3f}",
        f"ledger epsilon {written['ledger_epsilon']:.3f}",
        "60: 40 and 20 expected canaries",
        "consistent",
        "proves nothing small",
        f"can certify epsilon {most:.2f} at most",
        "could not have called it broken",
        "notes found",
    ):
        assert words in said
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_broken_claim_is_said_loudly_and_exits_1(lab_audit, study_file, monkeypatch, tmp_path):
    monkeypatch.setattr(running, "audit", lambda *_, **__: outcome(lower_bound=3.2))
    out = tmp_path / "audit.json"
    result, said = lab_audit(study_file(), "--json", str(out))
    assert result.exit_code == 1
    assert "BROKEN: at least epsilon 3.200 leaked, the ledger says 3.000" in said
    assert json.loads(out.read_text())["lower_bound"] == 3.2


def test_a_bound_at_the_ledgers_epsilon_is_consistent(lab_audit, study_file, monkeypatch):
    monkeypatch.setattr(running, "audit", lambda *_, **__: outcome(lower_bound=3.0))
    result, said = lab_audit(study_file())
    assert result.exit_code == 0
    assert "BROKEN" not in said
    assert "could not have called" not in said


def test_without_privacy_the_audit_only_informs(lab_audit, study_file, tmp_path):
    policy = {"mechanisms": ["off"], "lifetime": {"epsilon": math.inf}, "smallest_count": 0}
    path = study_file(simulation_table(policy=policy), privacy={"kind": "off"})
    out = tmp_path / "audit.json"
    result, said = lab_audit(path, "--json", str(out))
    assert result.exit_code == 0
    assert json.loads(out.read_text())["ledger_epsilon"] is None
    assert "ledger epsilon infinite" in said
    assert "the audit only informs" in said


@pytest.mark.parametrize(
    "options",
    [
        ("--guesses", "3"),
        ("--guesses", "42"),
        ("--confidence", "1"),
        ("--canaries", "1"),
        ("--site", "elm"),
        ("--figure", "x.jpeg"),
    ],
)
def test_wrong_usage_is_exit_2(lab_audit, study_file, options):
    result, _ = lab_audit(study_file(), *options)
    assert result.exit_code == 2


def test_a_study_that_cannot_be_audited_is_one_line_and_exit_1(lab_audit, study_file, tmp_path):
    refused = study_file(simulation_table(policy={"lifetime": {"epsilon": 2.0}}))
    result, _ = lab_audit(refused)
    assert result.exit_code == 1
    assert result.stderr.startswith("fedward: lifetime epsilon is 2 ")
    assert result.stderr.count("\n") == 1
    result, _ = lab_audit(tmp_path / "nowhere.toml")
    assert (result.exit_code, "no such file" in result.stderr) == (1, True)


def test_names_are_drawn_before_an_audit(lab_audit, study_file, monkeypatch):
    seen: list[tuple[str, ...]] = []

    def look(this, *_, **__) -> AuditResult:
        seen.append(this.study.outputs)
        return outcome()

    monkeypatch.setattr(running, "audit", look)
    task = {"kind": "term-coding", "system": "icd-10-cm"}
    policy = policy_table(tasks=["term-coding"])
    simulation = simulation_table(names={"most": 3}, policy=policy)
    result, _ = lab_audit(study_file(simulation, task=task))
    assert result.exit_code == 0, result.stderr
    assert [len(set(names)) for names in seen] == [3]
    assert "-" not in seen[0]
