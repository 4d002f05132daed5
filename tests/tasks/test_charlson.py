"""charlson: the index of hand-picked codes, its hierarchy and its bins."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outcomes import answers, asked, stay

from tasks.charlson import Charlson, index
from tasks.charlson_table import comorbidities, weights
from tasks.records import Code, System, icd10cm


def nine(*codes: str) -> tuple[Code, ...]:
    return tuple(Code("icd-9-cm", code) for code in codes)


# By hand from Quan et al. (2005), table 1, and the weights of 1987.
@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (icd10cm(["Z00.00", "I10"]), 0),
        (icd10cm(["I21.4"]), 1),
        (icd10cm(["I21.4", "I25.2", "i214"]), 1),
        (icd10cm(["E11.9", "I50.9"]), 2),
        (icd10cm(["N18.6"]), 2),
        (icd10cm(["B20"]), 6),
        (icd10cm(["C78.00"]), 6),
        (icd10cm(["C50.911", "C78.00"]), 6),
        (icd10cm(["E11.9", "E11.22"]), 2),
        (icd10cm(["K70.30", "I85.01"]), 3),
        (icd10cm(["K70.30", "K76.7", "E10.9", "E10.40", "C34.90", "C79.51"]), 11),
        (nine("410.71", "428.0"), 2),
        (nine("4280"), 1),
        (nine("25000", "250.40"), 2),
        (nine("042"), 6),
        (nine("404.03"), 3),
        (nine("V45.1"), 2),
        (nine("42"), 0),
        ((*nine("428.0"), *icd10cm(["I50.9"])), 1),
        (nine("E11.9"), 0),
        (icd10cm(["428.0"]), 0),
        ((Code("icd-9-cm-procedures", "42.8"), Code("icd-10-pcs", "B20"), *icd10cm(["I10"])), 0),
    ],
)
def test_the_index_of_codes_counted_by_hand(codes: tuple[Code, ...], expected: int):
    assert index(codes) == expected


def test_the_weights_of_2011():
    assert index(icd10cm(["I21.4", "I50.9", "B20"]), weighting="quan") == 0 + 2 + 4


def test_the_seventeen_diseases_all_weigh_and_have_codes():
    assert len(weights("charlson")) == 17
    assert set(weights("charlson")) == set(weights("quan"))
    assert weights("charlson")["metacanc"] == 6
    assert comorbidities("I13.2", "icd10") == {"chf"}
    assert comorbidities("", "icd10") == frozenset()


CODES = ["I21.4", "I50.9", "E11.9", "E11.22", "C50.911", "C78.00", "K70.30", "I85.01", "B20"]


@given(st.lists(st.sampled_from(CODES)), st.randoms())
def test_neither_order_dots_nor_repetition_matter_and_more_codes_never_lower_it(codes, random):
    shuffled = [code.replace(".", "") for code in codes] + codes[:2]
    random.shuffle(shuffled)
    assert index(icd10cm(shuffled)) == index(icd10cm(codes))
    assert index(icd10cm([*codes, "B20"])) >= index(icd10cm(codes))


@pytest.mark.parametrize(
    ("codes", "found"),
    [
        (["I10"], "0"),
        (["I21.4"], "1-2"),
        (["N18.6"], "1-2"),
        (["N18.6", "I21.4"], "3-4"),
        (["N18.6", "I85.01"], "5-7"),
        (["B20", "I21.4"], "5-7"),
        (["B20", "N18.6"], "over-7"),
    ],
)
def test_the_bins_and_their_borders(codes: list[str], found: str):
    assert answers(Charlson(), stay(codes=icd10cm(codes))) == [[found]]


@pytest.mark.parametrize("system", ["icd-10-pcs", "icd-9-cm-procedures", "snomed-ct"])
def test_a_stay_without_diagnoses_is_left_out(system: System):
    labels, rules = asked(
        Charlson(),
        stay(),
        stay(10, 11, codes=(Code(system, "0"),)),
        stay(20, 21, codes=nine("4280")),
    )
    assert [label.summary_of for label in labels] == ["stay-20"]
    assert rules == {"stays without diagnosis codes": 2}


def test_one_bin_is_true_and_each_is_asked_in_words():
    task = Charlson()
    assert task.exclusive
    assert len(task.outputs) == len(set(task.questions)) == 5


def test_the_table_is_had_without_pandas():
    code = (
        "import sys; from tasks.charlson_table import comorbidities as c;"
        "assert c('I50.9', 'icd10') == {'chf'}; print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
