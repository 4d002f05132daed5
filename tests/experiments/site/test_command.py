"""`fedward site ...` as an operator types it."""

from __future__ import annotations

import json
import shutil

import pytest
import tomli_w
from builders import policy_table, study_table
from typer.testing import CliRunner

from client import approval
from client.promises import shown as epsilon
from experiments.command import app
from experiments.site.pages import epsilon_left
from privacy.errors import LedgerBroken
from tasks import icd
from tasks.study import Study

# Wide, so that no table breaks a word.
RUN = CliRunner(env={"COLUMNS": "300"})


def run(site, *words: str, **options: object):
    """Runs `fedward site` on a site."""
    return RUN.invoke(app, ["site", *words, "--site", str(site.folder / "site.toml")], **options)


def many_codes() -> list[str]:
    """A hundred and more categories."""
    named = [f"{letter}{number:02}" for letter in "AB" for number in range(100)]
    return [code for code in named if icd.is_category(code)]


def asking(*codes: str, note_kinds: list[str] | None = None, **changes: object) -> Study:
    task = {"kind": "icd-coding", "codes": list(codes), "note_kinds": note_kinds or []}
    return Study.parse_table(study_table(task=task, **changes), where="asking")


@pytest.fixture
def strict(make_site):
    return make_site("ash", policy=policy_table(studies="approved"), test_seed=None)


def test_the_ledger_is_a_table_and_json(strict, study, tmp_path):
    assert "nothing was ever spent" in run(strict, "ledger").stdout
    approval.decide(strict, study, approve=True)
    strict.open_ledger().reserve(study.spend(1), lifetime=strict.policy.lifetime)
    shown = run(strict, "ledger", "--json", str(tmp_path / "ledger.json"))
    assert shown.exit_code == 0
    assert f"tiny {study.digest[:8]}" in shown.stdout
    assert "of 8.00 at delta 1e-05" in shown.stdout
    assert "2 entries, the hash chain holds" in shown.stdout
    table = json.loads((tmp_path / "ledger.json").read_text())
    assert table["spent"] == pytest.approx(strict.open_ledger().epsilon(delta=1e-5))
    assert table["lines"][0]["study"] == study.digest


def test_a_broken_ledger_is_one_line_and_status_1(strict, study):
    strict.open_ledger().reserve(study.spend(1), lifetime=strict.policy.lifetime)
    strict.at(strict.mark).unlink()
    shown = run(strict, "ledger")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("fedward: ledger.sqlite: its high-water mark is missing")
    again = run(strict, "ledger", "--new-mark")
    assert again.exit_code == 0
    assert "a new high-water mark of the ledger stands at 1" in again.stdout
    assert strict.open_log().lines()[-1]["event"] == "mark"


def test_a_lost_mark_is_begun_again_in_the_ledger_and_in_the_log(strict, study):
    """One file holds the marks of both."""
    strict.open_ledger().reserve(study.spend(1), lifetime=strict.policy.lifetime)
    for _ in range(3):
        strict.open_log().write("prepared", study=study.digest, rules=1)
    shutil.rmtree(strict.at(strict.mark).parent)
    with pytest.raises(LedgerBroken, match="begins another"):
        strict.open_log().write("prepared", study=study.digest, rules=1)
    again = run(strict, "ledger", "--new-mark")
    assert again.exit_code == 0, again.stderr
    assert "a new high-water mark of the audit log stands at 3" in again.stdout
    assert [line["chain"] for line in strict.open_log().lines()[-2:]] == ["ledger", "audit log"]
    assert len(strict.open_ledger().entries()) == 1
    once_more = run(strict, "ledger", "--new-mark")
    assert once_more.exit_code == 1
    assert "no high-water mark is missing" in once_more.stderr


def test_what_waits_is_listed_shown_and_approved(strict, study, tmp_path):
    assert "no study awaits approval at ash" in run(strict, "approve").stdout
    approval.wait(strict, study)
    assert study.digest[:16] in run(strict, "approve").stdout
    shown = run(
        strict, "approve", study.digest[:12], "--yes", "--json", str(tmp_path / "page.json")
    )
    assert shown.exit_code == 0, shown.stderr
    for words in (
        "Who asks",
        "the study does not say",
        "Starts from",
        "Leaves each round",
        "Never leaves",
    ):
        assert words in shown.stdout
    assert f"approved: tiny {study.digest}" in shown.stdout
    assert json.loads((tmp_path / "page.json").read_text())["digest"] == study.digest
    assert approval.approved(strict.open_ledger(), study.digest)
    gone = run(strict, "approve", study.digest, "--revoke", "--yes")
    assert gone.exit_code == 0
    assert not approval.approved(strict.open_ledger(), study.digest)


def test_nothing_is_approved_where_nobody_answers(strict, study):
    approval.wait(strict, study)
    shown = run(strict, "approve", study.digest)
    assert shown.exit_code == 1
    assert "nobody is here to ask" in shown.stderr
    assert strict.open_ledger().entries() == ()


def test_few_digits_decide_nothing_where_nobody_is_asked(strict, study):
    approval.wait(strict, study)
    shown = run(strict, "approve", study.digest[:11], "--yes")
    assert shown.exit_code == 1
    assert "--yes needs at least 12 digits of the digest" in shown.stderr
    assert strict.open_ledger().entries() == ()


def test_every_code_that_is_asked_stands_on_the_page_with_its_title(strict, study):
    approval.wait(strict, study)
    shown = run(strict, "approve", study.digest).stdout
    for code in study.outputs:
        assert f"{code} {icd.title(code)}" in shown


def test_of_many_codes_the_page_says_where_all_are_and_json_has_them(strict, tmp_path):
    many = many_codes()
    study = asking(*many)
    approval.wait(strict, study)
    shown = run(strict, "approve", study.digest, "--json", str(tmp_path / "page.json"))
    assert f"{len(many)}, too many for here; fedward site approve {study.digest[:12]} --json" in (
        shown.stdout
    )
    table = json.loads((tmp_path / "page.json").read_text())
    assert table["outputs"] == many
    assert table["titles"][many[50]] == icd.title(many[50])


@pytest.mark.parametrize("columns", ["300", "60"])
def test_one_swapped_code_of_many_is_seen_and_warned_of(strict, columns):
    many = many_codes()
    approval.decide(strict, asking(*many), approve=True)
    swapped = asking(*many[:70], "I10", *many[71:])
    approval.wait(strict, swapped)
    shown = run(strict, "approve", swapped.digest, env={"COLUMNS": columns}).stdout
    for words in (f"- {many[70]}", "+ I10", f"{len(many) - 1} the same", "WARNING: differencing"):
        assert words in shown


def test_what_differs_is_not_cut(strict, study):
    many = many_codes()
    approval.decide(strict, study, approve=True)
    asked = asking(*study.outputs, *many, about={"purpose": "x" * 300})
    approval.wait(strict, asked)
    shown = run(strict, "approve", asked.digest, env={"COLUMNS": "700"}).stdout
    assert "x" * 300 in shown.split("Different from")[1]
    assert all(f"+ {code}" in shown for code in many)


def test_a_study_cannot_write_rows_of_its_own(strict):
    forged = asking("I10", note_kinds=["x\nNever leaves: anything\x1b[2J\u202e"])
    approval.wait(strict, forged)
    shown = run(strict, "approve", forged.digest).stdout
    assert r"x\nNever leaves: anything\x1b[2J\u202e notes" in shown


def test_a_page_that_cannot_be_compared_says_so(strict, study):
    approval.decide(strict, study, approve=True)
    (strict.at(strict.studies) / f"{study.digest}.json").unlink()
    asked = asking("I10")
    approval.wait(strict, asked)
    shown = run(strict, "approve", asked.digest).stdout
    assert f"the study approved last is missing here (tiny {study.digest[:12]})" in shown
    assert "No study was approved before" not in shown
    assert "1 study ran or had approval here without a file here" in shown


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ("exact", "WARNING: whoever controls the coordinator can compute note vectors"),
        ("noised", "for 9, which is as many as may be asked for (delta 1e-06)"),
        ("withheld", "0: nothing of tune and held-out patients leaves"),
    ],
)
def test_the_page_tells_training_from_held_out_patients(make_site, study, metrics, words):
    policy = policy_table(metrics=metrics, heldout={"epsilon": 2.0, "delta": 1e-6})
    site = make_site("ash", policy=policy, test_seed=None)
    approval.wait(site, study)
    shown = run(site, "approve", study.digest).stdout
    assert words in shown
    assert "training patients: whoever sees all" in shown
    assert "tune and held-out patients: " in shown
    assert ("the true number of patients" in shown) is (metrics != "exact")


def test_what_the_ledger_cannot_count_is_said_beside_it(strict, study):
    old = strict.model_copy(update={"dataset": "old"})
    old.open_ledger().reserve(study.spend(1), lifetime=old.policy.lifetime)
    for verb in ("ledger", "statement"):
        shown = run(strict, verb).stdout
        assert "put `mark` on another disk" in shown
        assert "old: epsilon " in shown
    assert "at delta 1e-05" in run(strict, "ledger").stdout


def test_a_study_file_can_be_approved_before_it_comes(strict, study_file):
    path = study_file()
    study = Study.read(path)
    wrong = run(strict, "approve", "0" * 12, "--study", str(path), "--yes")
    assert (wrong.exit_code, f"is study {study.digest}, not" in wrong.stderr) == (1, True)
    shown = run(strict, "approve", study.digest[:12], "--study", str(path), "--yes")
    assert shown.exit_code == 0, shown.stderr
    assert approval.approved(strict.open_ledger(), study.digest)


def test_a_study_that_breaks_the_policy_is_shown_and_not_approved(strict):
    off = Study.parse_table(study_table(privacy={"kind": "off"}), where="off")
    approval.wait(strict, off)
    shown = run(strict, "approve", off.digest, "--yes")
    assert shown.exit_code == 1
    assert "policy.mechanisms allows dp-sgd" in shown.stdout
    assert "breaks this site's policy" in shown.stderr


def test_a_claim_is_printed_and_its_absence_is_status_1(strict, study, make_site, tmp_path):
    assert "Nothing was ever trained" in run(strict, "statement").stdout
    strict.open_ledger().reserve(study.spend(1), lifetime=strict.policy.lifetime)
    shown = run(strict, "statement", "--json", str(tmp_path / "s.json"))
    assert shown.exit_code == 0
    assert "differentially private" in shown.stdout
    assert json.loads((tmp_path / "s.json").read_text())["holds"] is True
    seeded = make_site("birch")
    seeded.open_ledger().reserve(study.spend(1), lifetime=seeded.policy.lifetime)
    shown = run(seeded, "statement")
    assert shown.exit_code == 1
    assert "NO CLAIM" in shown.stdout


def test_the_log_is_checked_before_it_is_shown(strict, study):
    approval.decide(strict, study, approve=True)
    shown = run(strict, "log")
    assert "approved" in shown.stdout
    assert "1 line, the hash chain holds" in shown.stdout
    path = strict.at(strict.audit_log)
    path.write_text(path.read_text().replace("tiny", "tidy"))
    shown = run(strict, "log")
    assert shown.exit_code == 1
    assert "line 1 was edited" in shown.stderr


@pytest.mark.parametrize("verb", ["ledger", "statement", "log", "approve"])
def test_a_site_that_is_not_there_is_said_in_one_line(verb, tmp_path):
    shown = RUN.invoke(app, ["site", verb, "--site", str(tmp_path / "no.toml")])
    assert shown.exit_code == 1
    assert "no such file" in shown.stderr


@pytest.mark.parametrize(
    ("value", "spent", "left"),
    [
        (0.0, "0.00", "0.00"),
        (2.991, "3.00", "2.99"),
        (2.999, "3.00", "2.99"),
        (8.0, "8.00", "8.00"),
    ],
)
def test_what_was_spent_is_rounded_up_and_what_is_left_down(value, spent, left):
    assert (epsilon(value), epsilon_left(value)) == (spent, left)


@pytest.fixture
def prepared(make_site, study):
    from client import cohort

    site = make_site("ash", test_seed=None)
    cohort.prepare(site, study)
    return site


def test_a_study_is_purged_with_a_proof_and_a_line_in_the_log(prepared, study, tmp_path):
    shown = run(
        prepared, "purge", "--study", study.digest[:9], "--yes", "--json", str(tmp_path / "p")
    )
    assert shown.exit_code == 0, shown.stderr
    proof = json.loads((tmp_path / "p").read_text())
    assert (proof["study"], proof["remaining"]) == (study.digest, 0)
    assert proof["records"] > 0
    assert proof["found_before"] > 0
    assert f"purged from ash: study {study.digest}" in shown.stdout
    line = prepared.open_log().lines()[-1]
    assert (line["event"], line["records"]) == ("purged", proof["records"])


def test_a_patients_id_is_read_from_stdin_and_is_in_no_log(prepared):
    from client.sources.source import Attrition

    patients = prepared.source.patients(root=prepared.folder, attrition=Attrition())
    patient = next(iter(patients)).id
    shown = run(prepared, "purge", "--patient", "-", "--yes", input=f"{patient}\n")
    assert shown.exit_code == 0, shown.stderr
    assert patient not in shown.stdout + prepared.at(prepared.audit_log).read_text()


def test_everything_goes_with_its_key(prepared):
    shown = run(prepared, "purge", "--everything", "--yes")
    assert shown.exit_code == 0, shown.stderr
    assert not prepared.at(prepared.vectors).exists()
    assert not prepared.at(prepared.store_key).exists()
    assert "Key of the store destroyed" in shown.stdout


def test_nothing_is_purged_by_mistake(prepared, study):
    assert run(prepared, "purge", "--everything").exit_code == 1
    assert run(prepared, "purge").exit_code == 2
    assert run(prepared, "purge", "--everything", "--study", study.digest).exit_code == 2
    shown = run(prepared, "purge", "--study", "0123", "--yes")
    assert shown.exit_code == 1
    assert "no study at ash" in shown.stderr
    assert prepared.at(prepared.vectors).exists()


def test_check_says_line_by_line_what_is_wrong(strict, study, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(tomli_w.dumps(study_table()), "utf-8")
    strict.key("split")
    shown = run(strict, "check", "--study", str(path), "--json", str(tmp_path / "check.json"))
    assert shown.exit_code == 1
    lines = shown.stdout.splitlines()
    assert any(line.startswith("source       ok") for line in lines)
    assert any(line.startswith("coordinator  WRONG") for line in lines)
    assert "1 to mend before a study can run here" in shown.stdout
    found = json.loads((tmp_path / "check.json").read_text())
    assert [one["what"] for one in found if one["state"] == "wrong"] == ["coordinator"]
    assert run(strict, "check", "--study", str(tmp_path / "no.toml")).exit_code == 1
