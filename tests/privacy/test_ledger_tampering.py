"""A ledger that was edited is seen, and nothing is charged on it."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import (
    NO_CEILING,
    height,
    open_ledger,
    refused,
    relink,
    spend,
    sql,
    unguarded,
)

from privacy.chain import Height
from privacy.errors import LedgerBroken

EDITED = r"entry \d+ was edited, taken out or put in\. Nothing is trained until the ledger is res"
FORGED = r"entry \d+ is not the one that its high-water mark saw\. Nothing is trained until"
UNREADABLE = r"cannot be (read|used): .* Nothing is trained until"


def test_an_untouched_ledger_is_whole(folder):
    ledger = open_ledger(folder)
    assert [entry.kind for entry in ledger.entries()] == [
        "settled",
        "approved",
        "spend",
        "spend",
        "certified",
        "spend",
    ]
    assert height(folder) == Height(6, ledger.entries()[-1].hash)
    assert ledger.reserve(spend(round=9), lifetime=NO_CEILING).id == 7


# Edits


@pytest.mark.parametrize("number", range(1, 7))
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 70),
        ("dataset", "ward"),
        ("kind", "revoked"),
        ("body", "{}"),
        ("at", "2020-01-01T00:00:00+00:00"),
        ("hash", "0" * 64),
    ],
)
def test_no_field_of_any_entry_can_be_edited(folder, path, number, field, value):
    unguarded(path)
    sql(path, (f"UPDATE entry SET {field} = ? WHERE id = ?", (value, number)))  # noqa: S608 - a column's name
    refused(folder, EDITED)


@pytest.mark.parametrize("number", [1, 3, 4, 5, 6])
def test_no_value_of_any_body_can_be_edited(folder, path, number):
    unguarded(path)
    ((text,),) = sql(path, ("SELECT body FROM entry WHERE id = ?", (number,)))
    for key, value in json.loads(text).items():
        other = f"{value}x" if isinstance(value, str) else [] if value != [] else 1
        other = value + 1 if isinstance(value, int | float) else other
        edited = json.dumps(json.loads(text) | {key: other})
        sql(path, ("UPDATE entry SET body = ? WHERE id = ?", (edited, number)))
        with pytest.raises(LedgerBroken, match=f"entry {number} was edited"):
            open_ledger(folder).entries()
    sql(path, ("UPDATE entry SET body = ? WHERE id = ?", (text, number)))
    assert len(open_ledger(folder).entries()) == 6


def test_even_a_space_in_a_body_counts(folder, path):
    unguarded(path)
    sql(path, "UPDATE entry SET body = replace(body, ',', ', ') WHERE id = 3")
    refused(folder, "entry 3 was edited")


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_no_character_of_an_entry_can_be_changed(made, tmp_path_factory, data):
    number = data.draw(st.integers(1, 6))
    field = data.draw(st.sampled_from(["dataset", "kind", "body", "at", "hash"]))
    with_edit = shutil.copytree(made, tmp_path_factory.mktemp("edit") / "site")
    path = with_edit / "ledger.sqlite"
    ((text,),) = sql(path, (f"SELECT {field} FROM entry WHERE id = ?", (number,)))  # noqa: S608 - a column's name
    place = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.characters(codec="utf-8", exclude_characters="\0" + text[place]))
    edited = text[:place] + new + text[place + 1 :]
    unguarded(path)
    sql(
        path,
        "PRAGMA ignore_check_constraints = ON",
        (f"UPDATE entry SET {field} = ? WHERE id = ?", (edited, number)),  # noqa: S608 - a column's name
    )
    with pytest.raises(LedgerBroken, match=f"entry {number} was edited"):
        open_ledger(with_edit).entries()


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM entry WHERE id = 3"],
        ["DELETE FROM entry WHERE id = 3", "UPDATE entry SET id = id - 1 WHERE id > 3"],
        ["DELETE FROM entry WHERE id = 1", "UPDATE entry SET id = id - 1"],
    ],
    ids=["a gap", "closed", "the first"],
)
def test_no_entry_can_be_taken_out(folder, path, statements):
    unguarded(path)
    sql(path, *statements)
    refused(folder, EDITED)


def test_no_entry_can_be_put_in(folder, path):
    unguarded(path)
    sql(
        path,
        "UPDATE entry SET id = -id - 1 WHERE id >= 4",
        "UPDATE entry SET id = -id WHERE id < 0",
        "INSERT INTO entry SELECT 4, dataset, kind, body, at, hash FROM entry WHERE id = 3",
    )
    refused(folder, "entry 4 was edited, taken out or put in")


def test_no_entry_can_be_put_at_the_end_without_its_hash(folder, path):
    sql(path, "INSERT INTO entry SELECT 7, dataset, kind, body, at, hash FROM entry WHERE id = 6")
    refused(folder, "entry 7 was edited, taken out or put in")


def test_no_two_entries_can_be_swapped(folder, path):
    unguarded(path)
    sql(
        path,
        "UPDATE entry SET id = 99 WHERE id = 3",
        "UPDATE entry SET id = 3 WHERE id = 4",
        "UPDATE entry SET id = 4 WHERE id = 99",
    )
    refused(folder, "entry 3 was edited, taken out or put in")


# By one who knows how the chain is made


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6])
def test_an_edit_with_a_chain_made_anew_is_not_what_the_mark_saw(folder, path, number):
    unguarded(path)
    sql(path, ("UPDATE entry SET at = '2020-01-01T00:00:00+00:00' WHERE id = ?", (number,)))
    assert relink(path).length == 6
    refused(folder, FORGED)


def test_a_charge_made_cheaper_with_a_chain_made_anew_is_refused(folder, path):
    unguarded(path)
    sql(path, "UPDATE entry SET body = json_set(body, '$.noise_multiplier', 90.5) WHERE id = 3")
    relink(path)
    refused(folder, "entry 6 is not the one that its high-water mark saw")


def test_a_chain_made_anew_and_longer_is_refused(folder, path):
    unguarded(path)
    sql(
        path,
        "UPDATE entry SET body = json_set(body, '$.noise_multiplier', 90.5) WHERE id = 3",
        "INSERT INTO entry SELECT 7, dataset, kind, body, at, hash FROM entry WHERE id = 6",
    )
    relink(path)
    refused(folder, "entry 6 is not the one that its high-water mark saw")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("spend", {"cohort": "train"}),
        ("spend", {"cohort": "tune", **spend().model_dump()}),
        ("spend", spend().model_dump()),
        ("spend", {"cohort": "train", **spend().model_dump(), "steps": 0}),
        ("spend", {"cohort": "train", **spend().model_dump(), "sample_rate": 0}),
        ("spend", {"cohort": "train", **spend().model_dump(), "noise_multiplier": -1}),
        ("spend", {"cohort": "train", **spend().model_dump(), "cost": 0}),
        ("spend", [1, 2]),
        ("spent", {"cohort": "train", **spend().model_dump()}),
        ("certified", {"events": [[1, 2]], "delta": 1e-5, "epsilon": 1, "accountants": ""}),
        ("certified", {"events": [], "delta": "small", "epsilon": 1, "accountants": ""}),
        ("certified", {"events": [], "delta": 1e-5, "accountants": ""}),
        ("certified", {"events": [], "delta": 1e-5, "epsilon": 1}),
        ("settled", {"name": "split"}),
        ("revoked", {}),
    ],
    ids=str,
)
def test_what_cannot_be_read_beyond_the_mark_does_not_count_for_nothing(folder, path, kind, body):
    """Its own links hold, as if a later version had written it."""
    values = (kind, json.dumps(body, sort_keys=True, separators=(",", ":")))
    at = "2026-01-01T00:00:00+00:00"
    sql(path, ("INSERT INTO entry VALUES (7, 'icu', ?, ?, ?, '')", (*values, at)))
    relink(path)
    refused(folder, UNREADABLE)


@pytest.mark.parametrize("at", ["yesterday", "2026-01-01T00:00:00", ""])
def test_a_time_that_cannot_be_read_does_not_count_for_nothing(folder, path, at):
    sql(path, ("INSERT INTO entry SELECT 7, dataset, kind, body, ?, '' FROM entry LIMIT 1", (at,)))
    relink(path)
    refused(folder, UNREADABLE)


@pytest.mark.parametrize("body", ["no json", "", "[" * 5000, '{"cohort": NaN}'])
def test_a_body_that_is_no_json_is_refused(folder, path, body):
    sql(
        path,
        "PRAGMA ignore_check_constraints = ON",
        ("INSERT INTO entry SELECT 7, dataset, kind, ?, at, '' FROM entry LIMIT 1", (body,)),
    )
    relink(path)
    refused(folder, UNREADABLE)


def test_what_is_no_text_is_refused(folder, path):
    unguarded(path)
    sql(
        path,
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE entry SET body = CAST(x'ff7b7d' AS TEXT) WHERE id = 3",
    )
    refused(folder, UNREADABLE)


def test_a_table_of_other_columns_is_refused(folder, path):
    unguarded(path)
    sql(path, "ALTER TABLE entry DROP COLUMN at")
    refused(folder, r"no such column: at\. Nothing|OperationalError\. Nothing")
