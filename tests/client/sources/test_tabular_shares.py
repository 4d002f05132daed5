"""csv and parquet: splits, shares, states, and what a reader that stops leaves."""

from __future__ import annotations

import pytest
from tabular_builders import (
    AT,
    KINDS,
    SOURCE,
    TABLES,
    alone,
    dated,
    read,
    whole,
    write,
)

from client.sources.source import Attrition
from client.sources.tabular import Csv
from privacy.errors import SourceBroken


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_may_fix_who_is_held_out(tmp_path, kind):
    part = {"column": "split", "train": ["train"], "heldout": ["dev"]}
    table = dated(patient=["a", "b", "c", "a"], split=["train", "dev", "test", "test"])
    found, attrition = alone(tmp_path, kind, table, notes=AT, part=part)
    assert [(one.id, one.part, len(one.notes)) for one in found] == [
        ("a", "train", 1),
        ("b", "heldout", 1),
    ]
    assert attrition.counts == {"notes in no part of the split": 2}
    table = dated(patient=["a", "a"], split=["train", "dev"])
    with pytest.raises(SourceBroken, match="notes row 2: its patient is in two parts"):
        alone(tmp_path, kind, table, notes=AT, part=part)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_gives_every_patient_to_exactly_one_site(tmp_path, kind):
    places = ["x"] * 5 + ["y"] * 3 + ["z"] * 2 + ["w"]
    table = dated(patient=[f"p{n}" for n in range(11)], place=places, split=["train"] * 11)
    table["split"][0] = "dev"
    write(tmp_path, kind, "notes", table)
    part = {"column": "split", "train": ["train"], "heldout": ["dev"]}
    source = kind.model_validate({"notes": {"paths": ["notes"], **AT}, "part": part})
    pieces = source.cut("place", largest=2, rest="others", root=tmp_path)
    assert [(piece.name, piece.training_patients) for piece in pieces] == [
        ("x", 4),
        ("y", 3),
        ("others", 3),
    ]
    ids = [one.id for piece in pieces for one in read(tmp_path, piece.source)[0]]
    assert sorted(ids) == sorted(table["patient"])
    table["split"] = ["dev" if place in "zw" else "train" for place in places]
    write(tmp_path, kind, "notes", table)
    pieces = source.cut("place", largest=9, rest="others", root=tmp_path)
    assert [(piece.name, piece.training_patients) for piece in pieces] == [
        ("x", 5),
        ("y", 3),
        ("others", 0),
    ]
    assert [len(read(tmp_path, piece.source)[0]) for piece in pieces] == [5, 3, 3]
    with pytest.raises(ValueError, match="notes: has no column 'journal'"):
        source.cut("journal", largest=2, rest="others", root=tmp_path)


def test_a_share_does_not_count_the_others_stays(tmp_path):
    whole(tmp_path, Csv)
    only = {"column": "pid", "values": ["2"]}
    (two,), attrition = read(tmp_path, Csv.model_validate({**SOURCE, "only": only}))
    assert two.id == "2"
    assert "patients without notes" not in attrition.counts


def test_its_state_changes_with_each_of_its_files(tmp_path):
    whole(tmp_path, Csv)
    source = Csv.model_validate(SOURCE)
    states = [source.state(root=tmp_path)]
    for name in TABLES:
        with (tmp_path / name).open("a") as file:
            file.write("\n")
        states.append(source.state(root=tmp_path))
    assert None not in states
    assert len(set(states)) == 5


def test_a_reader_that_stops_early_leaves_nothing_behind(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    whole(tmp_path, Csv)
    stream = Csv.model_validate(SOURCE).patients(root=tmp_path, attrition=Attrition())
    next(stream)
    assert list(scratch.iterdir())
    stream.close()
    assert not list(scratch.iterdir())
