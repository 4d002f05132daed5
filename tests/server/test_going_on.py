"""A study that is killed anywhere goes on; sites come, go, refuse and fail for a while."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from breaking_off import Death, Folder, Keeping, Killed
from builders import study_table
from standins import NAMES

from experiments.simulate.in_process import FIRST_NODE_ID
from privacy import accounting
from privacy.errors import StudyRefused
from server import roster
from server.checkpoint import load_weights
from server.roster import Patience
from server.rounds import TooFewSites
from tasks.study import Study

ROUNDS = 3
PATIENT = Patience(sites=4, seconds=3, again=0.05)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(roster, "LOOK_SECONDS", 0.05)


@pytest.fixture
def study() -> Study:
    """Three rounds, of which each needs two sites; it ends with the mean of the last two."""
    strategy = {"kind": "fedavg", "minimum_sites": 2, "mean_of_last": 2}
    return Study.parse_table(study_table(rounds=ROUNDS, strategy=strategy), where="three")


@pytest.fixture
def folder(study, tmp_path) -> Folder:
    return Folder(study, tmp_path, Keeping(study))


def writes_of_a_whole_run() -> int:
    """start, 4 sites, study, 4 sites, (asked, 4 replies, ...) and so on; see the test below."""
    return 1 + 4 + 5 + ROUNDS * (1 + 4 + 5 + 1 + 1) + (4 + 5 + 1) + 1 + 2


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_study_killed_at_any_write_goes_on_and_nothing_is_there_twice(
    study, tmp_path, monkeypatch, before
):
    whole = Folder(study, tmp_path / "whole", Keeping(study))
    expected = whole.run()
    total = len(whole.events("start", "site", "asked", "reply", "round", "end"))
    assert total + len(whole.sent()) + ROUNDS + 1 == writes_of_a_whole_run()

    for number in range(1, writes_of_a_whole_run()):
        folder = Folder(study, tmp_path / f"{number}", Keeping(study))
        with monkeypatch.context() as patch:
            Death(patch, number, before=before)
            with pytest.raises(Killed):
                folder.run()
        weights = folder.run()
        for name, value in expected.items():
            assert weights[name].tobytes() == value.tobytes(), number
        reported = [event["number"] for event in folder.events("round")]
        assert reported == [0, 1, 2, 3], number
        metrics = [(e["site"], e["step"]) for e in folder.sent() if e["op"] == "metrics"]
        assert sorted(metrics, key=str) == sorted(
            [(site, step) for site in (None, *NAMES) for step in range(ROUNDS + 1)], key=str
        ), number
        assert [e["op"] for e in folder.sent()].count("study") == 1
        assert folder.sent()[-1]["status"] == "FINISHED"
        assert set(folder.sites.charged.values()) == {1}, number
        last = folder.events("round")[-1]
        assert last["epsilons"] == whole.events("round")[-1]["epsilons"], number


def test_a_study_ends_with_the_mean_of_its_last_rounds_and_evaluates_it(study, tmp_path):
    plain = {"kind": "fedavg", "minimum_sites": 2}
    other = Study.parse_table(study_table(rounds=ROUNDS, strategy=plain), where="three")
    rounds = Folder(other, tmp_path / "plain", Keeping(other))
    rounds.run()
    second, third = (
        load_weights(rounds.path / "checkpoints" / f"round-0000{number}.safetensors")
        for number in (2, 3)
    )
    folder = Folder(study, tmp_path / "mean", Keeping(study))
    weights = folder.run()
    assert any((second[name] != third[name]).any() for name in weights)
    for name, value in weights.items():
        np.testing.assert_allclose(value, (second[name] + third[name]) / 2, rtol=1e-6)
    kept = load_weights(folder.path / "checkpoints" / "round-00003.safetensors")
    final = load_weights(folder.path / "final.safetensors")
    for name, value in weights.items():
        assert kept[name].tobytes() == final[name].tobytes() == value.tobytes()
    (asked,) = {given for _, kind, given in folder.sites.given if kind == f"False{ROUNDS}"}
    assert all(value.tobytes() in asked for value in weights.values())


def test_a_study_that_is_done_asks_for_nothing_new(folder):
    folder.run()
    asked = len(folder.sites.asked)
    folder.run()
    assert len(folder.sites.asked) == asked
    assert len(folder.events("round")) == ROUNDS + 1


def test_a_site_that_comes_later_takes_part_from_the_next_round(folder):
    folder.grid.there = lambda number: NAMES[:3] if number < 2 else NAMES
    folder.run(Patience(sites=3, seconds=3))
    trained = [set(e["sites"]) for e in folder.events("asked")]
    assert trained == [set(NAMES[:3])] * 2 + [set(NAMES)]
    assert [e["site"] for e in folder.events("site")] == list(NAMES)
    assert {"op": "site", "site": "dogwood"}.items() <= next(
        line for line in folder.sent() if line.get("site") == "dogwood"
    ).items()
    assert folder.events("round")[-1]["epsilons"].keys() == set(NAMES)


def test_a_site_that_goes_is_not_asked_and_may_come_back(folder):
    folder.grid.there = lambda number: NAMES[1:] if number == 1 else NAMES
    folder.run(PATIENT)
    assert [sorted(e["sites"]) for e in folder.events("asked")] == [
        sorted(NAMES), sorted(NAMES[1:]), sorted(NAMES)
    ]  # fmt: skip
    assert [(e["event"], e["site"]) for e in folder.events("left", "back")] == [
        ("left", "ash"), ("back", "ash")
    ]  # fmt: skip
    assert ("ash", 2) not in folder.sites.charged
    spent = folder.events("round")[-1]["epsilons"]
    assert spent["ash"] < spent["birch"]


def test_a_study_waits_for_the_sites_that_it_needs(folder):
    looks = iter(range(1000))
    folder.grid.there = lambda _: NAMES if next(looks) > 20 else NAMES[:1]
    folder.run(PATIENT)
    assert [e["sites"] for e in folder.events("waiting")] == [1, 2, 3, 4]
    assert {e["wanted"] for e in folder.events("waiting")} == {4}


def test_a_study_that_waited_in_vain_says_so_and_can_go_on(folder):
    folder.grid.there = lambda _: NAMES[:1]
    with pytest.raises(TooFewSites, match="1 sites take part, the study needs 2"):
        folder.run(Patience(sites=2, seconds=0.3))
    assert folder.sent() == []
    folder.grid.there = lambda _: NAMES
    folder.run(PATIENT)
    assert [e["reason"] for e in folder.events("end")] == [
        "1 sites take part, the study needs 2", None
    ]  # fmt: skip


def test_a_site_that_refused_is_asked_again_and_may_have_been_persuaded(folder):
    folder.sites.wrong["birch_hello"] = StudyRefused("study three awaits approval at birch")
    answers = folder.sites.hello
    times = Counter()

    def hello(message, context):
        name = NAMES[context.node_config["partition-id"]]
        times[name] += 1
        if times["birch"] > 3:
            folder.sites.wrong.pop("birch_hello", None)
        return answers(message, context)

    folder.sites.hello = hello
    folder.run(PATIENT)
    assert times == {"ash": 1, "birch": 4, "cedar": 1, "dogwood": 1}
    (said,) = folder.events("refused")
    assert said["reason"] == "StudyRefused: study three awaits approval at birch"
    assert {tuple(sorted(e["sites"])) for e in folder.events("asked")} == {tuple(sorted(NAMES))}


def test_those_who_fail_are_asked_again_where_too_few_answered(tmp_path):
    strategy = {"kind": "fedavg", "minimum_sites": 4}
    study = Study.parse_table(study_table(rounds=ROUNDS, strategy=strategy), where="four")
    folder = Folder(study, tmp_path, Keeping(study))
    folder.sites.fails = {("ash", 2): 1, ("birch", 3): 2}
    folder.run(PATIENT)
    asked = [(e["round"], len(e["sites"])) for e in folder.events("asked")]
    assert asked == [(1, 4), (2, 4), (2, 1), (3, 4), (3, 1), (3, 1)]
    spent = folder.events("round")[-1]["epsilons"]
    assert spent["cedar"] == spent["dogwood"] < spent["ash"] < spent["birch"]
    assert folder.sites.charged["birch", 3] == 3


def test_who_misses_two_rounds_in_a_row_is_asked_seldom(tmp_path):
    strategy = {"kind": "fedavg", "minimum_sites": 2}
    study = Study.parse_table(study_table(rounds=9, strategy=strategy), where="nine")
    folder = Folder(study, tmp_path, Keeping(study))
    folder.sites.fails = {("ash", number): 1 for number in (1, 2, 4)}
    folder.run(PATIENT)
    asked = [event["round"] for event in folder.events("asked") if "ash" in event["sites"]]
    assert asked == [1, 2, 4, 8, 9]
    assert [(e["site"], e["every"]) for e in folder.events("rests")] == [("ash", 4)]


def test_what_a_round_cost_is_known_after_a_crash(study, tmp_path, monkeypatch):
    whole = Folder(study, tmp_path / "whole", Keeping(study))
    whole.run()
    folder = Folder(study, tmp_path / "killed", Keeping(study))
    with monkeypatch.context() as patch:
        Death(patch, 24, before=True)
        with pytest.raises(Killed):
            folder.run()
    folder.run()
    assert folder.events("start")[-1]["round"] == 2
    for mine, theirs in zip(folder.events("round"), whole.events("round"), strict=True):
        assert (mine["bytes_down"], mine["bytes_up"]) == (theirs["bytes_down"], theirs["bytes_up"])


def test_a_round_that_fails_three_times_ends_the_study(tmp_path):
    strategy = {"kind": "fedavg", "minimum_sites": 4}
    study = Study.parse_table(study_table(rounds=ROUNDS, strategy=strategy), where="four")
    folder = Folder(study, tmp_path, Keeping(study))
    folder.sites.fails = {("ash", 2): 3}
    with pytest.raises(TooFewSites):
        folder.run(PATIENT)
    assert [e["round"] for e in folder.events("asked")] == [1, 2, 2, 2]
    folder.run(PATIENT)
    assert folder.sites.charged["birch", 2] == 1
    assert folder.events("round")[-1]["epsilons"]["ash"] > 8


def test_a_site_whose_ledger_went_back_is_asked_for_nothing_more_before_it_is_resumed(tmp_path):
    strategy = {"kind": "fedavg", "minimum_sites": 2}
    study = Study.parse_table(study_table(rounds=8, strategy=strategy), where="eight")
    folder = Folder(study, tmp_path, Keeping(study))
    receipts = iter(range(1, 100))

    def forgets(content):
        """From round 4 on the ledger counts from 1 again, and climbs."""
        said = json.loads(content["header"]["json"])
        if said["round"] > 3 and said["receipt"]:
            said["receipt"] = next(receipts)
        content["header"]["json"] = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return content

    folder.sites.wrong["cedar"] = forgets
    folder.run(PATIENT)
    (said,) = folder.events("refused")
    assert (said["site"], said["round"]) == ("cedar", 4)
    assert said["reason"].startswith("the site's ledger has gone back behind an earlier round")
    asked = [event["round"] for event in folder.events("asked") if "cedar" in event["sites"]]
    assert asked == [1, 2, 3, 4]


def test_a_node_that_gives_another_name_than_its_keys_is_left_out(folder):
    folder.sites.wrong["ash_hello"] = {"site": "birch"}
    names = dict(enumerate(NAMES, FIRST_NODE_ID))
    folder.grid.get_nodes = lambda: [
        SimpleNamespace(node_id=node, name=names[node]) for node in folder.grid.get_node_ids()
    ]
    folder.run()
    (said,) = folder.events("refused")
    assert (said["site"], said["reason"]) == (
        "ash", "is enrolled as ash, but its site.toml says birch"
    )  # fmt: skip
    assert {tuple(event["sites"]) for event in folder.events("asked")} == {NAMES[1:]}


def test_who_was_asked_before_a_crash_and_is_away_after_it_counts_as_charged(
    study, tmp_path, monkeypatch
):
    folder = Folder(study, tmp_path, Keeping(study))
    with monkeypatch.context() as patch:
        Death(patch, 20, before=True)  # in round 1, before its checkpoint
        with pytest.raises(Killed):
            folder.run(PATIENT)
    assert folder.events("asked")
    assert folder.sites.charged["ash", 1] == 1
    folder.grid.there = lambda number: NAMES[1:] if number < 2 else NAMES
    folder.run(Patience(sites=3, seconds=3, again=0.05))
    spent = folder.events("round")[-1]["epsilons"]
    assert spent["ash"] > 0
    rounds = {number for name, number in folder.sites.charged if name == "ash"}
    assert rounds == {1, 3}
    spends = [study.spend(number) for number in sorted(rounds)]
    assert spent["ash"] == pytest.approx(accounting.epsilon(spends, delta=1e-5))


def test_a_last_evaluation_that_nobody_answers_is_asked_for_again(folder):
    answers = folder.sites.release
    folder.sites.deaf = True

    def release(message, context, *, trains):
        if not trains and folder.sites.deaf:
            raise RuntimeError("nobody is here")
        return answers(message, context, trains=trains)

    folder.sites.release = release
    with pytest.raises(TooFewSites):
        folder.run()
    assert [event["number"] for event in folder.events("round")] == [0, 1, 2]
    folder.sites.deaf = False
    folder.run()
    assert [event["number"] for event in folder.events("round")] == [0, 1, 2, 3]
    assert folder.events("round")[-1]["metrics"]["patients"]
    assert [event["reason"] for event in folder.events("end")][-1] is None


def test_who_changes_the_declared_patients_cannot_go_on(study, tmp_path, monkeypatch):
    folder = Folder(study, tmp_path, Keeping(study))
    with monkeypatch.context() as patch:
        Death(patch, writes_of_a_whole_run() - 20, before=True)
        with pytest.raises(Killed):
            folder.run()
    folder.sites.wrong["ash_hello"] = {"declared_patients": 990}
    weights = folder.run()
    assert "changed its declared patients" in folder.events("refused")[0]["reason"]
    assert all(np.isfinite(value).all() for value in weights.values())
