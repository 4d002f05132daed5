"""Key files: made once, whole, for their owner alone; refused where anything is amiss."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from privacy import keys
from privacy.errors import KeyBroken
from privacy.keys import derive, destroy_key, make_key, read_key


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_a_key_is_32_random_bytes_for_its_owner_alone(tmp_path: Path, umask: int):
    path = tmp_path / "new" / "site.key"
    path.parent.mkdir()
    before = os.umask(umask)
    try:
        make_key(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) & 0o177 == 0
    path.chmod(0o600)
    assert len(read_key(path)) == 32
    assert sorted(path.parent.iterdir()) == [path]
    make_key(tmp_path / "another.key")
    assert read_key(tmp_path / "another.key") != read_key(path)


def test_a_key_that_is_there_is_never_replaced(tmp_path: Path):
    path = tmp_path / "site.key"
    make_key(path, b"a" * 32)
    make_key(path)
    make_key(path, b"b" * 32)
    assert read_key(path) == b"a" * 32


def test_of_many_who_make_a_key_at_once_one_wins(tmp_path: Path):
    path = tmp_path / "site.key"
    read: list[bytes] = []

    def work() -> None:
        make_key(path)
        read.append(read_key(path))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 8
    assert len(set(read)) == 1
    assert sorted(tmp_path.iterdir()) == [path]


def test_file_and_folder_are_on_disk_before_a_key_is_used(tmp_path: Path, monkeypatch):
    synced: list[Path] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    make_key(tmp_path / "site.key")
    assert [path.suffix for path in synced] == [".draft", ""]
    assert synced[1] == tmp_path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610, 0o601, 0o620, 0o602])
def test_a_key_that_others_may_use_is_refused_with_what_to_do(tmp_path: Path, mode: int):
    path = tmp_path / "store.key"
    make_key(path)
    path.chmod(mode)
    with pytest.raises(KeyBroken, match=rf"mode {mode:04o}\).*chmod 600 store\.key"):
        read_key(path)
    path.chmod(0o400)
    assert len(read_key(path)) == 32


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_of_another_size_is_refused_and_left(tmp_path: Path, size: int):
    path = tmp_path / "store.key"
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    with pytest.raises(KeyBroken, match=r"store\.key must hold 32 bytes; restore"):
        read_key(path)
    make_key(path)
    assert path.read_bytes() == b"x" * size


def test_a_missing_key_is_named_without_its_folder(tmp_path: Path):
    with pytest.raises(KeyBroken, match=r"^store\.key is missing"):
        read_key(tmp_path / "store.key")


def test_each_purpose_has_a_key_of_its_own():
    derived = {derive(b"k" * 32, purpose) for purpose in ("split", "vectors", "patient", "")}
    assert len(derived) == 4
    assert all(len(key) == 32 for key in derived)


def test_a_destroyed_key_is_overwritten_before_it_is_gone(tmp_path: Path, monkeypatch):
    path = tmp_path / "store.key"
    make_key(path)
    path.chmod(0o400)
    content = path.read_bytes()
    twin = tmp_path / "twin"
    twin.hardlink_to(path)  # what is left of the file once its name is gone
    path.with_name("store.key.0a.draft").write_bytes(content)
    assert destroy_key(path)
    assert sorted(tmp_path.iterdir()) == [twin]
    assert len(twin.read_bytes()) == 32
    assert twin.read_bytes() != content
    assert not destroy_key(path)


def test_a_key_whose_overwriting_fails_is_not_unlinked(tmp_path: Path, monkeypatch):
    path = tmp_path / "store.key"
    make_key(path)

    def broken(_descriptor: int) -> None:
        raise OSError("no such luck")

    monkeypatch.setattr(keys.os, "fsync", broken)
    with pytest.raises(OSError, match="no such luck"):
        destroy_key(path)
    assert path.exists()
