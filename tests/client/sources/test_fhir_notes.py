"""fhir: which documents are notes, when they were written, and what they say."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import pytest
from fhir_resources import attached, document, export, one, read
from fhir_writer import refer, text

from client.sources.fhir_attachments import stripped


def note(folder, *resources, **fields):
    found, counts = one(folder, *resources, **fields)
    return found.notes[0], counts


def lost(folder, *resources, **fields):
    """What is counted where no note is left."""
    found, attrition = read(export(folder, *resources), **fields)
    assert found == []
    assert attrition.counts.pop("patients without notes") == 1
    return attrition.counts


def raw(content: bytes, media: str):
    return {"contentType": media, "data": b64encode(content).decode()}


def test_a_document_is_a_note_of_its_stay(tmp_path):
    found, counts = note(tmp_path)
    assert (found.kind, found.text, found.stay) == ("discharge", "Went home.", "e1")
    assert found.at == datetime(2024, 1, 5, 11, tzinfo=UTC)
    assert counts == {}


@pytest.mark.parametrize("wish", ["superseded", "preliminary"])
def test_superseded_and_preliminary_notes_are_kept_or_dropped_and_counted(tmp_path, wish):
    status = {"status": "superseded"} if wish == "superseded" else {"docStatus": "preliminary"}
    export(tmp_path, document(), document("d2", **status))
    (kept,), attrition = read(tmp_path, **{wish: "keep"})
    assert len(kept.notes) == 2
    assert attrition.counts == {f"notes that are {wish} (kept)": 1}
    (left,), attrition = read(tmp_path, **{wish: "drop"})
    assert len(left.notes) == 1
    assert attrition.counts == {f"notes that are {wish}": 1}
    assert attrition.first == {f"notes that are {wish}": "DocumentReference.000.ndjson line 2"}


@pytest.mark.parametrize("field", ["status", "docStatus"])
def test_a_note_entered_in_error_is_never_read(tmp_path, field):
    counts = lost(tmp_path, document(**{field: "entered-in-error"}), superseded="keep")
    assert counts == {"notes entered in error": 1}


def test_a_note_that_stands_twice_is_read_once(tmp_path):
    found, counts = one(tmp_path, document(), document())
    assert (len(found.notes), counts) == (1, {"notes that stand twice": 1})


@pytest.mark.parametrize(
    ("date", "last"),
    [
        ("2024-01-05T11:00:00.123456789+01:00", datetime(2024, 1, 5, 10, 0, 0, 123456, UTC)),
        ("2024-01-05", datetime(2024, 1, 5, 23, 59, 59, 999_999, UTC)),
        ("2024-02", datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC)),
        ("2023", datetime(2023, 12, 31, 23, 59, 59, 999_999, UTC)),
        ("2024-01-05T11:00:00", datetime(2024, 1, 5, 11, tzinfo=UTC)),
    ],
)
def test_a_note_is_never_dated_before_it_can_have_been_written(tmp_path, date, last):
    found, counts = note(tmp_path, document(date=date), zone="UTC")
    assert found.at == last
    partial = "T" not in date
    assert counts == ({"notes known to the day or less (kept)": 1} if partial else {})


@pytest.mark.parametrize("date", [None, "", "yesterday", "2024-13-01", "0001-01-01", 20240105])
def test_a_note_without_a_date_is_counted_unless_its_context_has_one(tmp_path, date):
    assert lost(tmp_path / "without", document(date=date), zone="UTC") == {
        "notes without a date": 1
    }
    context = {"period": {"end": "2024-01-04T10:00:00Z"}, "encounter": refer("Encounter", "e1")}
    found, counts = note(tmp_path / "with", document(date=date, context=context), zone="UTC")
    assert (found.at, found.stay) == (datetime(2024, 1, 4, 10, tzinfo=UTC), "e1")
    assert counts == {"notes dated by what they tell of (kept)": 1}


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ({"coding": [{"system": "http://loinc.org", "code": "34117-2"}]}, "history and physical"),
        ({"coding": [{"system": "http://loinc.org", "code": "11506-3"}]}, "progress"),
        ({"coding": [{"system": "http://loinc.org", "code": "51847-2"}]}, "plan"),
        ({"coding": [{"system": "x", "code": "18842-5", "display": " A\n Letter "}]}, "a letter"),
        ({"text": "of somebody"}, "note"),
        (None, "note"),
    ],
)
def test_the_kind_is_that_of_the_loinc_code_or_what_is_displayed(tmp_path, type, kind):
    found, _ = note(tmp_path, document(type=type), kinds={"51847-2": "plan"})
    assert found.kind == kind


def test_a_note_of_no_encounter_belongs_to_no_stay_and_a_lost_one_to_none_of_the_others(tmp_path):
    found, counts = note(tmp_path / "none", document(context=None))
    assert (found.stay, counts) == (None, {})
    context = {"encounter": [refer("Encounter", "e9")]}
    found, counts = note(tmp_path / "lost", document(context=context))
    assert found.stay not in (None, "e1")
    assert counts == {"notes of a stay that is not there (kept)": 1}


def test_reports_are_read_where_the_site_says_so(tmp_path):
    report = document(
        resourceType="DiagnosticReport",
        status="final",
        type=None,
        code={"coding": [{"system": "http://loinc.org", "code": "18748-4"}]},
        issued="2024-01-03T10:00:00Z",
        effectiveDateTime="2024-01-02T10:00:00Z",
        presentedForm=[text("No fracture.")],
        encounter=refer("Encounter", "e1"),
    )
    cancelled = report | {"id": "r2", "status": "cancelled"}
    partial = report | {"id": "r3", "status": "partial"}
    export(tmp_path, report, cancelled, partial)
    assert len(read(tmp_path)[0][0].notes) == 1
    (found,), attrition = read(tmp_path, reports=True, preliminary="drop")
    assert [(one.kind, one.text, one.stay) for one in found.notes] == [
        ("radiology", "No fracture.", "e1"),
        ("discharge", "Went home.", "e1"),
    ]
    assert found.notes[0].at == datetime(2024, 1, 3, 10, tzinfo=UTC)
    assert attrition.counts == {"notes entered in error": 1, "notes that are preliminary": 1}


@pytest.mark.parametrize(
    ("content", "media"),
    [
        ("Fièvre élevée".encode(), "text/plain"),
        ("Fièvre élevée".encode(), "Text/Plain; charset=UTF-8"),
        ("\ufeffFièvre élevée".encode(), 'text/plain;charset="utf-8"'),
        ("Fièvre élevée".encode("latin-1"), "text/plain; format=flowed; charset=ISO-8859-1"),
        ("<p>Fi&egrave;vre <b>élevée</b></p>".encode(), "text/html"),
        ("<html><p>Fièvre élevée</p></html>".encode(), "application/xhtml+xml; charset=utf-8"),
    ],
)
def test_text_is_read_in_its_charset(tmp_path, content, media):
    found, counts = note(tmp_path, attached(raw(content, media)))
    assert (found.text, counts) == ("Fièvre élevée", {})


@pytest.mark.parametrize(
    ("attachment", "rule"),
    [
        (raw(b"x", "application/pdf"), "that are pdf"),
        (raw(b"x", "text/rtf"), "that are rtf"),
        (raw(b"x", "image/png"), "that are image"),
        (raw(b"x", "application/hl7-v3+xml"), "that are xml"),
        (raw(b"x", "Zebulon/Quagmire"), "that are of another type"),
        (raw(b"x", ""), "that are of no type"),
        (raw(b"x", "text/plain; charset=utf-16"), "in a charset that is not read"),
        (raw(b"x", "text/plain; charset=Quagmire"), "in a charset that is not read"),
        (raw("é".encode("latin-1"), "text/plain"), "that are not in their charset"),
        (raw("é".encode(), "text/plain; charset=us-ascii"), "that are not in their charset"),
        ({"contentType": "text/plain", "data": "Zm9v!YmFy"}, "whose base64 is broken"),
        (raw(b"<p>x <![QUAGMIRE[ x ]]> y", "text/html"), "whose html cannot be read"),
        ({"contentType": "text/plain", "data": "Zm9"}, "whose base64 is broken"),
        ({"contentType": "text/plain", "data": "Zéro"}, "whose base64 is broken"),
        ({"contentType": "text/plain"}, "without data"),
        ({"contentType": "text/plain", "data": ["Zm9v"]}, "without data"),
    ],
)
def test_what_cannot_be_read_is_counted_and_the_next_is_read(tmp_path, attachment, rule):
    found, counts = one(tmp_path, attached(attachment), document("d2"))
    assert [one.text for one in found.notes] == ["Went home."]
    assert counts == {f"attachments {rule}": 1, "notes without text": 1}


def test_base64_may_be_broken_into_lines(tmp_path):
    lines = text("Went home.") | {"data": "V2Vu\r\ndCBo\nb21lLg=="}
    assert note(tmp_path, attached(lines))[0].text == "Went home."


def test_of_several_formats_the_plain_one_is_read_and_nothing_is_lost(tmp_path):
    page, plain = text("<p>page</p>", "text/html"), text("plain")
    pdf, broken = raw(b"x", "application/pdf"), text("x") | {"data": "!"}
    assert note(tmp_path / "1", attached(pdf, page, plain))[0].text == "plain"
    found, counts = note(tmp_path / "2", attached(broken, pdf, page))
    assert (found.text, counts) == ("page", {})
    assert lost(tmp_path / "3", attached(broken, pdf)) == {
        "attachments whose base64 is broken": 1,
        "attachments that are pdf": 1,
        "notes without text": 1,
    }


def test_a_page_becomes_lines():
    page = """<!DOCTYPE html><html><head><title>T</title><style>p {}</style></head><body>
      <h1>Summary</h1><p>Mr  X was
      <i>well</i>.<br>Then&nbsp;not.</p><script>alert(1)</script><!-- hidden -->
      <table><tr><th>Na</th><th>K</th></tr><tr><td>140</td><td>4.1</td></tr></table>
      <ul><li>aspirin</li><li>a &lt; b</li></ul><pre>one
  two</pre></body></html>"""
    assert stripped(page).split("\n") == [
        "Summary", "Mr X was well.", "Then\u00a0not.", "Na\tK", "140\t4.1", "aspirin", "a < b",
        "one", "two",
    ]  # fmt: skip
    assert stripped("<div>" * 20_000 + "deep") == "deep"
    assert stripped("<br>word" * 20_000).count("word") == 20_000
    assert stripped("<p>one<p>two &#x442;<br/>three</P></div>") == "one\ntwo \u0442\nthree"
    assert stripped("") == ""


def test_a_binary_or_a_file_of_the_export_is_read(tmp_path):
    for number, (binary, url) in enumerate([
        ("b1", "Binary/b1"),
        ("b1", "https://hospital.example/fhir/Binary/b1"),
        ("b1", "https://hospital.example/fhir/Binary/b1/_history/3"),
        ("0c5", "urn:uuid:0C5"),
    ]):  # fmt: skip
        held = {"resourceType": "Binary", "id": binary} | text("Went home.")
        folder = tmp_path / str(number)
        for attachment in ({"contentType": "text/plain", "url": url}, {"url": url}):
            found, counts = note(folder, held, attached(attachment))
            assert (found.text, counts) == ("Went home.", {})
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a note.txt").write_text("Went home.")
    for url in ("texts/a%20note.txt", "./texts/../texts/a note.txt"):
        attachment = {"contentType": "text/plain", "url": url}
        assert note(tmp_path, attached(attachment))[0].text == "Went home."


@pytest.mark.parametrize(
    "url",
    [
        "../outside.txt",
        "%2e%2e/outside.txt",
        "texts/../../outside.txt",
        "{outside}",
        "link.txt",
        "http://127.0.0.1:1/Binary",
        "https://hospital.example/fhir/Binary/b9",
        "//hospital.example/note.txt",
        "file:{outside}",
        "FTP://hospital.example/note.txt",
        "data:text/plain,Zebulon",
    ],
)
def test_nothing_outside_the_export_is_opened_or_fetched(tmp_path, monkeypatch, url):
    folder, outside = tmp_path / "export", tmp_path / "outside.txt"
    (folder / "texts").mkdir(parents=True)
    outside.write_text("not ours")
    (folder / "link.txt").symlink_to(outside)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("reaches for a network"))
    attachment = {"contentType": "text/plain", "url": url.format(outside=outside)}
    assert lost(folder, attached(attachment)) == {
        "attachments elsewhere": 1,
        "notes without text": 1,
    }


@pytest.mark.parametrize("url", ["Binary/b9", "absent.txt", "texts", "a\0b", "x" * 5000])
def test_a_file_that_is_not_there_is_counted(tmp_path, url):
    (tmp_path / "texts").mkdir()
    attachment = {"contentType": "text/plain", "url": url}
    assert lost(tmp_path, attached(attachment)) == {
        "attachments that are not there": 1,
        "notes without text": 1,
    }
