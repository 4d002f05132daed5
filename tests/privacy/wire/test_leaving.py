"""What leaves a site is what the study asks for, backed by a charge in its ledger."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from wire_builders import (
    CONTRACT,
    LABELS,
    NO_CEILING,
    OPEN,
    OTHER,
    PATIENT,
    RANKS,
    SPEND,
    UNCHARGED,
    broken,
    charged,
    evaluation,
    header,
    labels,
    packed_by,
    packed_by_a_liar,
    release,
    tallies,
    update,
)

from privacy.errors import ReleaseBlocked
from privacy.ledger import Ledger, Receipt
from privacy.release import Release, Tally
from privacy.wire import check_weights, pack_release, unpack_release


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Ledger:
    """`TRAINED` and its tallies, then charges of another round (4) and of another study (5)."""
    made = charged(tmp_path_factory.mktemp("site"))
    for change in ({"round": 3}, {"study": OTHER}):
        made.reserve(SPEND.model_copy(update=change), lifetime=NO_CEILING)
    return made


def with_update(**arrays: Any) -> Release:
    named = {name.replace("_", "."): value for name, value in arrays.items()}
    return release(update={**update(), **named})


def without(name: str) -> Release:
    return release(update={key: value for key, value in update().items() if key != name})


def with_labels(sums: np.ndarray) -> Release:
    return release(tallies=(Tally(LABELS, sums, 40), tallies()[1]))


def with_ranks(sums: np.ndarray) -> Release:
    return release(tallies=(tallies()[0], Tally(RANKS, sums, 40)))


def charged_evaluation(**charge: Any) -> Release:
    return dataclasses.replace(evaluation(), header=evaluation().header.model_copy(update=charge))


DEVIATIONS: dict[str, Callable[[], Release]] = {
    "a missing array": lambda: without("out.bias"),
    "an extra array": lambda: with_update(embedding=np.zeros(3, np.float32)),
    "a renamed array": lambda: release(
        update={"bias": update()["out.bias"], "out.weight": update()["out.weight"]}
    ),
    "transposed": lambda: with_update(out_weight=update()["out.weight"].T),
    "flattened": lambda: with_update(out_weight=update()["out.weight"].reshape(-1)),
    "longer": lambda: with_update(out_bias=np.zeros(4, np.float32)),
    "float64": lambda: with_update(out_bias=np.zeros(3)),
    "float16": lambda: with_update(out_bias=np.zeros(3, np.float16)),
    "int32": lambda: with_update(out_bias=np.zeros(3, np.int32)),
    "big-endian": lambda: with_update(out_bias=np.zeros(3, ">f4")),
    "objects": lambda: with_update(out_bias=np.array([PATIENT] * 3, object)),
    "texts": lambda: with_update(out_bias=np.array([PATIENT] * 3)),
    "NaN": lambda: with_update(out_bias=broken(update()["out.bias"], np.nan)),
    "infinity": lambda: with_update(out_weight=broken(update()["out.weight"], np.inf)),
    "minus infinity": lambda: with_update(out_weight=broken(update()["out.weight"], -np.inf)),
    "a weight beyond belief": lambda: with_update(out_bias=broken(update()["out.bias"], -2e6)),
    "a negative count": lambda: with_labels(broken(labels(), -1)),
    "the lowest count": lambda: with_labels(broken(labels(), np.iinfo(np.int64).min)),
    "a count beyond belief": lambda: with_labels(broken(labels(), 2 * 10**12)),
    "a count in float64": lambda: with_labels(labels().astype(np.float64)),
    "a count in int32": lambda: with_labels(labels().astype(np.int32)),
    "a count of another shape": lambda: with_labels(labels()[:, :2]),
    "a sum in int64": lambda: with_ranks(np.arange(4)),
    "a NaN in a tally": lambda: with_ranks(np.array([0, 1, np.nan, 2])),
    "infinity in a tally": lambda: with_ranks(np.array([0, 1, np.inf, 2])),
    "a negative sum": lambda: with_ranks(np.array([0, 1, -0.5, 2])),
    "a tally not asked for": lambda: release(
        header=header(patients={**header().patients, "train/loss": 40}),
        tallies=(*tallies(), Tally("train/loss", np.zeros(1), 40)),
    ),
    "a tally twice": lambda: release(tallies=(*tallies(), tallies()[0])),
    "a tally without its patients": lambda: release(header=header(patients={LABELS: 40})),
    "patients without their tally": lambda: release(tallies=tallies()[:1]),
    "another study": lambda: release(header=header(study=OTHER)),
    "an update without a charge": lambda: release(header=header(**UNCHARGED)),
    "an update without its receipt's number": lambda: release(header=header(receipt=None)),
    "an update that does not say which attempt": lambda: release(header=header(attempt=None)),
    "an update without its noise": lambda: release(header=header(noise_multiplier=None)),
    "an update without its rate": lambda: release(header=header(sample_rate=None)),
    "an update without its steps": lambda: release(header=header(steps=None)),
    "a charge without an update": lambda: release(update={}),
    "a receipt's number without an update": lambda: charged_evaluation(receipt=1),
    "an attempt without an update": lambda: charged_evaluation(attempt=1),
    "noise without an update": lambda: charged_evaluation(noise_multiplier=1.0),
    "tallies without their receipt's number": lambda: evaluation(tally_receipt=None),
    "tallies without their noise": lambda: evaluation(tally_noise=None),
    "a tally's receipt without tallies": lambda: dataclasses.replace(
        evaluation(patients={}), tallies=()
    ),
}


@pytest.mark.parametrize("make", DEVIATIONS.values(), ids=DEVIATIONS)
def test_a_deviation_does_not_leave(ledger, make):
    with pytest.raises(ReleaseBlocked) as caught:
        packed_by(ledger, make())
    assert "Mustermann" not in str(caught.value)


# A dict of arrays cannot hold one name twice, and objects cannot be packed at all.
@pytest.mark.parametrize("name", sorted(set(DEVIATIONS) - {"a tally twice", "objects"}))
def test_a_deviation_does_not_enter(name):
    with pytest.raises(ReleaseBlocked) as caught:
        unpack_release(packed_by_a_liar(DEVIATIONS[name]()), contract=CONTRACT)
    assert "Mustermann" not in str(caught.value)


SITE_ONLY: dict[str, Callable[[], Release]] = {
    "no receipt": lambda: release(receipt=None),
    "a receipt that the ledger never wrote": lambda: release(
        header=header(receipt=99), receipt=Receipt(99, SPEND)
    ),
    "a receipt with less noise than was charged": lambda: release(
        header=header(noise_multiplier=0.5),
        receipt=Receipt(1, SPEND.model_copy(update={"noise_multiplier": 0.5})),
    ),
    "a receipt for another round": lambda: release(
        header=header(receipt=4), receipt=Receipt(4, SPEND.model_copy(update={"round": 3}))
    ),
    "a receipt for another study": lambda: release(
        header=header(receipt=5), receipt=Receipt(5, SPEND.model_copy(update={"study": OTHER}))
    ),
    "a charge of the held-out patients": lambda: release(
        header=header(receipt=2), receipt=Receipt(2, SPEND, "heldout")
    ),
    "a header for another round": lambda: release(header=header(round=3)),
    "a header with another receipt's number": lambda: release(header=header(receipt=4)),
    "a header with another attempt": lambda: release(header=header(attempt=2)),
    "a header that claims other noise": lambda: release(header=header(noise_multiplier=9.0)),
    "a header that claims another rate": lambda: release(header=header(sample_rate=0.01)),
    "a header that claims other steps": lambda: release(header=header(steps=1)),
    "a header that claims other patients": lambda: release(
        header=header(patients={LABELS: 40, RANKS: 4000})
    ),
    "a header that names other code": lambda: release(header=header(code=OTHER)),
}


@pytest.mark.parametrize("make", SITE_ONLY.values(), ids=SITE_ONLY)
def test_what_the_ledger_does_not_back_does_not_leave(ledger, make):
    with pytest.raises(ReleaseBlocked):
        packed_by(ledger, make())


def test_a_charge_of_the_heldout_backs_no_update(tmp_path):
    own = Ledger(tmp_path / "ledger.sqlite", dataset="icu", mark=tmp_path / "mark.sqlite")
    receipt = own.reserve(SPEND, lifetime=NO_CEILING, cohort="heldout")
    assert own.holds(receipt)
    with pytest.raises(ReleaseBlocked, match="an update without a charge"):
        packed_by(own, release(header=header(receipt=receipt.id), receipt=receipt))


def test_a_charge_of_another_dataset_backs_no_update(ledger):
    other = Ledger(ledger.path, dataset="ward", mark=ledger.path.with_name("mark.sqlite"))
    with pytest.raises(ReleaseBlocked, match=r"(no|without a) charge in the ledger"):
        packed_by(other, release())


def test_a_site_may_withhold_tallies_and_needs_no_charge_for_them(ledger):
    quiet = release(header=header(patients={}, tally_receipt=None, tally_noise=None), tallies=())
    assert dict(packed_by(ledger, quiet)["tallies"]) == {}


def unchecked(**changes: Any) -> Release:
    """With a header as copying makes it: nothing in it is checked."""
    return release(header=header().model_copy(update=changes))


@pytest.mark.parametrize(
    "change",
    [
        {"site": PATIENT},
        {"site": "a" * 64},
        {"encoder": "x"},
        {"declared_patients": 0},
        {"declared_patients": 3.5},
        {"patients": {LABELS: 40, RANKS: 40, 3: 4}},
        {"round": 2.0},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydantic")
def test_a_header_that_was_never_validated_does_not_leave(ledger, change):
    with pytest.raises(ReleaseBlocked) as caught:
        packed_by(ledger, unchecked(**change))
    assert "Mustermann" not in str(caught.value)


def test_a_mask_hides_nothing_from_the_door(ledger):
    masked = np.ma.MaskedArray(np.array([1, np.nan, 3], np.float32), mask=[False, True, False])
    with pytest.raises(ReleaseBlocked, match=r"out\.bias: holds a value that is not finite"):
        packed_by(ledger, with_update(out_bias=masked))


# Weights, on both sides


WRONG_WEIGHTS = {
    "none": {},
    "missing": {"out.bias": update()["out.bias"]},
    "extra": {**update(), "more": np.zeros(1, np.float32)},
    "shape": {**update(), "out.bias": np.zeros(2, np.float32)},
    "float64": {**update(), "out.bias": np.zeros(3)},
    "NaN": {**update(), "out.bias": np.array([0, 0, np.nan], np.float32)},
    "beyond belief": {**update(), "out.bias": np.array([0, 0, -1.1e6], np.float32)},
}


@pytest.mark.parametrize("weights", WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_weights_that_the_study_does_not_train_are_blocked(weights):
    with pytest.raises(ReleaseBlocked):
        check_weights(weights, CONTRACT)


def test_the_largest_weight_may_pass():
    check_weights({**update(), "out.bias": np.full(3, -1e6, np.float32)}, CONTRACT)


def test_a_receipt_that_the_ledger_holds_is_asked_for_each_time(ledger, monkeypatch):
    """The release brings its receipt along; only the ledger can say that it is true."""
    asked = []
    monkeypatch.setattr(
        Ledger, "holds", lambda self, *receipts: asked.extend(r.id for r in receipts)
    )
    with pytest.raises(ReleaseBlocked, match="no charge in the ledger"):
        pack_release(release(), contract=CONTRACT, ledger=ledger, outlet=OPEN)
    assert asked == [1, 2]
