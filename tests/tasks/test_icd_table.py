"""The kept table says what the package says, and is made again where it is damaged."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from tasks import icd_table


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, and no table in memory."""
    monkeypatch.setenv("FEDWARD_CACHE", str(tmp_path / "cache"))
    icd_table.titles.cache_clear()
    yield tmp_path / "cache"
    icd_table.titles.cache_clear()


@pytest.mark.slow
def test_the_kept_table_is_the_packages(folder):
    made = icd_table.titles()
    icd_table.titles.cache_clear()
    kept = icd_table.titles()
    assert kept == made
    assert kept is not made
    assert len(list(folder.iterdir())) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import simple_icd_10_cm as package
    assert len(kept) > 95_000
    for code in ("I10", "E11.65", "S52.001A", "U07.1", "Z3A.01"):
        assert kept[code] == package.get_description(code)
    assert not {"1", "A00-A09", "E1165"} & kept.keys()


@pytest.mark.parametrize("cut", [0, 10, 64, 70])
def test_a_damaged_table_is_made_again(folder, monkeypatch, cut):
    monkeypatch.setattr(icd_table, "_made", lambda: {"I10": "Essential (primary) hypertension"})
    made = icd_table.titles()
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:cut] + b"x" + whole[cut + 1 :])
    icd_table.titles.cache_clear()
    assert icd_table.titles() == made
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_no_obstacle(folder, monkeypatch):
    folder.write_text("a file in the way")
    monkeypatch.setattr(icd_table, "_made", lambda: {"I10": "Essential (primary) hypertension"})
    assert icd_table.titles() == {"I10": "Essential (primary) hypertension"}


@pytest.mark.slow
def test_a_process_that_finds_it_kept_does_not_load_the_package(folder):
    code = "import sys; from tasks import icd; icd.title('I10'); print('simple_icd_10_cm' in sys.modules)"  # noqa: E501
    said = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [ran.stdout.strip() for ran in said] == ["True", "False"]
