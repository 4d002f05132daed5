"""The fingerprint follows every source that runs at a site, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from privacy import fingerprint
from privacy.fingerprint import FLOORS, code_fingerprint

ROOT = Path(fingerprint.__file__).resolve().parent.parent


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A copy of the floors, which the fingerprint then takes for its own."""
    for floor in FLOORS:
        shutil.copytree(
            ROOT / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__")
        )
    monkeypatch.setattr(fingerprint, "__file__", str(tmp_path / "privacy" / "fingerprint.py"))
    return tmp_path


def taken() -> str:
    """The fingerprint now; it is otherwise taken once in a process."""
    return code_fingerprint.__wrapped__()


def test_it_is_a_sha256_in_hex(checkout):
    assert len(taken()) == 64
    assert set(taken()) <= set("0123456789abcdef")


def test_a_copy_elsewhere_has_the_same_one(checkout):
    copied = taken()
    fingerprint.__file__ = str(ROOT / "privacy" / "fingerprint.py")
    assert taken() == copied


def test_these_are_the_floors_that_run_at_a_site():
    assert FLOORS == ("privacy", "embeddings", "tasks", "client")


@pytest.mark.parametrize("floor", FLOORS)
def test_every_source_of_a_floor_counts(checkout, floor):
    before = taken()
    sources = sorted((checkout / floor).rglob("*.py"))
    assert len(sources) > 1
    for source in sources:
        content = source.read_bytes()
        source.write_bytes(content + b"\n")
        assert taken() != before, source
        source.write_bytes(content)
    assert taken() == before


@pytest.mark.parametrize("floor", FLOORS)
def test_a_new_a_renamed_and_a_missing_source_count(checkout, floor):
    seen = [taken()]
    new = checkout / floor / "deep" / "new.py"
    new.parent.mkdir()
    new.write_text("")
    seen.append(taken())
    renamed = new.rename(new.with_name("newer.py"))
    seen.append(taken())
    renamed.unlink()
    assert taken() == seen[0]
    (checkout / floor / "__init__.py").unlink()
    seen.append(taken())
    assert len(set(seen)) == 4


def test_the_reference_vectors_of_encoders_count(checkout):
    before = taken()
    (path,) = (checkout / "embeddings" / "references").glob("*.json")
    path.write_bytes(path.read_bytes() + b" ")
    assert taken() != before
    path.unlink()
    missing = taken()
    assert missing != before
    path.with_name("other.json").write_text("{}")
    assert taken() not in {before, missing}


def test_text_that_moves_from_one_file_to_the_next_counts(checkout):
    a, b = checkout / "tasks" / "aa.py", checkout / "tasks" / "ab.py"
    a.write_text("x = 1\ny = 2\n")
    b.write_text("z = 3\n")
    before = taken()
    a.write_text("x = 1\n")
    b.write_text("y = 2\nz = 3\n")
    assert taken() != before


@pytest.mark.parametrize(
    "name",
    [
        "tests/privacy/test_wire.py",
        "server/app.py",
        "experiments/command.py",
        "setup.py",
        "privacy/notes.txt",
        "client/references/other.json",
        "client/__pycache__/app.cpython-311.pyc",
    ],
)
def test_what_does_not_run_at_a_site_does_not_count(checkout, name):
    before = taken()
    path = checkout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x = 1\n")
    assert taken() == before


def test_it_is_taken_once_in_a_process(checkout):
    code_fingerprint.cache_clear()
    try:
        first = code_fingerprint()
        (checkout / "tasks" / "new.py").write_text("")
        assert code_fingerprint() == first != taken()
    finally:
        code_fingerprint.cache_clear()
