"""Death: what tells it is cut, what only sounds like it stays, hand-written."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.death import LONGEST_CUT, without_death

TELLS = [
    "The patient expired on hospital day 3.",
    "Patient died.",
    "He was pronounced dead at 04:12.",
    "She passed away peacefully.",
    "Time of death: 04:12.",
    "Pronounced by Dr. A at bedside.",
    "Autopsy was declined.",
    "The family requested an autopsy.",
    "Wife present at time of death.",
    "Family at bedside when he died.",
    "Her son was notified that she had expired.",
    "Expired.",
    "EXPIRED",
    "Subsequently expired at 5 pm.",
    "Discharge Disposition: Expired",
    "Discharge Condition:\nDeceased",
    "Cause of death was sepsis.",
    "Death certificate signed.",
    "The medical examiner declined the case.",
    "Resuscitation was unsuccessful.",
    "Code was called off after 30 minutes.",
    "CPR was terminated.",
    "Pt was made CMO and passed comfortably.",
    "Daughter present, care withdrawn and expired at 04:12.",
    "Daughter at bedside, care withdrawn and expired soon.",
    "His death was expected.",
    "Patient expired, wife notified.",
    "Patient deceased family notified.",
    "Body was taken to the morgue.",
    "Despite known risk she was pronounced dead.",
    "There was no pulse and time of death was called.",
    "The child died on HD 2.",
    "Mr. N. died.",
    "Wife was notified of death.",
    "Deceased wife notified.",
]
SOUNDS = [
    "His father died of MI.",
    "Mother deceased.",
    "Mother: died at 54 of breast cancer.",
    "Both parents are dead.",
    "Brother passed away in 2010.",
    "Husband expired last year.",
    "She reports that her brother died.",
    "The patient's wife died.",
    "Since the death of her husband she lives alone.",
    "There was a death in the family.",
    "Deceased: mother, uncle.",
    "Family history of sudden death.",
    "No family history of sudden cardiac death.",
    "Denies thoughts of death.",
    "Denies SI, HI, or thoughts of being dead.",
    "She has thoughts of death.",
    "Afraid of dying.",
    "He wishes he were dead.",
    "Better off dead.",
    "He took an expired drug.",
    "His prescription had expired.",
    "Expired nitroglycerin.",
    "Expiratory wheeze.",
    "Expired air was analysed.",
    "Dead space ventilation.",
    "Debrided dead tissue.",
    "Deceased donor kidney transplant.",
    "Donation after cardiac death.",
    "Risks including bleeding, infection and death were explained.",
    "Aborted sudden cardiac death with an ICD.",
    "A near-death experience.",
    "More pronounced edema.",
    "The pain died down.",
    "The battery died.",
    "Intrauterine fetal demise in 2001.",
    "Full code; CPR if needed.",
    "Successful resuscitation.",
    "He is not dead.",
]
UNCLEAR = [
    "Chaplain called for death.",
    "In room 4, dead.",
]


@pytest.mark.parametrize("told", TELLS)
def test_a_sentence_that_tells_the_death_is_cut_and_no_other(told: str):
    assert without_death(f"Came with fever.\n\n{told}\n\nFull of hope.") == (
        "Came with fever.\n\nFull of hope."
    )


@pytest.mark.parametrize("text", SOUNDS)
@pytest.mark.parametrize("spelt", [str, str.upper, str.lower], ids=["as-is", "upper", "lower"])
def test_what_only_sounds_like_it_stays_as_it_is(text: str, spelt):
    whole = spelt(f"Came with fever. {text} Full of hope.")
    assert without_death(whole) == whole


@pytest.mark.parametrize("text", UNCLEAR)
def test_where_nobody_can_say_whose_death_it_is_the_text_is_given_up(text: str):
    assert without_death(f"Came with fever. {text}") is None


@pytest.mark.parametrize(
    "title", ["DEATH SUMMARY", "Death Note:", "# Expiration summary", "Mortality report"]
)
def test_a_note_that_calls_itself_one_of_a_death_is_given_up(title: str):
    assert without_death(f"{title}\nCame with fever.") is None


def test_under_the_heading_of_the_family_the_dead_are_relatives():
    text = "Family History:\nDied at 54: uncle. All dead by 60. Expired early.\n\nHPI:\nFever."
    assert without_death(text) == text


def test_under_the_heading_of_the_family_the_patient_may_still_die():
    text = "Family History:\nUncle died. The patient expired."
    assert without_death(text) == "Family History:\nUncle died. "


def test_a_death_behind_the_family_history_is_the_patients():
    text = "Family History:\nnone\n\nHospital Course:\nexpired"
    assert without_death(text) == "Family History:\nnone\n\n"


def test_a_sentence_too_long_to_be_one_is_not_cut():
    within = f"The patient {'x ' * 50}died."
    beyond = f"{'x ' * LONGEST_CUT}the patient died."
    assert without_death(within) == ""
    assert without_death(beyond) is None


@given(st.text(alphabet="abc .,;:\n", max_size=200))
def test_a_text_without_words_of_death_stays_as_it_is(text: str):
    assert without_death(text) == text


@given(st.lists(st.sampled_from([*SOUNDS[:8], *TELLS[:8]]), max_size=8))
def test_what_is_left_tells_nothing_more(sentences: list[str]):
    left = without_death("\n\n".join(sentences))
    assert left is not None
    assert without_death(left) == left
    for sentence in sentences:
        assert (sentence in left) == (sentence in SOUNDS)


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["father died of MI. ", "x died ", "\n", "fever. "])
def test_a_long_text_takes_seconds(piece: str):
    began = time.monotonic()
    without_death(piece * (500_000 // len(piece)))
    assert time.monotonic() - began < 60
