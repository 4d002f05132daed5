"""The round loop against sites that lie, fail and fall silent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from builders import study_table
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from standins import DECLARED, NAMES, Sites

from experiments.simulate.in_process import InProcessGrid, _identity
from privacy.errors import StudyRefused
from server.checkpoint import load_weights
from server.journal import Follower, Journal
from server.outbox import Outbox
from server.rounds import Rounds, TooFewSites
from tasks import noised, tallies
from tasks.study import Study


def run(study: Study, folder: Path, **wrong: object):
    """Runs the study against four stand-ins; gives weights (or the error), events and sites."""
    sites = Sites(study, **wrong)
    grid = InProcessGrid(sites.app, nodes=4, run_config={}, run_id=1)
    journal, outbox = Journal(folder / "journal.jsonl"), Outbox(folder / "outbox.jsonl")
    loop = Rounds(study, grid, folder, journal, outbox)
    try:
        with _identity(run_id=1, node_id=1):
            result = loop.run()
    except TooFewSites as error:
        result = error
    journal.close()
    outbox.close()
    return result, list(Follower(folder / "journal.jsonl").events()), sites


def weighted(number: int, names: tuple[str, ...]) -> float:
    total = sum(DECLARED[name] for name in names)
    return sum(DECLARED[name] * (NAMES.index(name) + number) for name in names) / total


def refusals(events):
    return {event["site"]: event["reason"] for event in events if event["event"] == "refused"}


def test_updates_are_averaged_by_declared_patients(study, tmp_path):
    weights, events, _ = run(study, tmp_path)
    for value in weights.values():
        np.testing.assert_allclose(value, weighted(2, NAMES), rtol=1e-6)
    assert [event["number"] for event in events if event["event"] == "round"] == [0, 1, 2]
    assert {key: value for key, value in events[-1].items() if key != "at"} == {
        "event": "end",
        "weights": str(tmp_path / "final.safetensors"),
        "reason": None,
    }


def test_every_round_leaves_a_checkpoint(study, tmp_path):
    weights, _, _ = run(study, tmp_path)
    last = load_weights(tmp_path / "checkpoints" / "round-00002.safetensors")
    first = load_weights(tmp_path / "checkpoints" / "round-00001.safetensors")
    for name, value in weights.items():
        np.testing.assert_array_equal(value, last[name])
        np.testing.assert_allclose(first[name], weighted(1, NAMES), rtol=1e-6)


def nan(content):
    name = next(iter(content["update"]))
    bad = content["update"][name].numpy().copy()
    bad.flat[0] = np.nan
    content["update"][name] = Array(bad)
    return content


def other_shape(content):
    name = next(iter(content["update"]))
    content["update"][name] = Array(np.zeros((3, 3), np.float32))
    return content


def extra_array(content):
    content["update"]["weights.of.mine"] = Array(np.zeros(1, np.float32))
    return content


def extra_record(content):
    content["more"] = ConfigRecord({"name": "Zebulon"})
    return content


def with_header(**changes):
    def change(content):
        header = json.loads(content["header"]["json"]) | changes
        content["header"]["json"] = json.dumps(header, sort_keys=True, separators=(",", ":"))
        return content

    return change


def no_update(content):
    content["update"] = ArrayRecord({})
    return content


def negative(content):
    shape, _ = tallies.shapes(8)[tallies.TUNE]
    content["tallies"][tallies.TUNE] = Array(np.full(shape, -1, np.int64))
    return content


def more_hits_than_stays(content):
    content["tallies"][tallies.RANKS] = Array(np.array([5.0, 1.0, 0.0, 1.0]))
    return content


def beyond_belief(content):
    shape, _ = tallies.shapes(8)[tallies.TUNE]
    content["tallies"][tallies.TUNE] = Array(np.full(shape, 2**62, np.int64))
    return content


def overflowing(content):
    name = next(iter(content["update"]))
    content["update"][name] = Array(np.full_like(content["update"][name].numpy(), 3e38))
    return content


def huge_weight(content):
    return with_header(declared_patients=10**9)(content)


LIES = {
    "nan": (nan, "not finite"),
    "shape": (other_shape, "must be float32 of shape"),
    "extra array": (extra_array, "does not ask for"),
    "extra record": (extra_record, "must hold exactly"),
    "another site": (with_header(site="birch"), "another site's"),
    "another round": (with_header(round=1), "another site's or another round's"),
    "another study": (with_header(study="0" * 64), "another study"),
    "other code": (with_header(code="0" * 64), "changed its code"),
    "other encoder": (with_header(encoder="0" * 64), "changed its code or encoder"),
    "more say": (huge_weight, "changed its declared patients"),
    "less noise": (with_header(noise_multiplier=0.1), "charged something else"),
    "no charge": (with_header(receipt=None), "must say what it was charged"),
    "no update": (no_update, "a charge without an update"),
    "negative": (negative, "below zero"),
    "more hits than stays": (more_hits_than_stays, "more hits than stays"),
    "beyond belief": (beyond_belief, "beyond belief"),
    "overflow": (overflowing, "a weight beyond"),
    "not a message": (lambda _: RecordDict({}), "must hold exactly"),
}


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_wrong_reply_costs_its_site_the_round_and_nobody_else(study, tmp_path, lie):
    change, said = LIES[lie]
    weights, events, _ = run(study, tmp_path, dogwood=change, round=2)
    assert said in refusals(events)["dogwood"]
    assert "Zebulon" not in json.dumps(events)
    for value in weights.values():
        np.testing.assert_allclose(value, weighted(2, NAMES[:3]), rtol=1e-6)


# Noised tallies


def rounds(events):
    return [event for event in events if event["event"] == "round"]


def test_sites_with_noised_tallies_take_part_and_say_how_many_patients_to_nobody(study, tmp_path):
    weights, events, _ = run(study, tmp_path, noise=dict.fromkeys(NAMES, 20.0))
    assert not refusals(events)
    assert [event["number"] for event in rounds(events)] == [0, 1, 2]
    for event in rounds(events):
        assert set(event["sites"]) == set(NAMES)
        for found in (event["metrics"], *event["sites"].values()):
            assert found.pop("patients") == 0
            assert set(found.values()) == {None}
    for value in weights.values():
        np.testing.assert_allclose(value, weighted(2, NAMES), rtol=1e-6)


def test_noised_and_exact_sites_take_part_together(study, tmp_path):
    _, events, _ = run(study, tmp_path, noise={"ash": 20.0})
    assert not refusals(events)
    for event in rounds(events):
        assert event["metrics"]["patients"] == 7 * 3
        assert event["sites"]["ash"]["patients"] == 0
        assert event["sites"]["birch"]["patients"] == 7


def noised_sums(**sums):
    def change(content):
        for name, (shape, _) in noised.shapes().items():
            value = sums.get(name.rpartition("/")[2].replace("-", "_"), 0.0)
            content["tallies"][name] = Array(np.broadcast_to(np.float64(value), shape).copy())
        return content

    return change


WILD = {
    "more hits than stays": noised_sums(noised_ranks=[5.0, 1.0, 9.0, 1.0]),
    "less than nobody": noised_sums(noised=-1e9, noised_ranks=-1e9),
    "as much as is believed": noised_sums(noised=1e12, noised_ranks=1e12),
    "both": noised_sums(noised=[[-1e12], [1e12]], noised_ranks=[1e12, -1e12, 5e-324, 1e-300]),
}


@pytest.mark.parametrize("change", WILD.values(), ids=WILD)
def test_what_noise_may_do_is_not_held_against_a_site(study, tmp_path, change):
    _, events, _ = run(study, tmp_path, noise={"dogwood": 20.0}, dogwood=change)
    assert not refusals(events)
    for event in rounds(events):
        for found in (event["metrics"], *event["sites"].values()):
            for name in ("micro_f1", "map", "p_at_8"):
                assert found[name] is None or 0 <= found[name] <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (noised_sums(noised=1.1e12), "beyond belief"),
        (noised_sums(noised=np.nan), "not finite"),
        (with_header(tally_noise=0.0), "not the sort of tally that was charged"),
        (with_header(tally_receipt=None), "tallies must say what they were charged"),
        (with_header(patients=dict.fromkeys(noised.shapes(), 7)), "patients is private"),
    ],
    ids=["beyond belief", "not finite", "no noise", "no charge", "patients"],
)
def test_wrong_noised_tallies_cost_their_site_the_round(study, tmp_path, change, said):
    _, events, _ = run(study, tmp_path, noise={"dogwood": 20.0}, dogwood=change, round=2)
    assert said in refusals(events)["dogwood"]


def test_a_refusing_site_is_left_out_with_its_reason(study, tmp_path):
    weights, events, sites = run(study, tmp_path, birch_hello=StudyRefused("policy says no"))
    assert "StudyRefused: policy says no" in refusals(events).values()
    assert not [asked for asked in sites.asked if asked[0] == "birch"]
    for value in weights.values():
        np.testing.assert_allclose(value, weighted(2, ("ash", "cedar", "dogwood")), rtol=1e-6)


def test_a_site_with_another_encoder_or_other_code_is_left_out(study, tmp_path):
    _, events, _ = run(
        study, tmp_path, ash_hello={"encoder": "f" * 64}, cedar_hello={"code": "0" * 64}
    )
    assert "another encoder" in refusals(events)["ash"]
    assert "another version of the code" in refusals(events)["cedar"]


def test_two_nodes_cannot_be_one_site(study, tmp_path):
    _, events, sites = run(study, tmp_path, birch_hello={"site": "ash"})
    assert refusals(events) == {"ash": "two nodes say that they are this site"}
    assert len([asked for asked in sites.asked if asked == ("ash", "train", 1)]) == 1


def test_too_few_sites_stop_the_study_and_say_so(tmp_path):
    study = Study.parse_table(
        study_table(strategy={"kind": "fedavg", "minimum_sites": 4}), where="four"
    )
    result, events, _ = run(study, tmp_path, ash=nan, round=1)
    assert str(result) == "3 sites take part, the study needs 4"
    assert (events[-1]["event"], events[-1]["weights"]) == ("end", None)
    assert events[-1]["reason"] == str(result)
    assert not (tmp_path / "final.safetensors").exists()


def test_bytes_are_those_of_the_records(study, tmp_path):
    _, events, _ = run(study, tmp_path)
    first = next(e for e in events if e["event"] == "round" and e["number"] == 1)
    numbers = sum(value.size for value in study.initial().values())
    counts = sum(int(np.prod(shape)) for shape, _ in tallies.shapes(8).values())
    # Each of four sites gets the weights and the study's own text.
    asked = 4 * (numbers * 4 + len(study.canonical()))
    assert first["bytes_down"] == pytest.approx(asked, rel=0.3)
    assert first["bytes_up"] == pytest.approx(4 * (numbers * 4 + counts * 8), rel=0.05)


def test_epsilon_grows_with_the_rounds_and_ends_at_the_promise(study, tmp_path):
    _, events, _ = run(study, tmp_path)
    found = [event["epsilon"] for event in events if event["event"] == "round"]
    assert found[0] == 0
    assert found[1] < found[2] <= 8
    assert found[2] > 7.8
