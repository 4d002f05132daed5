"""jsonl: every kind of bad input is a one-line error or a counted skip, never content."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import patient

from client.sources import json_lines
from client.sources.jsonl import UNDATED, Jsonl
from client.sources.source import Attrition
from privacy.errors import SourceBroken
from tasks.records import Code, icd10cm

CANARY = "Zebulon Quagmire"


def read(path: Path, **fields: object):
    source = Jsonl.model_validate({"paths": [path.name], **fields})
    attrition = Attrition()
    return list(source.patients(root=path.parent, attrition=attrition)), attrition


DOCUMENTS = {"layout": "documents", "undated": True, "columns": {"patient": "id"}}


def document(number: int, **changes: object) -> dict[str, object]:
    return {"id": f"d{number}", "text": f"words {number}", "codes": ["I10"], **changes}


def test_a_patient_comes_with_stays_and_notes_in_order_of_time(write_lines):
    late = {"at": "2024-01-05T11:00:00+01:00", "kind": "discharge", "text": "late"}
    early = {"at": "2024-01-02T11:00:00Z", "kind": "progress", "text": "early"}
    found, attrition = read(write_lines(patient(1, notes=[late, early])))
    (one,) = found
    assert [note.text for note in one.notes] == ["early", "late"]
    assert one.notes[1].at.utcoffset().total_seconds() == 3600
    assert one.stays[0].codes == icd10cm(["I10", "E11.9"])
    assert attrition.counts == {}


def test_gzip_is_read_as_plain_text_is(tmp_path, write_lines):
    plain = write_lines(patient(1), patient(2))
    packed = tmp_path / "patients.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read(packed)[0] == read(plain)[0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["{broken " + CANARY], "line 1: is not JSON"),
        ([patient(1), "[1, 2]"], "line 2: must be a JSON object"),
        ([patient(1), {"id": "", "note": CANARY}], "line 2: id:"),
        ([{"notes": [], "name": CANARY}], "line 1: id: Field required"),
        ([patient(1), patient(2), patient(1)], "line 3: its patient's id stood at"),
        (
            [patient(1, notes=[{"at": "2024-01-05T11:00:00", "text": CANARY}])],
            "line 1: notes.0.at: Input should have timezone info",
        ),
        ([patient(1, stays=[{"id": CANARY}])], "line 1: stays.0.admitted: Field required"),
        ([patient(1, stays=CANARY)], "line 1: stays:"),
    ],
)
def test_a_broken_line_stops_with_its_place_and_without_its_content(write_lines, lines, said):
    with pytest.raises(SourceBroken) as error:
        read(write_lines(*lines))
    assert said in str(error.value)
    assert CANARY not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceBroken, match=r"absent\.jsonl: cannot be read \(FileNotFoundError\)"):
        read(tmp_path / "absent.jsonl")


def test_a_file_in_another_encoding_is_refused_by_name(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"id": "José"}\n'.encode("latin-1"))
    with pytest.raises(SourceBroken, match=r"latin\.jsonl line 1: is not utf-8"):
        read(tmp_path / "latin.jsonl")


def test_what_cannot_be_used_is_counted_with_its_first_place(write_lines):
    backwards = {
        "id": "s",
        "admitted": "2024-01-05T00:00:00Z",
        "discharged": "2024-01-01T00:00:00Z",
    }
    blank = {"at": "2024-01-05T11:00:00Z", "text": "  \n "}
    none = {"at": "2024-01-05T11:00:00Z"}
    found, attrition = read(
        write_lines(
            patient(1),
            patient(2, notes=[]),
            patient(3, notes=[blank, none]),
            patient(4, stays=[backwards]),
        )
    )
    assert [one.id for one in found] == ["p1", "p4"]
    assert attrition.counts == {
        "patients without notes": 2,
        "notes without text": 2,
        "stays discharged before they began": 1,
    }
    assert attrition.first["patients without notes"] == "patients.jsonl line 2"
    assert attrition.first["notes without text"] == "patients.jsonl line 3"


def test_a_document_is_a_patient_with_one_stay_and_one_note(write_lines):
    (one,), _ = read(write_lines(document(1)), **DOCUMENTS)
    assert (one.id, one.stays[0].codes, one.notes[0].text) == ("d1", icd10cm(["I10"]), "words 1")
    assert one.stays[0].discharged == one.notes[0].at == UNDATED


def test_documents_without_times_are_an_error_unless_the_site_says_so(write_lines):
    with pytest.raises(SourceBroken, match=r"line 1: stays\.0\.admitted"):
        read(write_lines(document(1)), **(DOCUMENTS | {"undated": False}))


def test_documents_of_one_patient_that_stand_together_are_one_patient(write_lines):
    columns = {"patient": "who", "stay": "stay"}
    lines = [
        document(1, who="a", stay="s1", codes=["I10"]),
        document(2, who="a", stay="s1", codes=["I10", "E11"]),
        document(3, who="a", stay="s2", codes=["J18"]),
        document(4, who="b", stay="s1", codes=["N17"]),
    ]
    found, _ = read(write_lines(*lines), **(DOCUMENTS | {"columns": columns}))
    assert [one.id for one in found] == ["a", "b"]
    assert [stay.codes for stay in found[0].stays] == [icd10cm(["I10", "E11"]), icd10cm(["J18"])]
    assert len(found[0].notes) == 3


def test_a_patient_that_comes_back_later_is_refused(write_lines):
    with pytest.raises(SourceBroken, match=r"line 3: .* stood at patients\.jsonl line 1"):
        read(write_lines(document(1), document(2), document(1)), **DOCUMENTS)


def test_the_data_may_fix_who_is_held_out(write_lines):
    part = {"column": "split", "train": ["train"], "heldout": ["dev"]}
    lines = [document(1, split="train"), document(2, split="dev"), document(3, split="test")]
    found, attrition = read(write_lines(*lines), part=part, **DOCUMENTS)
    assert [(one.id, one.part) for one in found] == [("d1", "train"), ("d2", "heldout")]
    assert attrition.counts == {"documents in no part of the split": 1}


def test_a_cut_gives_every_patient_to_exactly_one_site(write_lines):
    places = ["x"] * 5 + ["y"] * 3 + ["z"] * 2 + ["w"]
    path = write_lines(*(document(n, place=place) for n, place in enumerate(places)))
    source = Jsonl.model_validate({"paths": [path.name], **DOCUMENTS})
    pieces = source.cut("place", largest=2, rest="others", root=path.parent)
    assert [(piece.name, piece.training_patients) for piece in pieces] == [
        ("x", 5),
        ("y", 3),
        ("others", 3),
    ]
    ids = [
        one.id
        for piece in pieces
        for one in piece.source.patients(root=path.parent, attrition=Attrition())
    ]
    assert sorted(ids) == sorted(f"d{n}" for n in range(len(places)))


def test_a_cut_counts_training_patients_only(write_lines):
    part = {"column": "split", "train": ["train"], "heldout": ["dev"]}
    lines = [document(n, place="x", split="dev" if n else "train") for n in range(4)]
    path = write_lines(*lines, document(9, place="y", split="train"))
    source = Jsonl.model_validate({"paths": [path.name], "part": part, **DOCUMENTS})
    pieces = source.cut("place", largest=5, rest="others", root=path.parent)
    assert {piece.name: piece.training_patients for piece in pieces} == {"x": 1, "y": 1}
    path = write_lines(*lines, document(9, place="y", split="dev"))
    pieces = source.cut("place", largest=5, rest="others", root=path.parent)
    assert {piece.name: piece.training_patients for piece in pieces} == {"x": 1, "others": 0}
    (held_out,) = pieces[1].source.patients(root=path.parent, attrition=Attrition())
    assert held_out.id == "d9"


def test_a_column_that_is_not_there_is_named(write_lines):
    path = write_lines(document(1))
    source = Jsonl.model_validate({"paths": [path.name], **DOCUMENTS})
    with pytest.raises(ValueError, match=r"line 1: no column 'journal'"):
        source.cut("journal", largest=2, rest="others", root=path.parent)


FULL = {
    "id": "s1",
    "admitted": "2024-01-01T08:00:00Z",
    "discharged": "2024-01-05T08:00:00Z",
    "codes": ["I10", {"system": "icd-9-cm", "code": "041.12"}],
    "died": False,
    "planned": True,
    "newborn": None,
    "facts": {"denied": True, "ward": "ICU", "unknown": None},
    "times": {"triaged": "2024-01-01T07:30:00+01:00", "unknown": None},
}


def test_a_patient_may_say_all_that_records_hold(write_lines):
    line = patient(1, stays=[FULL]) | {
        "died": "2024-06-01T00:00:00Z",
        "deaths_known": True,
        "followed_until": "2024-07-01T00:00:00Z",
    }
    (one,), _ = read(write_lines(line))
    (stay,) = one.stays
    assert stay.codes == (Code("icd-10-cm", "I10"), Code("icd-9-cm", "041.12"))
    assert (stay.died, stay.planned, stay.newborn) == (False, True, None)
    assert stay.facts == {"denied": True, "ward": "ICU"}
    assert stay.times == {"triaged": datetime(2024, 1, 1, 6, 30, tzinfo=UTC)}
    assert one.died == datetime(2024, 6, 1, tzinfo=UTC)
    assert one.deaths_known is True
    assert one.followed_until == datetime(2024, 7, 1, tzinfo=UTC)


def test_what_is_not_said_is_not_known(write_lines):
    (one,), _ = read(write_lines(patient(1, stays=[{k: FULL[k] for k in list(FULL)[:3]}])))
    (stay,) = one.stays
    assert (stay.died, stay.planned, stay.newborn, stay.facts, stay.times) == (
        None, None, None, {}, {},
    )  # fmt: skip
    assert (one.died, one.deaths_known, one.followed_until) == (None, False, None)


def test_codes_without_a_system_are_of_the_one_that_is_declared(write_lines):
    (one,), _ = read(write_lines(patient(1, stays=[FULL])), code_system="snomed-ct")
    assert [code.system for code in one.stays[0].codes] == ["snomed-ct", "icd-9-cm"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"died": "no"}, "stays.0.died: Input should be a valid boolean"),
        ({"planned": 1}, "stays.0.planned: Input should be a valid boolean"),
        ({"facts": {CANARY: 5}}, "stays.0.facts: each must be true, false, a text or null"),
        ({"facts": [CANARY]}, "stays.0.facts: must be an object"),
        ({"times": {CANARY: "2024-01-01T08:00:00"}}, "stays.0.times: each must be a time with a"),
        ({"times": {CANARY: "1/15/2024"}}, "stays.0.times: each must be a time with a zone"),
        ({"codes": CANARY}, "stays.0.codes: must be a list"),
        ({"codes": [5]}, "stays.0.codes: each must be a text, or {system, code}"),
        ({"codes": [{"system": CANARY, "code": "I10"}]}, "stays.0.codes: each must be a text, or"),
        ({"codes": [{"system": ["x"], "code": "I10"}]}, "stays.0.codes: each must be a text, or"),
        ({"codes": [{"code": "I10"}]}, "stays.0.codes: each must be a text, or"),
        ({"admitted": 20240101}, "stays.0.admitted: must be a text such as 2024-01-15T"),
        ({"admitted": "20240101"}, "stays.0.admitted: must be a text such as 2024-01-15T"),
        ({"admitted": "1/15/2024"}, "stays.0.admitted: must be a text such as 2024-01-15T"),
    ],
)
def test_what_a_stay_says_in_another_type_is_refused(write_lines, changes, said):
    with pytest.raises(SourceBroken) as error:
        read(write_lines(patient(1), patient(2, stays=[FULL | changes])))
    assert str(error.value).startswith(f"patients.jsonl line 2: {said}")
    assert CANARY not in str(error.value)
    assert "1/15" not in str(error.value)


def test_documents_carry_what_their_columns_name(write_lines):
    columns = {
        "patient": "id", "discharged": "to", "admitted": "from", "died": "dead", "planned": "e",
        "facts": ["denied", "ward"], "times": ["triage"], "died_at": "dod",
        "followed_until": "last", "stay": "enc",
    }  # fmt: skip
    first = document(
        1,
        to="2024-01-05T08:00:00Z",
        dead=True,
        denied=False,
        triage="2024-01-01T08:00:00Z",
        enc="a",
        dod="2024-01-05T07:00:00Z",
        last="2024-02-01T00:00:00Z",
        **{"from": "2024-01-01T08:00:00Z"},
    )
    second = first | {"text": "more", "codes": ["E11"], "denied": True, "dod": None, "last": None}
    source = {"layout": "documents", "columns": columns, "deaths_known": True}
    (one,), attrition = read(write_lines(first, second), **source)
    (stay,) = one.stays
    assert (stay.died, stay.planned, stay.facts) == (True, None, {"denied": False})
    assert stay.times == {"triage": datetime(2024, 1, 1, 8, tzinfo=UTC)}
    assert stay.codes == icd10cm(["I10", "E11"])
    assert one.died == datetime(2024, 1, 5, 7, tzinfo=UTC)
    assert (one.deaths_known, one.followed_until) == (True, datetime(2024, 2, 1, tzinfo=UTC))
    assert attrition.counts == {"documents that tell a stay otherwise": 1}


def test_latin_1_is_read_where_it_is_declared_and_a_mark_at_the_beginning_is_none(tmp_path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(patient(1, id="José ÿ"), ensure_ascii=False).encode("latin-1"))
    assert read(path, encoding="latin-1")[0][0].id == "José ÿ"
    with pytest.raises(SourceBroken, match=r"latin\.jsonl line 1: is not utf-8; set enc"):
        read(path)
    path.write_text(json.dumps(patient(1)), "utf-8-sig")
    assert read(path)[0][0].id == "p1"


def test_half_a_character_is_refused_wherever_it_stands(write_lines):
    for broken in (patient(2, id="\ud800"), patient(2, notes=[{"at": "x", "text": "\udfff"}])):
        with pytest.raises(SourceBroken, match=r"line 2: its text holds half a character"):
            read(write_lines(patient(1), broken))
    assert read(write_lines(patient(1, id="🙂 \\ud800")))[0][0].id == "🙂 \\ud800"


def test_other_scripts_and_10_mb_notes_are_read_whole(write_lines):
    texts = ["слово " * 900_000, "שלום עליכם، مرحبا", "x" * 10 * 2**20]
    notes = [{"at": f"2024-01-0{n}T08:00:00Z", "text": text} for n, text in enumerate(texts, 1)]
    (one,), attrition = read(write_lines(patient(1, notes=notes)))
    assert [note.text for note in one.notes] == texts
    assert "notes with control characters (kept)" not in attrition.counts


def test_overlaps_and_the_future_are_counted_and_not_where_dates_were_moved(write_lines):
    late = FULL | {"id": "s2", "admitted": "2024-01-04T00:00:00Z",
                   "discharged": "2190-01-01T00:00:00Z"}  # fmt: skip
    line = patient(1, stays=[FULL, late, late], notes=[{"at": "2190-01-01T00:00:00Z", "text": "x"}])
    _, attrition = read(write_lines(line))
    assert attrition.counts == {
        "stays that stand twice": 1,
        "stays that overlap another (kept)": 1,
        "stays dated in the future (kept)": 1,
        "notes dated in the future (kept)": 1,
    }
    _, attrition = read(write_lines(line), shifted=True)
    assert "stays dated in the future (kept)" not in attrition.counts


def test_its_state_changes_with_its_files(write_lines, tmp_path):
    source = Jsonl(paths=("patients.jsonl", "more.jsonl"))
    write_lines(patient(1))
    states = [source.state(root=tmp_path)]
    write_lines(patient(2), name="more.jsonl")
    states += [source.state(root=tmp_path), source.state(root=tmp_path)]
    write_lines(patient(2), patient(3), name="more.jsonl")
    states.append(source.state(root=tmp_path))
    assert None not in states
    assert states[1] == states[2]
    assert len(set(states)) == 3


def test_a_key_that_stands_twice_is_refused_and_not_named(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"id": "p1", "Zebulon Quagmire": 1, "Zebulon Quagmire": 2}\n')
    with pytest.raises(SourceBroken, match="line 1: a key stands twice") as error:
        read(path)
    assert "Zebulon" not in str(error.value)


def test_a_line_without_end_is_refused_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 1000)
    path = tmp_path / "notes.jsonl"
    path.write_text("[" + "1," * 5000 + "1]")
    with pytest.raises(SourceBroken, match=r"line 1: is longer than .*; write an object a line"):
        read(path)


@pytest.mark.parametrize("time", ["-5", "2024-1-5T10:00:00Z", "1704448800", "24-01-05T10:00:00Z"])
def test_what_is_no_iso_time_is_refused(tmp_path, time):
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps(patient(1, notes=[{"at": time, "text": "x"}])))
    with pytest.raises(SourceBroken, match=r"notes\.0\.at"):
        read(path)


def test_windows_1252_is_not_latin_1(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_bytes(json.dumps(patient(1), ensure_ascii=False).encode() + b'\n{"\x93": 1}')
    with pytest.raises(SourceBroken, match=r"line 2: is not latin-1; convert it from windows"):
        read(path, encoding="latin-1")


def test_a_stay_that_ends_in_9999_is_left_out_and_counted(tmp_path):
    never = {"id": "s1", "admitted": "2024-01-01T08:00:00Z", "discharged": "9999-12-31T23:59:59Z"}
    path = tmp_path / "notes.jsonl"
    path.write_text(json.dumps(patient(1, stays=[never])))
    [one], attrition = read(path)
    assert one.stays == ()
    assert attrition.counts["stays of a year that cannot be"] == 1
