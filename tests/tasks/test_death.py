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
    "Time of expiration: 04:12.",
    "Date of expiration 3/4/2020",
    "With wife and son in the room, expired 04:12.",
    "Per daughter, expired overnight.",
    "Her son found her dead.",
    "Her husband held her hand until death.",
    "Known risk of bleed discussed, led to death of patient.",
    "She peacefully passed.",
    "He passed at 0412.",
    "Pronounced 04:12.",
    "The patient did not survive.",
    "Did not survive.",
    "TOD 04:12",
    "T.O.D. 04:12",
    "Fatal outcome.",
    "He could not be resuscitated.",
    "The patient is no longer alive.",
    "She passed in her sleep.",
    "He lost his life.",
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
    "Brother with sudden cardiac death at 40.",
    "Retired coroner.",
    "Works as a medical examiner.",
    "G3P2, 1 neonatal death.",
    "A cardiac death risk assessment was made.",
    "Her parents are no longer alive.",
    "Brother did not survive the war.",
    "Near-fatal asthma in 1999.",
    "Passed stool at noon.",
    "A pronounced 2/6 murmur.",
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
    text = "Family History:\nDied at 54: uncle. F died MI, M died CVA.\n\nHPI:\nFever."
    assert without_death(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "Family History: NC.\nPt arrived in arrest. Expired in ED.",
        "Family History: noncontributory\nHe expired on day 3.",
        "FHx: noncontributory\nExpired overnight",
        "Family History: father with MI\nexpired in the ED",
        "Family History: All dead by 60.",
    ],
)
def test_under_the_heading_of_the_family_a_death_of_nobody_named_is_not_kept(text: str):
    left = without_death(text)
    assert left is None or not {"expired", "dead"} & set(left.lower().replace(".", "").split())


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


def test_many_family_histories_come_to_an_end():
    text = "FHx: father died\n" * 12_000
    assert without_death(text) == text


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["father died of MI. ", "x died ", "\n", "fever. "])
def test_a_long_text_takes_seconds(piece: str):
    began = time.monotonic()
    without_death(piece * (500_000 // len(piece)))
    assert time.monotonic() - began < 60
