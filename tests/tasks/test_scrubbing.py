"""Scrubbing: what tells an outcome goes, what only looks like it stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scrubbing import without_outcomes

TELLING = {
    "died": ("pt fever; died of sepsis 2 days later", "pt fever; sepsis 2 days later"),
    "dies": ("Fears she dies or is dying.", "Fears she or ."),
    "death": ("rash. Cause of death: pneumonia.", "rash. : pneumonia."),
    "certificate": ("fever;death certificate lists MI", "fever; lists MI"),
    "dead": ("Baby found dead in crib, blue.", "crib, blue."),
    "expired": ("CPR given;pt expired on 4MAY94", "CPR given; 4MAY94"),
    "vaccine and expired": ("recv vax & pt expired", "recv vax &"),
    "expired after": ("a pt expired following vaccine", "following vaccine"),
    "deceased": ("cyanotic, deceased.", "cyanotic, ."),
    "sids": ("apnea;dx SIDS", "apnea;dx"),
    "autopsy": ("apnea; autopsy showed edema", "apnea; edema"),
    "coroner": ("limp. Coroner's report awaited", "limp. 's report awaited"),
    "doa": ("collapsed, DOA", "collapsed,"),
    "passed away": ("He passed away quietly", "He quietly"),
    "out of state": ("rash; He died out of state.", "rash; He out of state."),
    "away from home": ("rash; Patient died away from home", "rash; away from home"),
    "examiner": ("pt expired medical examiner notified", "notified"),
    "recd": ("pt recd vax had expired 2 days later", "pt recd vax 2 days later"),
    "vaccinated": ("pt vaccinated was expired by 4pm", "pt vaccinated 4pm"),
    "er 3 mg": ("hives; pt to ER 3 mg epi given", "hives; 3 mg epi given"),
    "survive": ("croup, did not survive", "croup,"),
    "sleep": ("croup, passed in his sleep", "croup,"),
    "killed": ("croup killed the boy", "croup the boy"),
    "lost life": ("croup; lost his life", "croup;"),
    "pass away": ("croup; saw him pass away", "croup; saw"),
    "passed-away": ("croup; passed-away", "croup;"),
    "alive": ("croup; is no longer alive", "croup;"),
    "tod": ("croup; T.O.D. 04:12", "croup; 04:12"),
    "pronounced": ("asystole, pronounced @ 5PM", "asystole, 5PM"),
    "in vain": ("attempts to resuscitate were unsuccessful; cold", "; cold"),
    "hospitalized": ("sz; pt was hospitalized for 3 days", "sz; 3 days"),
    "british": ("Hospitalised with croup", "with croup"),
    "hosp": ("sz;hosp x 2 days", "sz; 2 days"),
    "hosp.": ("adm to hosp. with croup", ". with croup"),
    "run together": ("fever admittedto hosp", "fever"),
    "admitted": ("limp, admitted to hosp for sz", "limp, sz"),
    "one t": ("6MAY pt admited w/croup", "6MAY w/croup"),
    "adm": ("pt adm w/croup", "w/croup"),
    "not admitted": ("croup, was not admitted", "croup,"),
    "ICU": ("intubated in PICU", "intubated"),
    "inpatient": ("IV ATB as inpatient", "IV ATB as"),
    "discharge": ("croup; disch from hosp on 4MAY", "croup; 4MAY"),
    "discharged": ("croup; discharged home after 2 d", "croup; home after 2 d"),
    "ER": ("hives;taken to ER & rx DPH", "hives; & rx DPH"),
    "er": ("hives; went to the er, epi given", "hives; , epi given"),
    "E.R.": ("hives, E.R. visit", "hives, . visit"),
    "emergency room": ("seen in emergency room for hives", "hives"),
    "ED": ("hives; to ED by ambulance", "hives;"),
    "911": ("limp; called 911", "limp; called"),
    "ems": ("limp;EMS called", "limp; called"),
    "doctor": ("hives, seen by MD, rx DPH", "hives, , rx DPH"),
    "went to doctor": ("hives; took child to the doctor", "hives;"),
    "life threat": ("anaphylaxis, life-threatening", "anaphylaxis,"),
    "critical": ("sepsis, in critical condition", "sepsis,"),
    "disabled": ("weak legs, permanently disabled", "weak legs,"),
    "handicap": ("weak legs: handicapped", "weak legs:"),
}

HARMLESS = (
    "Upper airway clear, no wheeze.",
    "LATERAL thigh, LOWER leg, later swelling.",
    "Fever, tender and red; fingers numb; never before; over by evening.",
    "cooperative, moderate erythema",
    "Pt recvd expired vaccine; no symptoms.",
    "Given expired DTP, expired MMR and an expired lot.",
    "The vaccine had expired; the vial was expired.",
    "Lot 22, expiration date 4/93, exp date 4/93",
    "pt exp rash; expiratory wheeze, expectorant",
    "Swelling died down; the ache died away.",
    "dead tissue was removed; the arm hung as a dead weight",
    "diet as before; dietician, diehard, deadened, studied",
    "green discharge from eye, nasal disch",
    "vax adm in L arm; adm of DTP; vaccine was adm",
    "admits to smoking, admitted having had hives",
    "rash more pronounced on left",
    "niacin er 500 mg; ER positive tumour",
    "cod liver oil",
    "rx'ed DPH, dx'ed OM, angio ed",
    "bronchospasm, alkaline phosphatase",
    "cardiac arrest, CPR, intubated, seizure, GBS, coma",
    "unable to ambulate; ambulates slowly",
    "call 555-911-0000",
    "lifelong asthma; life style",
    "d/c'd Micronase; lot 911-A",
    "mild cough, doctored records",
    "a killed vaccine, heat-killed; killed virus",
    "oxycodone er 10 mg",
    "surviving twin; alive and well; passed the test; passed stool",
)


@pytest.mark.parametrize("name", TELLING)
def test_what_tells_an_outcome_is_cut_and_the_rest_stays(name):
    text, left = TELLING[name]
    assert " ".join(without_outcomes(text).split()) == left


@pytest.mark.parametrize("name", TELLING)
def test_it_is_cut_in_any_case(name):
    text, left = TELLING[name]
    assert " ".join(without_outcomes(text.upper()).split()) == left.upper()


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_an_outcome_stays_as_it_is(text):
    assert without_outcomes(text) == text


@pytest.mark.parametrize("text", ["Died.", "pt died", "SIDS;", "", " \n", "Hospitalized, ER"])
def test_nothing_is_left_of_a_text_that_tells_nothing_else(text):
    assert without_outcomes(text) == ""


def test_words_that_meet_when_others_are_cut_are_cut_too():
    assert without_outcomes("life died threat, hives").strip() == ", hives"


@pytest.mark.parametrize(
    "text",
    [
        "died " + "patient was " * 16_000 + "x",
        "died" + " " * 200_000 + "x",
        "sudden " * 28_000,
        "@" * 200_000,
        "life " * 20_000 + "died " + "threat " * 20_000,
        "was died " * 20_000,
    ],
    ids=["hanging", "blanks", "kinds", "at", "nested", "marks"],
)
def test_a_long_text_comes_to_an_end(text):
    assert "died" not in without_outcomes(text)


PIECES = [text for text, _ in TELLING.values()]
PIECES += [
    *HARMLESS,
    ";",
    "&",
    "\n",
    "\x00",
    "ER",
    "died",
    "expired",
    "vaccine",
    "was",
    "to",
    "life",
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=8).map(" ".join)


@given(texts)
def test_scrubbing_twice_is_scrubbing_once(text):
    once = without_outcomes(text)
    assert without_outcomes(once) == once


@given(texts)
def test_nothing_is_added(text):
    left = without_outcomes(text).split()
    words = iter(text.replace("\x00", " ").split())
    assert all(any(piece in word for word in words) for piece in left)
