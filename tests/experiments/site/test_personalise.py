"""`fedward site personalise` as an operator types it, from a study's end to a patient's leaving."""

from __future__ import annotations

import json
from functools import partial

import pytest
from builders import patient, policy_table, study_table
from safetensors.numpy import save_file
from typer.testing import CliRunner

from client import approval, cohort, local, own_heads, personal
from client.withdrawn import keyed_hash
from experiments import bootstrap
from experiments.command import app
from privacy.fingerprint import code_fingerprint
from privacy.release import RequestHeader
from tasks.study import Study

# Wide, so that no table breaks a word.
RUN = CliRunner(env={"COLUMNS": "300"})
WORDS = {"I10": "essential hypertension", "E11": "diabetes mellitus"}
STUDY = Study.parse_table(study_table(steps=12, sample_rate=0.5), where="tiny")


def run(site, *words: str, **options: object):
    return RUN.invoke(app, ["site", *words, "--site", str(site.folder / "site.toml")], **options)


def line(number: int) -> dict[str, object]:
    code, words = list(WORDS.items())[number % 2]
    one = patient(number) | {"id": f"MRN-4711-{number}"}
    one["stays"][0]["codes"] = [code]
    one["notes"][0]["text"] = f"{words} {words}, course {number}"
    return one


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """What an interval is, is asked elsewhere; here it takes no time."""
    monkeypatch.setattr(bootstrap, "intervals", partial(bootstrap.intervals, times=50))


@pytest.fixture
def ended(make_site, write_lines):
    """Makes a deployed site at which the study has ended."""

    def make(**policy: object):
        source = {"kind": "jsonl", "paths": [str(write_lines(*map(line, range(40))))]}
        site = make_site(
            "ash",
            source=source,
            coordinator={"superlink": "fed.example.org:9443"},
            test_seed=None,
            policy=policy_table(**policy),
        )
        approval.decide(site, STUDY, approve=True)
        cohort.prepare(site, STUDY)
        header = RequestHeader(
            study=STUDY.canonical(), round=STUDY.rounds, code=code_fingerprint(),
            encoder=cohort.load(site, STUDY).identity,
        )  # fmt: skip
        local.evaluate(site, STUDY, header, STUDY.initial())
        return site

    return make


def test_the_whole_way_from_a_studys_end_to_a_patients_leaving(ended, tmp_path):
    site = ended()
    shown = run(site, "personalise", STUDY.digest[:12], "--json", str(tmp_path / "own.json"))
    assert shown.exit_code == 0, shown.stderr
    assert f"ash: study tiny {STUDY.digest[:12]}" in shown.stdout
    for words in ("federated", "fine-tuned", "mean-regularised", "macro-F1", "AUROC"):
        assert words in shown.stdout
    assert "they must not leave the site" in shown.stdout
    found = json.loads((tmp_path / "own.json").read_text())
    assert found["digest"] == STUDY.digest
    assert found["heldout"] > 0
    first, *own = found["heads"]
    best = max(own, key=lambda head: head["tune_f1"])
    assert best["tune_f1"] > first["tune_f1"]
    assert found["preferred"] == best["kind"]
    assert f"tune patients prefer the {best['kind']} head; kept in {found['kept']}" in shown.stdout
    low, high = best["intervals"]["micro_f1"]
    assert low <= best["scores"]["micro_f1"] <= high
    assert f"{best['scores']['micro_f1']:.3f} [{low:.3f}, {high:.3f}]" in shown.stdout

    files = [*site.at(site.heads).iterdir(), site.at(site.audit_log)]
    everything = "".join(path.read_text("latin-1") for path in files)
    assert "4711" not in everything + shown.stdout + (tmp_path / "own.json").read_text()

    made_by = own_heads.read(own_heads.path_of(site, STUDY.digest)).patients
    gone = next(n for n in range(40) if _hash(site, n) in made_by)
    shown = run(site, "purge", "--patient", "-", "--yes", input=f"MRN-4711-{gone}\n")
    assert shown.exit_code == 0, shown.stderr
    assert "Heads of its own that went  1" in shown.stdout
    assert not own_heads.files(site)
    assert site.open_log().lines()[-1]["heads"] == 1


def test_scores_of_few_patients_are_hidden(ended, tmp_path):
    site = ended(smallest_count=30)
    shown = run(site, "personalise", STUDY.digest, "--json", str(tmp_path / "own.json"))
    assert shown.exit_code == 0, shown.stderr
    assert "Scored on few held-out patients" in shown.stdout
    found = json.loads((tmp_path / "own.json").read_text())
    assert found["heldout"] is None
    assert {head["tune_f1"] for head in found["heads"]} == {None}
    assert [head["scores"] for head in found["heads"]] == [None, None, None]
    assert [head["intervals"] for head in found["heads"]] == [{}, {}, {}]
    assert found["preferred"] != "federated"  # which is no count


def test_what_goes_wrong_is_one_line_and_status_1(ended, tmp_path):
    site = ended()
    save_file({"x": STUDY.initial()["out.bias"]}, tmp_path / "x.safetensors")
    shown = run(site, "personalise", STUDY.digest, "--weights", str(tmp_path / "x.safetensors"))
    assert shown.exit_code == 1
    assert shown.stderr.startswith("fedward: x.safetensors does not hold the final weights")
    assert shown.stderr.count("\n") == 1
    shown = run(site, "personalise", "0123")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("fedward: no study at ash")
    assert run(site, "personalise").exit_code == 2
    assert not own_heads.files(site)


def test_where_the_federations_head_is_preferred_it_says_so(ended, monkeypatch):
    site = ended(smallest_count=30)  # which spares the intervals
    assert run(site, "personalise", STUDY.digest).exit_code == 0
    assert own_heads.files(site)
    monkeypatch.setattr(personal, "preferred", lambda heads: heads[0])
    shown = run(site, "personalise", STUDY.digest)
    assert "tune patients prefer no other head to the federation's: none is kept" in shown.stdout
    assert "the one kept before was removed" in shown.stdout
    assert not own_heads.files(site)


def _hash(site, number: int) -> bytes:
    return keyed_hash(f"MRN-4711-{number}", secret=site.key("patient"))
