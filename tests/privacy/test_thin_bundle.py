"""The thin bundle: what Flower makes of it, what is in it, what changes it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from privacy import bundle as thin
from privacy.fingerprint import code_fingerprint

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_it_is_byte_for_byte_what_flower_builds_of_the_folder(tmp_path):
    from flwr.cli.build import build_fab_from_disk

    assert thin.bundle() == build_fab_from_disk(thin.write_bundle(tmp_path / "fedward"))


def test_flower_reads_its_name_and_its_configuration():
    from flwr.common.config import get_fab_config, get_metadata_from_config

    config = get_fab_config(thin.bundle())
    assert get_metadata_from_config(config) == ("fedward/fedward", "0.1.0")
    assert config["tool"]["flwr"]["app"]["config"] == thin.RUN_CONFIG


def test_it_holds_no_code():
    names = zipfile.ZipFile(io.BytesIO(thin.bundle())).namelist()
    assert names == ["pyproject.toml", "FEDWARD.md", ".info/CONTENT"]


def test_apps_and_run_configuration_are_those_of_the_checkout():
    checkout = tomllib.loads((ROOT / "pyproject.toml").read_text())
    made = tomllib.loads(thin.bundle_files()["pyproject.toml"].decode())
    here, there = checkout["tool"]["flwr"]["app"], made["tool"]["flwr"]["app"]
    for key in ("publisher", "components", "config"):
        assert here[key] == there[key], key
    assert made["project"]["name"] == checkout["project"]["name"]
    import server.app

    for key in thin.RUN_CONFIG:
        assert f"`{key}`" in server.app.main.__doc__


def test_another_process_builds_the_same():
    command = "from privacy.bundle import bundle_hash; print(bundle_hash())"
    env = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", command], env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == thin.bundle_hash()


@pytest.mark.parametrize("what", ["version", "code"])
def test_another_version_or_other_code_has_another_bundle(what, monkeypatch):
    before = thin.bundle_hash()
    if what == "version":
        monkeypatch.setattr(thin.metadata, "version", lambda _: "0.1.1")
    else:
        other = code_fingerprint()[::-1]
        monkeypatch.setattr(thin, "code_fingerprint", lambda: other)
    assert thin.bundle_hash() != before


def test_it_is_written_to_an_empty_folder_only(tmp_path):
    (tmp_path / "notes.md").write_text("a patient's")
    with pytest.raises(ValueError, match="is not empty; name a new folder"):
        thin.write_bundle(tmp_path)
