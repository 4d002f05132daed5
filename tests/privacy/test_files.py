"""Files that appear whole, locks that end with their holder."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from privacy.errors import StoreFull
from privacy.files import drafts, locked, remove, replacing


def test_a_file_is_replaced_whole_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_text("old")
    before = os.umask(0)
    try:
        with replacing(path) as file:
            file.write("new")
            assert path.read_text() == "old"
            assert len(drafts(tmp_path)) == len(drafts(tmp_path, "list.txt")) == 1
            assert drafts(tmp_path, "other.txt") == []
    finally:
        os.umask(before)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), OSError(errno.EIO, "")])
def test_a_file_whose_draft_fails_stays_and_no_draft_does(tmp_path: Path, error: BaseException):
    path = tmp_path / "list.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as file:
            file.write("new")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_as_such(tmp_path: Path, number: int):
    with pytest.raises(StoreFull, match="make room"), replacing(tmp_path / "list.txt"):
        raise OSError(number, "no room")


def test_removing_counts_what_was_there(tmp_path: Path):
    paths = [tmp_path / name for name in "abc"]
    paths[1].write_text("x")
    assert remove(*paths, tmp_path / "no folder" / "d") == 1
    assert remove(*paths) == 0
    assert remove() == 0


def test_a_lock_is_shared_or_held_alone_and_ends_with_its_block(tmp_path: Path):
    path = tmp_path / "folder" / "lock"

    def free(*, exclusive: bool) -> bool:
        try:
            with locked(path, exclusive=exclusive, wait=0):
                return True
        except TimeoutError:
            return False

    with locked(path, exclusive=False):
        assert (free(exclusive=False), free(exclusive=True)) == (True, False)
    with locked(path, exclusive=True):
        assert (free(exclusive=False), free(exclusive=True)) == (False, False)
    assert free(exclusive=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
