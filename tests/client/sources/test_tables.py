"""Tables: what CSV and Parquet files become, what is refused, and what is left on the disk."""

from __future__ import annotations

import csv
import gzip
import random
import stat
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.sources.tables import Tables
from privacy.errors import SourceBroken

CANARY = "Zebulon Quagmire"


def rows(folder: Path, data: bytes, name: str = "a.csv", **options: object):
    """The columns, and each row without the file's name and the row's number."""
    (folder / name).write_bytes(data)
    with Tables() as tables:
        columns = tables.csv("t", [folder / name], **options)
        return columns, [row[:-2] for row in tables.rows("SELECT * FROM t")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\n1,x\n2,y\n", [("1", "x"), ("2", "y")]),
        (b"a,b\r\n1,x\r\n2,y\r\n", [("1", "x"), ("2", "y")]),
        (b"a,b\r1,x\r2,y\r", [("1", "x"), ("2", "y")]),
        (b"a,b\n1,x\n2,y", [("1", "x"), ("2", "y")]),
        (b"\xef\xbb\xbfa,b\n1,x\n", [("1", "x")]),
        (b'a,b\r\n1,"x\ny"\r\n', [("1", "x\ny")]),
        (b'a,b\n1,"x\r\ny"\n', [("1", "x\r\ny")]),
        (b'a,b\n1,"x, ""y"""\n', [("1", 'x, "y"')]),
        (b'a,b\n04112,""\n,007\n', [("04112", None), (None, "007")]),
        (b"a,b\n1,x\x00y\n2,z\n", [("1", "x\x00y"), ("2", "z")]),
        (b"a,b\n1, x \n", [("1", " x ")]),
        (b"a,b\n\n1,x\n\n", [("1", "x")]),
        (b"a,b\n#1,NULL\n", [("#1", "NULL")]),
        (b"a,b\n1e5,2024-01-05\ntrue,1.50\n", [("1e5", "2024-01-05"), ("true", "1.50")]),
        (b"a,b\n", []),
        (b"a,b", []),
        (",a,b\n0,1,Ж\n".encode(), [("1", "Ж")]),
    ],
)
def test_cells_are_the_texts_that_stand_there(tmp_path, data, expected):
    assert rows(tmp_path, data) == (("a", "b"), expected)
    assert rows(tmp_path, gzip.compress(data), "a.csv.gz") == (("a", "b"), expected)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,b\n1,x\n2,Zebulon\n3\n", "line 4: has a field too many or too few"),
        (b"a,b\n1,x\n2,Zebulon,4711\n", "line 3: has a field too many or too few"),
        (b'a,b\n1,x\n2,"Zebulon\n', "line 3: has a quote that does not end"),
        (b'a,b\n1,x\n2,"Zeb"ulon\n', "line 3: has a quote that does not end"),
        (b"a,b\n1,Zebulon\n2,\xff\n", 'line 3: is not utf-8; set encoding = "latin-1"'),
        (b"a,b\r\n1,Zebulon\n2,x\n", ": ends some lines otherwise than others"),
        (b"a,b\n1,Zebulon\r\n2,x\n", ": ends some lines otherwise than others"),
        (b"", ": is empty"),
        (b"\xff,b\n1,Zebulon\n", "line 1: is not utf-8"),
        (b"Zebulon,Zebulon\n1,2\n", ": two columns have one name"),
        (b"_row,b\n1,2\n", ": two columns have one name"),
    ],
)
def test_a_file_that_is_no_table_is_refused_by_line_and_without_its_values(tmp_path, data, said):
    with pytest.raises(SourceBroken) as error:
        rows(tmp_path, data)
    assert str(error.value).replace("a.csv ", "").replace("a.csv", "").startswith(said)
    assert "Zeb" not in str(error.value)
    assert "4711" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_line_that_looks_like_an_error_is_not_repeated(tmp_path):
    data = b"a,b\n1,CSV Error on Line: 4711\n2,  file = Zebulon\nLine 4712\n"
    with pytest.raises(SourceBroken, match=r"^a\.csv line 4: has a field too many or too few"):
        rows(tmp_path, data)


def test_latin_1_is_read_and_windows_1252_is_not_taken_for_it(tmp_path):
    text = "a,né\n1,Señora ÿ\xa0\n"
    assert rows(tmp_path, text.encode("latin-1"), encoding="latin-1") == (
        ("a", "né"),
        [("1", "Señora ÿ\xa0")],
    )
    with pytest.raises(SourceBroken, match=r"a\.csv line 2: is not latin-1; convert it from win"):
        rows(tmp_path, "a,b\n1,“x”\n".encode("cp1252"), encoding="latin-1")


def test_a_record_of_12_mb_is_read_and_one_beyond_the_limit_refused(tmp_path):
    long = b'a,b\n1,"' + b"words\n" * (2 * 2**20) + b'"\n2,x\n'
    _, found = rows(tmp_path, long)
    assert [len(text) for _, text in found] == [12 * 2**20, 1]
    with pytest.raises(SourceBroken, match=r"a\.csv line 2: its row has more than 48 MiB"):
        rows(tmp_path, b'a,b\n1,"' + b"words\n" * (9 * 2**20) + b'"\n2,x\n')


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_file_is_read_as_python_reads_it(tmp_path, packed):
    """Beyond DuckDB's buffer, with quotes and line ends wherever it may cut."""
    drawn = random.Random(3)
    pieces = ["word ", "\r\n", '"', ",", "\n", "Ж", "é", " "]
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    opened = gzip.open if packed else open
    with opened(path, "wt", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["a", "b"])
        for number in range(9_000):
            out.writerow([number, "".join(drawn.choices(pieces, k=drawn.randint(1, 4_000)))])
    with opened(path, "rt", newline="", encoding="utf-8") as file, Tables() as tables:
        tables.csv("t", [path])
        expected = csv.reader(file)
        next(expected)
        number = 0
        for found in tables.rows("SELECT * FROM t"):
            number += 1
            assert list(found) == [*next(expected), path.name, number]
        assert number == 9_000
        assert next(expected, None) is None


def test_files_are_one_table_with_their_names_and_rows(tmp_path):
    for folder in ("2023", "2024"):
        (tmp_path / folder).mkdir()
    (tmp_path / "2023" / "n.csv").write_text("a,b\n1,x\n2,y\n")
    (tmp_path / "2024" / "n.csv").write_text("B,A,c\nz,3,w\n")
    paths = [tmp_path / "2023" / "n.csv", tmp_path / "2024" / "n.csv"]
    with Tables() as tables:
        assert tables.csv("t", paths, lower=True) == ("a", "b")
        assert tables.one("SELECT count(*) FROM t") == (3,)
        assert list(tables.rows("SELECT a, b, _file, _row FROM t ORDER BY a")) == [
            ("1", "x", "2023/n.csv", 1),
            ("2", "y", "2023/n.csv", 2),
            ("3", "z", "2024/n.csv", 1),
        ]
        with pytest.raises(SourceBroken, match=r"n\.csv: a file is named twice"):
            tables.csv("twice", [paths[0], paths[0]])


@pytest.mark.parametrize("name", ["n*.csv", "n?.csv", "n[12].csv", "n'1.csv", "[n].csv"])
def test_a_name_is_never_a_pattern(tmp_path, name):
    (tmp_path / "n1.csv").write_text("a\nother\n")
    (tmp_path / "n.csv").write_text("a\nother\n")
    assert rows(tmp_path, b"a\nown\n", name) == (("a",), [("own",)])


def test_what_is_needed_is_asked_of_every_file(tmp_path):
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,Zebulon\n1,2\n")
    paths = [tmp_path / "1.csv", tmp_path / "2.csv"]
    with Tables() as tables:
        assert tables.csv("t", paths, needs=["a"]) == ("a",)
        with pytest.raises(SourceBroken, match=r"^2\.csv: has no column 'b'; name one") as error:
            tables.csv("u", paths, needs=["a", "b"])
    assert "Zeb" not in str(error.value)


def test_files_that_are_not_there_or_not_what_they_should_be(tmp_path):
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"a\n" + b"Zebulon\n" * 99_999)[:90])
    (tmp_path / "no.csv.gz").write_text("a\nZebulon\n")
    (tmp_path / "no.parquet").write_text("Zebulon")
    with Tables() as tables:
        with pytest.raises(SourceBroken, match=r"^absent\.csv: no such file in "):
            tables.csv("absent", [tmp_path / "absent.csv"])
        with pytest.raises(SourceBroken, match=r"^no\.csv\.gz: cannot be read \(BadGzipFile\)"):
            tables.csv("no", [tmp_path / "no.csv.gz"])
        with pytest.raises(SourceBroken, match=r"^no\.parquet: cannot be read as a table"):
            tables.parquet("p", [tmp_path / "no.parquet"])
        with pytest.raises(SourceBroken, match=r"^cut\.csv\.gz: cannot be read"):  # noqa: PT012 - when it is read
            tables.csv("cut", [tmp_path / "cut.csv.gz"])
            list(tables.rows("SELECT * FROM cut"))


def test_parquet_columns_keep_their_types(tmp_path):
    pq.write_table(pa.table({"A": [10**17 + 1], "b": ["04112"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["x"], "a": [2], "c": [1.5]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"a": ["2"], "b": ["x"]}), tmp_path / "3.parquet")
    one, two, three = (tmp_path / f"{number}.parquet" for number in (1, 2, 3))
    with Tables() as tables:
        assert tables.parquet("t", [one, two], lower=True) == {"a": "BIGINT", "b": "VARCHAR"}
        assert list(tables.rows("SELECT * FROM t")) == [
            (10**17 + 1, "04112", "1.parquet", 1),
            (2, "x", "2.parquet", 1),
        ]
        with pytest.raises(SourceBroken, match=r"^3\.parquet: column a is of another type than in"):
            tables.parquet("u", [one, three], lower=True)
        with pytest.raises(SourceBroken, match=r"^1\.parquet: has no column 'c'"):
            tables.parquet("v", [two, one], lower=True, needs=["c"])


# --- What it may do and what it leaves ----------------------------------------------------------


def test_no_extension_can_be_loaded(tmp_path):
    with Tables() as tables:
        (loaded,) = tables.one("SELECT list(extension_name) FROM duckdb_extensions() WHERE loaded")
        assert not set(loaded) & {"httpfs", "aws", "postgres_scanner", "motherduck"}
        for name in ("httpfs", "sqlite_scanner"):
            with pytest.raises(duckdb.Error):
                tables._open.execute(f"LOAD {name}")
        with pytest.raises(duckdb.Error):  # would need httpfs, which may not come by itself
            tables._open.execute("SELECT * FROM read_csv('https://127.0.0.1:9/a.csv')")


def test_what_is_spilled_is_encrypted_private_and_removed(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    path = tmp_path / "n.parquet"
    drawn = random.Random(5)
    table = {
        "a": [drawn.random() for _ in range(40_000)],
        "b": [f"{CANARY} {drawn.randbytes(1_000).hex()}" for _ in range(40_000)],
    }
    pq.write_table(pa.table(table), path, row_group_size=2_048)
    with Tables(memory_mb=64) as tables:
        tables.parquet("t", [path])
        tables._open.execute("CREATE TABLE kept AS SELECT * FROM t")
        (folder,) = scratch.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        spilled = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]
        assert sum(file.stat().st_size for file in spilled) > 2**20
        assert not any(CANARY.encode() in file.read_bytes() for file in spilled)
        assert tables.one("SELECT count(*) FROM kept WHERE starts_with(b, 'Zebulon')") == (40_000,)
    assert not list(scratch.iterdir())


KILLED = """
import sys, time, tempfile
from pathlib import Path
from client.sources.tables import Tables
tempfile.tempdir = sys.argv[1]
with Tables() as tables:
    (Path(tables._scratch.path) / "spilled").write_text("words")
    print("open", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_reader_left_is_removed_by_the_next_and_only_then(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(scratch)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with Tables():
            assert len(list(scratch.iterdir())) == 2  # the other one is alive
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    time.sleep(0.1)
    assert len(list(scratch.glob("*/spilled"))) == 1
    with Tables():
        assert not list(scratch.glob("*/spilled"))
    assert not list(scratch.iterdir())
