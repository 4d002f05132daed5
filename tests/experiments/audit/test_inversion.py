"""Gradient inversion finds the notes with privacy off and none with it on."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from builders import policy_table, simulation_table

from experiments.audit.figure import draw
from experiments.audit.inversion import Inversion, Recovered, invert, recovered
from experiments.audit.run import Audited, prepared
from privacy.off import Off


@pytest.fixture
def make(study_file, tmp_path):
    def at_site(**changes) -> Audited:
        with prepared(
            study_file(**changes),
            data=tmp_path,
            home=tmp_path / "home",
            site=None,
            progress=lambda *_: None,
        ) as this:
            return this

    return at_site


@pytest.mark.parametrize(
    ("head", "optimizer", "cosine"),
    [
        ({"kind": "linear"}, {"kind": "sgd", "learning_rate": 0.5}, 0.999),
        ({"kind": "mlp", "hidden": [32]}, {"kind": "sgd", "learning_rate": 0.5}, 0.999),
        ({"kind": "code-query"}, {"kind": "sgd", "learning_rate": 0.5}, 0.999),
        # The first step of adam keeps little but the signs; they are enough.
        ({"kind": "linear"}, {"kind": "adam", "learning_rate": 0.01}, 0.5),
    ],
    ids=["linear", "mlp", "code-query", "adam"],
)
def test_notes_are_found_with_privacy_off_and_not_with_it_on(make, head, optimizer, cosine):
    this = make(head=head, optimizer=optimizer)
    found = invert(this)
    assert found.head == ("linear" if head["kind"] == "code-query" else head["kind"])
    assert found.notes == sum(len(bag.vectors) for bag in this.bags.train)
    assert found.off.share >= 0.9
    assert np.median(found.off.cosines) > cosine
    patients = len(this.bags.train)
    assert len(found.off.found) == len(found.on.found) == patients
    # One or two by chance, whatever the number of notes.
    assert found.on.found.sum() <= max(2, 3 * found.chance * patients)
    assert abs(np.mean(found.on.cosines)) < 0.1


def test_a_sum_of_one_patient_without_noise_is_the_note(make):
    """One clipped row under noise still tells little: 64 numbers squared against noise in each."""
    once = {"rounds": 1, "steps": 1, "sample_rate": 1.0, "head": {"kind": "ridge"}}
    policy = policy_table(mechanisms=["gaussian-sums"])
    this = make(
        simulation=simulation_table(policy=policy),
        privacy={"kind": "gaussian-sums", "epsilon": 1.0},
        **once,
    )
    found = invert(this)
    assert found.head == "ridge"
    assert found.off.share >= 0.9
    assert np.median(found.off.cosines) > 0.999
    assert found.on.found.sum() <= max(2, 3 * found.chance * len(this.bags.train))


def test_a_study_without_privacy_has_nothing_to_set_beside_it(make):
    this = make()
    this = dataclasses.replace(this, study=this.study.model_copy(update={"privacy": Off()}))
    found = invert(this)
    assert found.on is None
    assert found.off.share >= 0.9


def test_a_site_without_patients_says_so(make):
    this = make()
    nobody = dataclasses.replace(this, bags=dataclasses.replace(this.bags, train=[]))
    with pytest.raises(ValueError, match="ash has no training patients"):
        invert(nobody)


def test_an_update_that_moved_nothing_gives_nothing():
    weights = {"a.weight": np.ones((2, 3), np.float32), "a.bias": np.ones(2, np.float32)}
    assert not recovered(weights, weights).any()


def test_a_change_over_the_change_of_the_biases_is_the_vector():
    vector = np.array([3.0, -1.0, 2.0])
    pushed = np.array([0.5, -0.25])
    before = {"a.weight": np.zeros((2, 3), np.float32), "a.bias": np.zeros(2, np.float32)}
    after = {
        "a.weight": np.outer(pushed, vector).astype(np.float32),
        "a.bias": pushed.astype(np.float32),
    }
    assert recovered(before, after) == pytest.approx(vector)


@pytest.mark.parametrize("on", [True, False])
def test_the_figure_says_which_study_and_how_many_were_found(tmp_path, study, on):
    off = Recovered(np.array([1.0, 1.0 + 1e-12, 0.9]), np.array([True, True, False]))
    noisy = Recovered(np.array([-0.4, 0.0, 0.1]), np.array([False, False, False]))
    path = tmp_path / "inversion.svg"
    shown = study if on else study.model_copy(update={"privacy": Off()})
    draw(Inversion("linear", 250, off, noisy if on else None), shown, "ash", path)
    words = " ".join(re.findall(r">([^<>]+)</", path.read_text("utf-8")))
    for word in ("study tiny", "site ash", "linear head", "privacy off", "67%", "0.40%", "chance"):
        assert word in words
    assert ("dp-sgd" in words) is on


def test_a_figure_can_be_a_png(tmp_path: Path, study):
    off = Recovered(np.array([1.0, 0.9]), np.array([True, True]))
    draw(Inversion("mlp", 20, off, off), study, "ash", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
