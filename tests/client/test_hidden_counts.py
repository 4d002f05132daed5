"""Small counts stay home also in classes and in coarser levels."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client.counting import exact
from tasks.bags import PatientBag
from tasks.heads.linear import Linear

SMALLEST = 5


def bag(*targets: tuple[int, ...]) -> PatientBag:
    return PatientBag(tuple(np.ones((1, 4), np.float32) for _ in targets), targets)


def counted(patients: list[PatientBag], *, outputs: int, **task: Any) -> dict[str, Any]:
    study = SimpleNamespace(
        outputs=tuple(f"o{n}" for n in range(outputs)),
        encoder=SimpleNamespace(dim=4),
        task=SimpleNamespace(**({"exclusive": False, "rollups": {}} | task)),
    )
    head = Linear().build(dim=4, outputs=outputs)
    found = exact(study, head, patients, patients, smallest=SMALLEST)
    return {tally.name: tally for tally in found}


def test_a_stay_of_a_hidden_class_is_in_no_number_nor_is_its_patient():
    others = [bag((0,)) for _ in range(8)] + [bag((1,)) for _ in range(9)]
    few = [bag((2,)) for _ in range(3)] + [bag((2,), (0,))]
    with_, without = (
        counted(patients, outputs=3, exclusive=True)
        for patients in (others + few, [*others, bag((0,))])
    )
    assert with_.keys() == without.keys()
    for name, tally in with_.items():
        # The third class is false everywhere without the few, and in no sum with them.
        if name.startswith(("heldout/confusion", "heldout/labels", "tune/labels")):
            assert not tally.sums[..., 2, :].any(), name
        assert tally.patients == 18, name
    assert with_["heldout/ranks"].sums[[1, 3]].tolist() == [18, 18]
    assert with_["heldout/scores"].sums.sum() == 18 * 2


def test_too_few_patients_of_shown_classes_have_no_tallies():
    patients = [bag((0,), (0,)) for _ in range(4)] + [bag((1,)) for _ in range(4)]
    assert counted(patients, outputs=2, exclusive=True) == {}


LEVELS = {"category": ("a", "a", "b")}


def test_a_group_is_hidden_where_few_have_two_of_its_outputs_at_one_stay():
    apart = [bag((0,), (1,), (2,)) for _ in range(10)]
    for number, shown in ((0, True), (1, False), (SMALLEST - 1, False), (SMALLEST, True)):
        both = [bag((0, 1, 2)) for _ in range(number)]
        found = counted(apart + both, outputs=3, rollups=LEVELS)["heldout/category/labels"].sums
        assert found[:, 0].any() == shown, number
        assert found[:, 1].any()


def test_a_hidden_output_makes_no_group_true():
    patients = [bag((0,)) for _ in range(10)] + [bag((1,)) for _ in range(3)] + [bag(())] * 5
    found = counted(patients, outputs=3, rollups=LEVELS)
    assert found["heldout/category/labels"].sums[1].sum(-1).tolist() == [10, 0]


@pytest.mark.parametrize(("lacking", "shown"), [(0, True), (1, False), (4, False), (5, True)])
def test_an_output_that_all_but_few_have_is_hidden_too(lacking, shown):
    patients = [bag((0,), (0,)) for _ in range(20)]
    patients += [bag((0,), ()) if number % 2 else bag(()) for number in range(lacking)]
    found = counted(patients, outputs=1)
    assert bool(found) == shown
    if shown:
        assert found["heldout/labels"].sums.sum() == 40 + lacking + lacking // 2


def test_that_there_is_nobody_is_a_small_count():
    assert counted([], outputs=2) == {}
