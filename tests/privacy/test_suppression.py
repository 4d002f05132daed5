"""Small counts: an output that few carry is in no number, whatever weights the server sends."""

from __future__ import annotations

import numpy as np
import pytest
from builders import study_table
from hypothesis import given
from hypothesis import strategies as st

from client.counting import carriers, exact
from privacy.suppression import hidden_labels
from tasks.bags import PatientBag
from tasks.heads.head import set_weights
from tasks.study import Study


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(0, 20))
def test_exactly_the_outputs_with_one_to_k_minus_1_carriers_are_hidden(counts, smallest):
    hidden = hidden_labels(np.array(counts), smallest=smallest)
    assert hidden.tolist() == [0 < count < smallest for count in counts]


@pytest.mark.parametrize("smallest", [0, 1])
def test_without_a_smallest_count_nothing_is_hidden(smallest):
    assert not hidden_labels(np.arange(5), smallest=smallest).any()


def bag(*targets: tuple[int, ...]) -> PatientBag:
    vectors = tuple(np.ones((1, 64), np.float32) for _ in targets)
    return PatientBag(vectors, targets)


def a_study() -> Study:
    task = {"kind": "icd-coding", "codes": ["I10", "E11", "I50"]}
    return Study.parse_table(study_table(task=task), where="three")


def probing_head(study: Study):
    """Weights chosen by a curious server: each output's score falls into a bin of its own."""
    head = study.head.build(dim=64, outputs=3)
    set_weights(
        head,
        {
            "out.weight": np.zeros((3, 64), np.float32),
            "out.bias": np.array([-3.0, 0.0, 3.0], np.float32),
        },
    )
    return head


# I10 is carried by 12 patients, and lacked by 7 at some stay; E11 by 3 (one of them in two stays),
# I50 by none.
PATIENTS = [bag((0,)) for _ in range(9)] + [bag((0, 1), (1,)), bag((0, 1)), bag((0, 1))]
PATIENTS += [bag(()) for _ in range(6)]


def test_a_patient_with_two_stays_carries_an_output_once():
    assert carriers(PATIENTS, outputs=3).tolist() == [12, 3, 0]


@pytest.mark.parametrize("group", ["tune", "heldout"])
def test_no_number_of_a_group_counts_an_output_that_few_carry(group):
    study = a_study()
    groups = (PATIENTS, []) if group == "tune" else ([], PATIENTS)
    head = probing_head(study)
    open_ = {t.name: t.sums for t in exact(study, head, *groups)}
    shut = {t.name: t.sums for t in exact(study, head, *groups, smallest=5) if t.patients}
    scores = f"{group}/scores"
    assert sorted(open_[scores][1][open_[scores][1] > 0].tolist()) == [4, 12]
    assert shut[scores][1][shut[scores][1] > 0].tolist() == [12]
    if group == "heldout":
        assert not shut["heldout/labels"][:, 1].any()
        assert shut["heldout/labels"][1, 0].sum() == 12
        assert shut["heldout/ranks"][1] == 12


def test_a_small_group_has_no_tallies_and_a_group_with_nothing_to_show_neither():
    study = a_study()
    head = probing_head(study)
    names = {t.name for t in exact(study, head, PATIENTS[:4], PATIENTS, smallest=5)}
    assert names == {f"heldout/{name}" for name in ("scores", "labels", "ranks", "tops", "sets")}
    few = [bag((0,)), bag((1,)), bag((2,))] + [bag(())] * 9
    assert exact(study, head, few, few, smallest=5) == []
