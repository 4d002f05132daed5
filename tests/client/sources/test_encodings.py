"""Encodings: what is declared wrongly is counted or refused alike by every source of texts."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest

from client.sources.jsonl import Jsonl
from client.sources.source import Attrition, Source
from client.sources.tabular import Csv
from privacy.errors import SourceBroken

RULE = "notes in UTF-8 where latin-1 is said (kept)"
TEXTS = ("plain", "fièvre à 40°", "Señora")


def csv(texts: tuple[str, ...] = TEXTS) -> str:
    rows = (f"{number},2024-01-05T10:00Z,{text}" for number, text in enumerate(texts))
    return "\n".join(("patient,at,text", *rows)) + "\n"


def jsonl(texts: tuple[str, ...] = TEXTS) -> str:
    return "".join(
        json.dumps(
            {"id": str(number), "notes": [{"at": "2024-01-05T10:00:00Z", "text": text}]},
            ensure_ascii=False,
        )
        + "\n"
        for number, text in enumerate(texts)
    )


def source(kind: str, encoding: str, name: str = "n") -> Source:
    if kind == "jsonl":
        return Jsonl.model_validate({"paths": [name], "encoding": encoding})
    notes = {"paths": [name], "columns": {"at": "at"}}
    return Csv.model_validate({"notes": notes, "encoding": encoding})


def read(folder: Path, kind: str, encoding: str, name: str = "n") -> tuple[list[str], Attrition]:
    attrition = Attrition()
    patients = source(kind, encoding, name).patients(root=folder, attrition=attrition)
    return [patient.notes[0].text for patient in patients], attrition


KINDS = {"csv": csv, "jsonl": jsonl}


@pytest.mark.parametrize("kind", KINDS)
def test_utf_8_that_is_read_as_latin_1_is_counted(tmp_path, kind):
    (tmp_path / "n").write_text(KINDS[kind](), encoding="utf-8")
    found, attrition = read(tmp_path, kind, "latin-1")
    assert found[1:] == ["fi\xc3\xa8vre \xc3\xa0 40\xc2\xb0", "Se\xc3\xb1ora"]
    assert attrition.counts == {RULE: 2}
    assert attrition.first[RULE].startswith("n ")
    found, attrition = read(tmp_path, kind, "utf-8")
    assert (tuple(found), attrition.counts) == (TEXTS, {})
    (tmp_path / "n").write_text(KINDS[kind](), encoding="latin-1")
    found, attrition = read(tmp_path, kind, "latin-1")
    assert (tuple(found), attrition.counts) == (TEXTS, {})


@pytest.mark.parametrize("kind", KINDS)
def test_utf_8_that_cannot_be_latin_1_is_told_from_windows_1252(tmp_path, kind):
    for encoding, said in (("utf-8", 'set encoding = "utf-8"'), ("cp1252", "convert it from win")):
        (tmp_path / "n").write_text(KINDS[kind](("one", "“two”")), encoding=encoding)
        line = 3 if kind == "csv" else 2
        with pytest.raises(SourceBroken, match=f"^n line {line}: is not latin-1; {said}"):
            read(tmp_path, kind, "latin-1")


def workbook() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_no_text_as_declared_is_known_by_its_first_bytes(
    tmp_path, kind, encoding, packed
):
    text = KINDS[kind]()
    for data, said in (
        (text.encode("utf-16"), "is UTF-16; save it in UTF-8"),
        (text.encode("utf-16-le"), "is UTF-16; save it in UTF-8"),
        (text.encode("utf-16-be"), "is UTF-16; save it in UTF-8"),
        (workbook(), r"is a workbook \(\.xlsx\) or another zip; save its sheet as CSV in UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", r"is an old workbook \(\.xls\); save"),
        (b"PAR1\x15\x04", 'is Parquet; say kind = "parquet"'),
        (gzip.compress(text.encode()), r"is gzipped \(once more\); let its name end in"),
    ):
        name = "n.gz" if packed else "n"
        (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
        with pytest.raises(SourceBroken, match=f"^{name}: {said}"):
            read(tmp_path, kind, encoding, name)
