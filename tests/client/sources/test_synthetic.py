"""Synthetic hospitals: the same each time, true to their codes, and unlike each other."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from client.sources.source import Attrition
from client.sources.synthetic.conditions import CONDITIONS, KIN, LINKS, MIXES, RIVALS, Mix
from client.sources.synthetic.courses import near
from client.sources.synthetic.identity import identity
from client.sources.synthetic.pen import dialect
from client.sources.synthetic.source import Chart, SyntheticSource
from client.sources.synthetic.styles import STYLES, StyleName
from tasks.records import Patient

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it reads its tables through deprecated functions
    import simple_icd_10_cm as icd

PAIRS = list(zip(get_args(StyleName), get_args(Mix), strict=False))
EVERY = [*PAIRS, ("terse", "rural")]
GOLDEN = {
    "narrative": "3edfef0c3d60",
    "headed": "3b374c4cc3b2",
    "terse": "ab48d4a7f44c",
    "problem-list": "93f05fa3447b",
    "letter": "222253c76723",
}


def hospital(
    style: StyleName = "headed", mix: Mix = "general", **changed: object
) -> SyntheticSource:
    table = {"hospital": "Northfield", "patient_count": 60, "style": style, "mix": mix} | changed
    return SyntheticSource.model_validate(table)


def patients(source: SyntheticSource) -> list[Patient]:
    return list(source.patients(root=Path(), attrition=Attrition()))


def charts(source: SyntheticSource) -> Iterator[Chart]:
    return (source.chart(number) for number in range(source.patient_count))


@lru_cache
def category_shares(source: SyntheticSource) -> dict[str, float]:
    counts = Counter(c.code[:3] for p in patients(source) for s in p.stays for c in s.codes)
    return {category: number / counts.total() for category, number in counts.items()}


def distance(one: dict[str, float], other: dict[str, float]) -> float:
    """Total variation between two distributions."""
    return sum(abs(one.get(key, 0) - other.get(key, 0)) for key in one | other) / 2


def test_same_seed_same_patients() -> None:
    assert patients(hospital()) == patients(hospital())


def test_seed_and_name_change_every_patient() -> None:
    base = patients(hospital())
    for other in (hospital(seed=1), hospital(hospital="Southfield")):
        assert not {n.text for p in base for n in p.notes} & {
            n.text for p in patients(other) for n in p.notes
        }


def test_longer_list_begins_with_shorter() -> None:
    assert patients(hospital(patient_count=60))[:25] == patients(hospital(patient_count=25))


@pytest.mark.parametrize(("style", "mix"), PAIRS)
def test_golden(style: StyleName, mix: Mix) -> None:
    """A change of these changes every study made with synthetic hospitals: it must be meant."""
    told = json.dumps([asdict(patient) for patient in patients(hospital(style, mix))], default=str)
    assert hashlib.sha256(told.encode()).hexdigest()[:12] == GOLDEN[style]


def test_patients_are_streamed() -> None:
    stream = hospital(patient_count=10**12).patients(root=Path(), attrition=Attrition())
    assert [patient.id for patient in islice(stream, 2)] == [
        "Northfield-000000",
        "Northfield-000001",
    ]


def test_nothing_is_left_out() -> None:
    attrition = Attrition()
    assert len(list(hospital().patients(root=Path(), attrition=attrition))) == 60
    assert attrition.counts == {}


def test_empty_hospital() -> None:
    assert patients(hospital(patient_count=0)) == []


@pytest.mark.parametrize("category", CONDITIONS)
def test_vocabulary_is_icd_10_cm(category: str) -> None:
    condition = CONDITIONS[category]
    assert icd.is_category(category)
    for full in condition.codes:
        assert icd.is_leaf(full.code), full.code
        assert full.code.partition(".")[0] == category
    phrases = (*condition.formal, *condition.shorthand, *condition.evidence, *condition.imaging)
    assert 8 <= len(phrases) == len(set(phrases))
    assert min(map(len, (condition.formal, condition.shorthand, condition.evidence))) >= 2
    assert all(phrase.strip() for phrase in (*phrases, *condition.drugs, *condition.complaints))


def test_no_phrase_names_two_conditions() -> None:
    owner: dict[str, str] = {}
    for category, condition in CONDITIONS.items():
        for phrase in (*condition.formal, *condition.shorthand, *condition.evidence):
            assert owner.setdefault(phrase.casefold(), category) == category, phrase


def test_relations_name_known_conditions() -> None:
    for group in (*LINKS, *RIVALS, *KIN, *MIXES.values()):
        assert set(group) <= set(CONDITIONS)


@pytest.mark.parametrize(("style", "mix"), EVERY)
def test_every_code_is_valid(style: StyleName, mix: Mix) -> None:
    for patient in patients(hospital(style, mix)):
        for stay in patient.stays:
            assert stay.codes
            assert len(set(stay.codes)) == len(stay.codes)
            assert all(icd.is_leaf(code.code) for code in stay.codes)


def test_categories_where_full_codes_are_off() -> None:
    for patient in patients(hospital(full_codes=False)):
        assert all(icd.is_category(code.code) for stay in patient.stays for code in stay.codes)


@pytest.mark.parametrize("style", STYLES)
def test_times_are_in_order(style: StyleName) -> None:
    for patient in patients(hospital(style)):
        assert 1 <= len(patient.stays) <= 4
        for stay in patient.stays:
            assert stay.admitted.tzinfo is UTC
            assert stay.admitted < stay.discharged
            within = [n for n in patient.notes if stay.admitted <= n.at <= stay.discharged]
            assert [n.kind for n in within if n.at == stay.discharged] == ["discharge"]
        assert all(one.discharged < two.admitted for one, two in pairwise(patient.stays))
        assert not any(stay.died for stay in patient.stays[:-1])
        assert all(one.at <= two.at for one, two in pairwise(patient.notes))
        assert {n.kind for n in patient.notes} <= {"discharge", "radiology", "progress"}


@pytest.mark.parametrize(("style", "mix"), EVERY)
def test_labels_are_true_to_the_text(style: StyleName, mix: Mix) -> None:
    for chart in charts(hospital(style, mix)):
        for item in chart.stays:
            mentions = item.written[-1].mentions
            present = {m.category for m in mentions if m.status == "present"}
            details = {m.category for m in mentions if m.register == "detail"}
            assert present == item.episode.categories
            assert details == {d.category for d in item.episode.diagnoses if d.full.detail}
            for coding in item.codings:
                assert set(coding.conditions) <= present
            assert {code.code for code in item.stay.codes} <= {
                coding.code for coding in item.codings
            }


@pytest.mark.parametrize(("style", "mix"), EVERY)
def test_what_is_denied_is_not_there(style: StyleName, mix: Mix) -> None:
    statuses: Counter[str] = Counter()
    for chart in charts(hospital(style, mix)):
        for item in chart.stays:
            there = {code.code[:3] for code in item.stay.codes} | item.episode.categories
            for mention in (m for w in item.written for m in w.mentions):
                statuses[mention.status] += 1
                if mention.status == "present":
                    assert mention.category in there
                elif mention.status == "family":
                    assert mention.category not in there
                else:
                    assert mention.category not in near(there)
    assert min(statuses[s] for s in ("negated", "doubted", "bygone", "family")) > 5


@pytest.mark.parametrize("style", STYLES)
def test_mentions_stand_where_they_say(style: StyleName) -> None:
    for chart in charts(hospital(style)):
        for item in chart.stays:
            for written in item.written:
                text = written.note.text
                assert not {"@", "{", "}"} & set(text)
                spans = [(m.start, m.end) for m in written.mentions]
                assert all(text[start:end].strip() for start, end in spans)
                assert all(one[1] <= two[0] for one, two in pairwise(spans))


def test_chronic_conditions_stay_and_the_past_comes_back_as_history() -> None:
    bygone = 0
    for chart in charts(hospital(patient_count=150)):
        for one, two in pairwise(chart.stays):
            lasting = {c for c in one.episode.categories if CONDITIONS[c].chronic}
            assert lasting <= two.episode.categories
            bygone += bool(two.episode.bygone)
    assert bygone > 5


def test_hypertension_is_coded_with_what_it_causes() -> None:
    """ICD-10-CM guidelines I.C.9.a: I10 never stands beside heart failure or kidney disease."""
    seen: Counter[str] = Counter()
    for chart in charts(hospital(patient_count=200, label_noise=0)):
        for stay in chart.patient.stays:
            found = {code.code[:3] for code in stay.codes}
            assert not ("I10" in found and found & {"I50", "N18"})
            seen.update(found & {"I10", "I11", "I12", "I13"})
    assert min(seen[c] for c in ("I10", "I11", "I12", "I13")) > 0


def test_label_noise_takes_codes_away_but_never_the_principal() -> None:
    clean, noisy = hospital(label_noise=0), hospital(label_noise=0.4)
    kept = earned = 0
    for chart in charts(noisy):
        for item in chart.stays:
            assert item.stay.codes[0].code == item.codings[0].code
            kept, earned = kept + len(item.stay.codes), earned + len(item.codings)
    assert 0.55 < kept / earned < 0.8
    for chart in charts(clean):
        assert all(len(item.stay.codes) == len(item.codings) for item in chart.stays)


def test_label_noise_leaves_the_notes_alone() -> None:
    for one, two in zip(
        charts(hospital(label_noise=0)), charts(hospital(label_noise=0.4)), strict=True
    ):
        assert one.patient.notes[0] == two.patient.notes[0]


@pytest.mark.parametrize("mix", [mix for mix in MIXES if mix != "general"])
def test_hospitals_see_different_conditions(mix: Mix) -> None:
    general = category_shares(hospital(patient_count=400))
    again = category_shares(hospital(patient_count=400, seed=1))
    assert distance(general, category_shares(hospital(mix=mix, patient_count=400))) > max(
        1.5 * distance(general, again), 0.12
    )


def test_prevalences_have_a_long_tail() -> None:
    stays = [s for p in patients(hospital(patient_count=800)) for s in p.stays]
    counts = Counter(code.code[:3] for stay in stays for code in stay.codes)
    shares = sorted((number / len(stays) for number in counts.values()), reverse=True)
    assert shares[0] > 0.3
    assert len(counts) > 60
    assert shares[-15] < 0.035


def test_styles_write_the_same_stay_in_different_registers() -> None:
    def shares(style: StyleName) -> dict[str, float]:
        registers = Counter(
            mention.register
            for chart in charts(hospital(style))
            for item in chart.stays
            for mention in item.written[-1].mentions
        )
        return {register: number / registers.total() for register, number in registers.items()}

    assert shares("terse")["shorthand"] > 3 * shares("narrative")["shorthand"]
    assert shares("narrative")["evidence"] > 0.15


def test_hospitals_have_words_of_their_own() -> None:
    one, other = dialect("Northfield"), dialect("Southfield")
    assert one is dialect("Northfield")
    assert one.keys() == other.keys()
    assert all(len(one[key]) == len(other[key]) for key in one)
    assert one != other


def test_units_are_the_hospitals_own() -> None:
    american = "".join(n.text for p in patients(hospital("narrative")) for n in p.notes)
    british = "".join(n.text for p in patients(hospital("letter")) for n in p.notes)
    assert "mg/dL" in american
    assert "mg/dL" not in british
    assert "mmol/L" in british
    assert "anaemia" in british


@pytest.mark.parametrize("style", STYLES)
def test_identity_stands_in_every_note(style: StyleName) -> None:
    for number, patient in enumerate(patients(hospital(style))):
        name, record = identity("Northfield", number)
        assert all(record in note.text for note in patient.notes)
        assert all(name.rpartition(" ")[2] in note.text for note in patient.notes)


def test_records_are_unique_and_plainly_invented() -> None:
    records = [identity("Northfield", number).record for number in range(500)]
    assert len(set(records)) == 500
    assert all(record.startswith("SYN-") for record in records)


@pytest.mark.parametrize("style", STYLES)
def test_discharge_notes_have_the_length_of_short_ones(style: StyleName) -> None:
    lengths = sorted(
        len(n.text.split())
        for p in patients(hospital(style))
        for n in p.notes
        if n.kind == "discharge"
    )
    assert 90 <= lengths[len(lengths) // 2] <= 200
    assert lengths[-1] < 350


@pytest.mark.parametrize(
    "wrong",
    [
        {"style": "verse"},
        {"mix": "lunar"},
        {"patient_count": -1},
        {"label_noise": 1.0},
        {"hospital": ""},
    ],
)
def test_refuses_what_it_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        hospital(**wrong)


def test_spec_survives_json() -> None:
    source = hospital()
    assert SyntheticSource.model_validate_json(source.canonical()) == source
    assert '"full_codes":true' in source.canonical()
