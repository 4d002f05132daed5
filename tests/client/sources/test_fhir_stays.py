"""fhir: which encounters are stays, and what is known of them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from fhir_resources import condition, document, encounter, export, one, person, read
from fhir_writer import refer

from privacy.errors import SourceBroken
from tasks.records import Code, icd10cm

DISPOSITION = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
NUBC = "http://www.nubc.org/patient-discharge"


def concept(system, code):
    return {"coding": [{"system": system, "code": code}]}


def hospitalized(**said):
    return {"hospitalization": said}


def test_a_stay_is_an_inpatient_encounter_with_its_codes(tmp_path):
    found, counts = one(tmp_path, condition())
    (stay,) = found.stays
    assert (stay.id, stay.codes) == ("e1", icd10cm(["I10"]))
    assert stay.admitted == datetime(2024, 1, 1, 10, tzinfo=UTC)
    assert stay.discharged == datetime(2024, 1, 5, 10, tzinfo=UTC)
    assert (stay.died, stay.planned, stay.newborn) == (None, None, None)
    assert (found.died, found.deaths_known, found.followed_until) == (None, False, None)
    assert counts == {}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"class": {"code": "AMB"}}, "encounters of other classes"),
        ({"class": "inpatient"}, "encounters of other classes"),
        ({"status": "planned"}, "encounters that never were"),
        ({"status": "cancelled"}, "encounters that never were"),
        ({"status": "entered-in-error"}, "encounters that never were"),
        ({"period": {"start": "2024-01-01T10:00:00Z"}}, "stays without a start or an end"),
        ({"period": {"start": "2024-01", "end": "2024-02"}}, "stays without a start or an end"),
        ({"period": []}, "stays without a start or an end"),
        (
            {"period": {"start": "2024-01-01", "end": "9999-12-31"}},
            "stays without a start or an end",
        ),
        (
            {"period": {"start": "2024-01-05", "end": "2024-01-01"}},
            "stays discharged before they began",
        ),
    ],
)
def test_what_is_no_stay_is_counted_and_its_note_stays_its_own(tmp_path, changes, rule):
    found, counts = one(tmp_path, encounter(**changes), zone="UTC")
    assert found.stays == ()
    assert counts.pop("stays known to the day (kept)", 1) == 1
    assert counts == {rule: 1, "notes of a stay that is not there (kept)": 1}
    assert found.notes[0].stay == "e1"


def test_which_classes_are_stays_is_the_sites_to_say(tmp_path):
    folder = export(tmp_path, encounter(**{"class": {"code": "EMER"}}))
    assert read(folder)[0][0].stays == ()
    (stay,) = read(folder, classes=["EMER"])[0][0].stays
    assert stay.planned is False


def test_an_encounter_that_stands_twice_is_one_stay(tmp_path):
    found, counts = one(tmp_path, encounter(), encounter())
    assert len(found.stays) == 1
    assert counts == {"stays that stand twice": 1}


def test_an_encounter_of_another_release_is_refused(tmp_path):
    export(tmp_path, encounter(**{"class": [{"coding": [{"code": "IMP"}]}]}))
    with pytest.raises(SourceBroken, match=r"Encounter\.000\.ndjson line 1: .* not of FHIR R4"):
        read(tmp_path)


def test_an_encounter_within_a_stay_is_a_part_of_it(tmp_path):
    ward = encounter("e2", partOf=refer("Encounter", "e1"))
    bed = encounter("e3", partOf=refer("Encounter", "e2"))
    found, counts = one(
        tmp_path,
        encounter(),
        ward,
        bed,
        condition(encounter=refer("Encounter", "e3")),
        document(context={"encounter": [refer("Encounter", "e2")]}),
    )
    assert [stay.id for stay in found.stays] == ["e1"]
    assert found.stays[0].codes == icd10cm(["I10"])
    assert found.notes[0].stay == "e1"
    assert counts == {"encounters within a stay (joined)": 2}


def test_an_encounter_within_what_is_no_stay_is_one_itself(tmp_path):
    outer = encounter("e0", **{"class": {"code": "AMB"}}, partOf=refer("Encounter", "e1"))
    inner = encounter("e1", partOf=refer("Encounter", "e0"))  # and within itself, at that
    found, _ = one(tmp_path, outer, inner)
    assert [stay.id for stay in found.stays] == ["e1"]


def test_days_without_times_need_a_zone_and_are_read_whole(tmp_path):
    folder = export(tmp_path, encounter(period={"start": "2024-03-31", "end": "2024-04-02"}))
    with pytest.raises(SourceBroken, match="line 1: a date without a time zone; say `zone`"):
        read(folder)
    (found,), attrition = read(folder, zone="Europe/Berlin")
    berlin = ZoneInfo("Europe/Berlin")
    assert found.stays[0].admitted == datetime(2024, 3, 31, tzinfo=berlin)
    assert found.stays[0].discharged == datetime(2024, 4, 2, 23, 59, 59, 999_999, tzinfo=berlin)
    assert attrition.counts == {"stays known to the day (kept)": 1}


@pytest.mark.parametrize(
    ("system", "code", "died"),
    [
        (DISPOSITION, "exp", True),
        (DISPOSITION, "home", False),
        (DISPOSITION, "oth", None),
        (NUBC, "20", True),
        (NUBC, "41", True),
        (NUBC, "1", False),
        (NUBC, "30", None),
        ("https://hospital.example/own", "exp", None),
    ],
)
def test_the_disposition_says_who_died(tmp_path, system, code, died):
    stay = encounter(**hospitalized(dischargeDisposition=concept(system, code)))
    assert one(tmp_path, stay)[0].stays[0].died is died


@pytest.mark.parametrize(
    ("death", "died"),
    [
        ("2024-01-05T10:00:00Z", True),
        ("2024-01-05T10:00:01Z", False),
        ("2024-01-03", True),
        ("2024-01-05", None),  # that day, but before the discharge or after?
        ("2024-01-06", False),
        ("2023-12-31", None),
    ],
)
def test_the_time_of_death_says_it_where_the_disposition_does_not(tmp_path, death, died):
    found, _ = one(tmp_path, person(deceasedDateTime=death), zone="UTC")
    assert found.stays[0].died is died
    assert found.died.date().isoformat() == death[:10]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Madrid", "America/New_York"])
def test_a_death_known_by_its_day_is_that_day_in_the_declared_zone(tmp_path, zone):
    first = datetime(2024, 5, 1, tzinfo=ZoneInfo(zone))
    found, _ = one(tmp_path / "day", person(deceasedDateTime="2024-05-01"), zone=zone)
    last = first.replace(hour=23, minute=59, second=59, microsecond=999_999)
    assert (found.died_from, found.died) == (first, last)
    found, _ = one(tmp_path / "time", person(deceasedDateTime="2024-05-01T00:00:00Z"), zone=zone)
    assert (found.died_from, found.died) == (None, datetime(2024, 5, 1, tzinfo=UTC))


def test_deaths_without_a_day_are_unknown_and_nobody_is_alive_by_silence(tmp_path):
    said = [{"deceasedBoolean": True}, {"deceasedDateTime": "2024-02"}, {"deceasedDateTime": "x"}]
    for number, changes in enumerate(said):
        folder = tmp_path / str(number)
        found, counts = one(folder, person(**changes), deaths_known=True, zone="UTC")
        assert (found.died, found.deaths_known, found.stays[0].died) == (None, False, None)
        assert counts == {"deaths without a day (unknown)": 1}
    found, counts = one(tmp_path / "false", person(deceasedBoolean=False))
    assert (found.deaths_known, found.stays[0].died, counts) == (False, None, {})
    found, counts = one(tmp_path / "known", person(), deaths_known=True)
    assert (found.deaths_known, found.stays[0].died, counts) == (True, False, {})


@pytest.mark.parametrize(
    ("code", "planned"),
    [("EL", True), ("EM", False), ("UR", False), ("S", False), ("A", False), ("R", None)],
)
def test_the_priority_says_what_was_planned(tmp_path, code, planned):
    found, _ = one(tmp_path, encounter(priority=concept("", code)))
    assert found.stays[0].planned is planned


def test_where_a_patient_came_from_says_who_is_newborn(tmp_path):
    system = "http://terminology.hl7.org/CodeSystem/admit-source"
    for code, newborn, planned in (
        ("born", True, None),
        ("gp", False, None),
        ("emd", False, False),
    ):
        stay = encounter(**hospitalized(admitSource=concept(system, code)))
        found, _ = one(tmp_path / code, stay)
        assert (found.stays[0].newborn, found.stays[0].planned) == (newborn, planned)


@pytest.mark.parametrize(
    ("system", "kind", "known"),
    [
        ("http://hl7.org/fhir/sid/icd-10-cm", "Condition", "icd-10-cm"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "Condition", "icd-9-cm"),
        ("http://hl7.org/fhir/sid/icd-9-cm", "Procedure", "icd-9-cm-procedures"),
        ("http://www.cms.gov/Medicare/Coding/ICD10", "Procedure", "icd-10-pcs"),
        ("http://snomed.info/sct", "Condition", "snomed-ct"),
        ("https://hospital.example/icd10", "Condition", "icd-10-cm"),
        ("http://hl7.org/fhir/sid/icd-10", "Condition", None),
    ],
)
def test_codes_have_their_system(tmp_path, system, kind, known):
    coded = condition(resourceType=kind, code=concept(system, "38.93"))
    found, counts = one(tmp_path, coded, systems={"https://hospital.example/icd10": "icd-10-cm"})
    if known is None:
        assert found.stays[0].codes == ()
        assert counts == {"conditions without a code that is read": 1}
    else:
        assert found.stays[0].codes == (Code(known, "38.93"),)
        assert counts == {}


def test_a_code_stands_once_in_a_stay(tmp_path):
    found, counts = one(tmp_path, condition("c1"), condition("c2"))
    assert (found.stays[0].codes, counts) == (icd10cm(["I10"]), {})


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {"verificationStatus": concept("", "refuted")},
            "conditions refuted or entered in error",
        ),
        (
            {"verificationStatus": concept("", "entered-in-error")},
            "conditions refuted or entered in error",
        ),
        ({"resourceType": "Procedure", "status": "not-done"}, "procedures never done"),
        ({"encounter": None}, "conditions of no encounter that is there"),
        ({"encounter": refer("Encounter", "e9")}, "conditions of no encounter that is there"),
        ({"encounter": refer("Encounter", "a")}, "conditions of encounters that are not stays"),
        ({"code": {"text": "a fever"}}, "conditions without a code that is read"),
        ({"code": None}, "conditions without a code that is read"),
    ],
)
def test_a_condition_that_is_no_code_of_a_stay_is_counted(tmp_path, changes, rule):
    visit = encounter("a", **{"class": {"code": "AMB"}})
    found, counts = one(tmp_path, encounter(), visit, condition(**changes))
    assert found.stays[0].codes == ()
    assert counts == {"encounters of other classes": 1, rule: 1}


def test_an_encounter_may_name_its_diagnoses_itself(tmp_path):
    stay = encounter(diagnosis=[{"condition": refer("Condition", "c1")}])
    found, counts = one(tmp_path, stay, condition(encounter=None))
    assert (found.stays[0].codes, counts) == (icd10cm(["I10"]), {})
