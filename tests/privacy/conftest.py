"""A ledger with every kind of entry, to be tampered with or lost; torch on one thread."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors are far slower on several threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
