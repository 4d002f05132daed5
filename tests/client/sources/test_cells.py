"""Cells: a table's rows in order of patient, its notes read once and never all in memory."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.sources.cells import Column, Reading, by_patient
from client.sources.moments import Moments
from client.sources.source import Attrition
from client.sources.tables import Tables
from client.sources.texts import Texts
from privacy.errors import SourceBroken

COLUMNS = [Column("patient", "p", "id"), Column("text", "t", "text"), Column("kind", "k", "word")]


def reading(tables: Tables, *paths: Path) -> Reading:
    moments = Moments(time_format="iso", time_zone=None, dates=lambda: None)
    return Reading("notes", tables.parquet("notes", paths), COLUMNS, moments)


class Counted(Tables):
    """Remembers what was asked."""

    asked: tuple[str, ...] = ()

    def rows(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        self.asked += (query,)
        return super().rows(query, parameters)


def test_more_notes_than_memory_come_in_order_read_once_and_nothing_of_them_by_name(
    tmp_path, monkeypatch
):
    """Half of them are nobody's: 30 MB that are counted, neither sorted nor kept."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    drawn = random.Random(5)
    names = ["", " ", "é", "Ж", *map(str, range(900))]
    keys = [drawn.choice([None, drawn.choice(names)]) for _ in range(30_000)]
    texts = [drawn.randbytes(1_000).hex() for _ in keys]
    table = pa.table({"p": keys, "t": texts, "k": ["x"] * len(keys)})
    pq.write_table(table, tmp_path / "n.parquet", row_group_size=2_048)
    attrition, found = Attrition(), []
    with Counted(memory_mb=40) as tables, Texts() as kept:
        rows = reading(tables, tmp_path / "n.parquet").rows(tables, kept)
        for patient, some in by_patient(rows, without="nobody's", attrition=attrition):
            found += [(patient, row["text"], row.place) for row in some]
            if len(found) < 100:
                assert not [file for file in scratch.iterdir() if file.is_file()]
        assert len([query for query in tables.asked if '"t"' in query]) == 1
        assert len(tables.asked) == 2
    expected = [
        (key, text, f"n.parquet row {row}")
        for row, (key, text) in enumerate(zip(keys, texts, strict=True), 1)
        if key is not None and key.strip()
    ]
    assert found == sorted(expected, key=lambda row: (row[0], int(row[2].rpartition(" ")[2])))
    assert attrition.counts == {"nobody's": len(keys) - len(expected)}
    assert not list(scratch.iterdir())


def test_a_share_keeps_only_its_own_texts_and_files_count_their_own_rows(tmp_path):
    for name, patients in (("b", ["2", "1", None]), ("a", ["1", "2"])):
        texts = [f"{name}{number}" for number in range(len(patients))]
        table = pa.table({"p": patients, "t": texts, "k": ["x", "y", "x"][: len(patients)]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    paths = tmp_path / "b.parquet", tmp_path / "a.parquet"
    with Tables() as tables, Texts() as kept:
        own = reading(tables, *paths)
        rows = own.rows(tables, kept, where="k = ?", parameters=["x"])
        assert [(row["patient"], row["text"], row.place) for row in rows] == [
            (None, None, "b.parquet row 3"),
            ("1", "a0", "a.parquet row 1"),
            ("2", "b0", "b.parquet row 1"),
        ]
        assert kept.get("b.parquet", 2, "1") is None


def test_a_file_that_changes_between_the_two_readings_is_refused(tmp_path):
    path = tmp_path / "n.parquet"

    def write(*patients: str) -> None:
        words = [f"of {patient}" for patient in patients]
        pq.write_table(pa.table({"p": patients, "t": words, "k": words}), path)

    for changed in (["2", "1"], ["1", "2", "3"]):
        write("1", "2")
        with Tables() as tables, Texts() as kept:
            own = reading(tables, path)
            kept.keep(tables.rows("SELECT _file, _row, p, t FROM notes"))
            write(*changed)
            tables.parquet("again", [path])

            class Read(Texts):
                def keep(self, rows: object) -> None:
                    del rows

                get = kept.get

            with Read() as read, pytest.raises(SourceBroken, match="changed while it was read"):
                list(Reading("again", own.types, COLUMNS, own.moments).rows(tables, read))
