"""Codes that became numbers or dates refuse a csv or parquet file, as they do one of MIMIC."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from client.sources.source import Attrition
from client.sources.tabular import Csv, Parquet, Tabular
from privacy.errors import SourceBroken

KINDS: tuple[type[Tabular], ...] = (Csv, Parquet)
CANARY = "Zebulon Quagmire"


def write(folder: Path, kind: type[Tabular], name: str, table: dict[str, list[str]]) -> None:
    if kind is Parquet:
        pq.write_table(pa.table(table), folder / name)
        return
    rows = zip(*table.values(), strict=True)
    (folder / name).write_text("\n".join(map(",".join, (list(table), *rows))) + "\n")


def read(folder: Path, kind: type[Tabular], codes: list[str], system: str) -> list[str]:
    """The codes that come of a table of them; those of a column of the notes are the same."""
    day = "2024-01-05T10:00Z"
    own = {"patient": ["p"], "stay": ["s"]}
    write(folder, kind, "notes", own | {"text": [CANARY], "at": [day]})
    write(folder, kind, "stays", own | {"admitted": [day], "discharged": [day]})
    write(folder, kind, "codes", {"stay": ["s"] * len(codes), "icd": codes})
    write(folder, kind, "both", own | {"text": [CANARY], "at": [day], "icd": [" ".join(codes)]})
    apart = {
        "notes": {"paths": ["notes"], "columns": {"at": "at", "stay": "stay"}},
        "stays": {"paths": ["stays"]},
        "codes": {
            "paths": ["codes"],
            "columns": {"stay": "stay", "code": "icd"},
            "code_system": system,
        },
    }
    columns = {"discharged": "at", "stay": "stay", "codes": "icd"}
    together = {"paths": ["both"], "columns": columns, "code_system": system, "code_separator": " "}
    said: list[str | list[str]] = []
    for source in (apart, {"notes": together}):
        try:
            (one,) = kind.model_validate(source).patients(root=folder, attrition=Attrition())
        except SourceBroken as error:
            said.append(str(error).replace("both:", "codes:"))
        else:
            said.append([code.code for code in one.stays[0].codes])
    assert said[0] == said[1]
    if isinstance(said[0], str):
        raise SourceBroken(said[0])
    return said[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("code", "system", "said"),
    [
        ("38.0", "icd-9-cm", "holds codes turned into decimal numbers, such as 38.0, so that"),
        ("41.12", "icd-9-cm", "decimal numbers, such as 41.12, so that their zeros are lost;"),
        ("4.1E+12", "icd-10-cm", "decimal numbers, such as 4.1E+12, so that"),
        ("1E10", "icd-10-cm", "decimal numbers, such as 1E10, so that"),
        ("1-Jan", "icd-10-cm", "holds codes turned into dates, such as 1-Jan; export it anew"),
        ("1931-07-19", "icd-9-cm", "holds codes turned into dates; export it anew"),
        ("10000032.0", "icd-9-cm", "holds codes turned into decimal numbers so that"),
        ("4112", "icd-9-cm", "lost the zeros at the front of its codes: it has 4112, and ICD-9-CM"),
        ("118", "icd-9-cm-procedures", "it has 118, and ICD-9-CM volume 3 has 0118;"),
        ("16070", "icd-10-pcs", "it has 16070, and ICD-10-PCS has 0016070;"),
    ],
)
def test_a_code_that_became_a_number_or_a_date_refuses_the_file(tmp_path, kind, code, system, said):
    with pytest.raises(SourceBroken) as refused:
        read(tmp_path, kind, ["V707", code], system)
    assert str(refused.value).startswith("codes: column icd h")
    assert said in str(refused.value)
    for private in (CANARY, "1931-07-19", "10000032", "\n"):
        assert private not in str(refused.value)


@pytest.mark.parametrize(
    ("codes", "system"),
    [
        (["410.1", "250.00", "486", "V70.7", "E888.9"], "icd-9-cm"),
        (["530", "038", "250"], "icd-9-cm"),
        (["530", "250", "4101"], "icd-9-cm"),  # categories, though 053.0 is a code
        (["4112", "04112"], "icd-9-cm"),  # somebody's slip
        (["66", "38.93", "8154"], "icd-9-cm-procedures"),
        (["3E03317", "02HV33Z"], "icd-10-pcs"),
        (["E11.65", "I10", "Z9E10", "O9A112"], "icd-10-cm"),
        (["44054006", "22298006"], "snomed-ct"),
        (["banana", "99999"], "icd-9-cm"),
    ],
)
def test_codes_as_their_systems_write_them_are_kept(tmp_path, codes, system):
    assert read(tmp_path, Csv, codes, system) == codes
