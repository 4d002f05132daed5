"""A ledger with every kind of entry, to be tampered with or lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ledgers import one_of_each


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a ledger that has every kind of entry."""
    folder = tmp_path_factory.mktemp("made")
    one_of_each(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(made, tmp_path / "site")


@pytest.fixture
def path(folder) -> Path:
    """Its ledger."""
    return folder / "ledger.sqlite"
