"""csv and parquet: when a discharge summary was written, and which stay it sums up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tabular_builders import CANARY, INSTANT, KINDS, alone, read, utc, write

from client.sources.tabular import Csv
from tasks.task import Label, notes_for

END = utc(2024, 1, 5, 12)
COLUMNS = {"at": "at", "stay": "stay", "kind": "type"}
STAYS = {
    "patient": ["p", "p"],
    "stay": ["s", "backwards"],
    "admitted": ["2024-01-01T08:00Z", "2024-01-09T08:00Z"],
    "discharged": ["2024-01-05T12:00Z", "2024-01-08T08:00Z"],
}
NOTES: dict[str, list[Any]] = {
    "patient": ["p"] * 6,
    "stay": ["s", "s", "s", "gone", None, "backwards"],
    "type": ["Epicrisis", "Epicrisis", "course", "Epicrisis", "Epicrisis", "Epicrisis"],
    "at": ["2024-01-05", "2024-01-12", "2024-01-05", "2024-01-05", "2024-01-05", "2024-01-05"],
    "text": ["by day", "signed late", "progress", "stray", "nobody's", "of a stay left out"],
}
EVENING = utc(2024, 1, 6) - INSTANT
GONE = "discharge summaries of a stay that is not there (kept)"


def hospital(folder, kind, **source: Any):
    write(folder, kind, "notes", NOTES)
    write(folder, kind, "stays", STAYS)
    notes = {"paths": ["notes"], "columns": COLUMNS, "kinds": {"Epicrisis": "discharge"}}
    table = {"notes": notes, "stays": {"paths": ["stays"]}, "time_zone": "UTC", **source}
    (one,), attrition = read(folder, kind.model_validate(table))
    return one, {note.text: note for note in one.notes}, attrition


def at_discharge(one) -> set[str]:
    label = Label(at=END, target=(), stay="s")
    return {note.text for note in notes_for(one, label)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_summary_is_taken_as_dated_or_as_written_when_its_stay_ended(tmp_path, kind):
    one, notes, attrition = hospital(tmp_path, kind)
    assert notes["by day"].at == EVENING
    assert notes["signed late"].at == EVENING + timedelta(days=7)
    assert at_discharge(one) == set()
    assert attrition.counts[GONE] == 2
    one, notes, attrition = hospital(tmp_path, kind, summaries="discharge")
    assert notes["by day"].at == notes["signed late"].at == END
    for text in ("progress", "stray", "nobody's", "of a stay left out"):
        assert notes[text].at == EVENING
    assert at_discharge(one) == {"by day", "signed late"}
    assert attrition.counts[GONE] == 2
    assert attrition.first[GONE] == "notes row 4"
    assert attrition.counts["notes without a stay's id (kept)"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_called_what_tasks_call_them_and_others_stay(tmp_path, kind):
    _, notes, _ = hospital(tmp_path, kind)
    assert notes["by day"].kind == "discharge"
    assert notes["progress"].kind == "course"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_tell_of_their_stays_need_no_name_of_them(tmp_path, kind):
    table = {
        "patient": ["p"],
        "to": ["2024-01-05T12:00Z"],
        "at": ["2024-01-05"],
        "text": [CANARY],
    }
    notes = {"columns": {"at": "at", "discharged": "to"}, "note_kind": "discharge"}
    for summaries, expected in (("signed", EVENING), ("discharge", END)):
        (one,), _ = alone(tmp_path, kind, table, notes=notes, time_zone="UTC", summaries=summaries)
        assert one.notes[0].at == expected


def test_what_is_to_be_tied_to_stays_must_name_them():
    notes = {"paths": ["n"], "columns": {"at": "at"}}
    with pytest.raises(ValidationError, match=r"notes\.columns\.stay: name the column"):
        Csv.model_validate({"notes": notes, "summaries": "discharge"})
    with pytest.raises(ValidationError, match=r"kinds need columns\.kind"):
        Csv.model_validate({"notes": {**notes, "kinds": {"Epicrisis": "discharge"}}})
