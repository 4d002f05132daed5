"""A store that several processes fill, that one is killed at, and that one opens twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from vector_stores import filled, opened, right

ROOT = Path(__file__).parents[2]

CHILD = """
import sys, time
from pathlib import Path
from embeddings.chunker import Chunker
from embeddings.hashing import HashingEncoder
from embeddings.store import VectorStore, embed

path, first, last, hang = Path(sys.argv[1]), *map(int, sys.argv[2:])

class Hanging(HashingEncoder):
    calls = 0

    def encode(self, texts):
        Hanging.calls += 1
        if Hanging.calls == hang:
            print("hanging", flush=True)
            time.sleep(600)
        return super().encode(texts)

print("ready", flush=True)
sys.stdin.readline()
key = path.with_name("store.key")
with VectorStore(path, key_file=key, identity="f" * 64, dim=8, secret=b"s" * 32) as store:
    texts = [f"note number {n}" for n in range(first, last)]
    chunker = Chunker(tokens=2, stride=2)
    print(embed(texts, store=store, encoder=Hanging(8), chunker=chunker, batch=10), flush=True)
"""


@contextmanager
def children(
    folder: Path, *ranges: tuple[int, int], hang: int = 0
) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that each embed the notes of a range, all let go at the same moment.

    `hang` is the call of the encoder that never comes back.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder / "vectors.sqlite"), *map(str, (*of, hang))],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for of in ranges
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=30)


def embedded(process: subprocess.Popen[str]) -> int:
    """How many notes a child embedded; what it complained of, if it failed."""
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 0, complained
    return int(said)


def notes(count: int) -> list[str]:
    return [f"note number {n}" for n in range(count)]


def test_a_run_killed_half_way_is_taken_up_where_it_was(tmp_path: Path):
    # Two chunks a note, so five notes a batch: three batches are committed, the fourth is
    # under way when the process is killed.
    with children(tmp_path, (0, 40), hang=4) as [process]:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
    with opened(tmp_path) as store:
        kept = [text for text in notes(40) if store.key(text) in store]
        assert kept == notes(15)
        done, encoder = filled(store, notes(40), batch=10)
        assert done == 25
        assert len(encoder.chunks) == 2 * 25
        assert all(right(store, text) for text in notes(40))


@pytest.mark.parametrize("made", [True, False], ids=["made-before", "made-by-each"])
def test_several_processes_fill_one_store(tmp_path: Path, made: bool):
    if made:
        opened(tmp_path).close()
    with children(tmp_path, (0, 200), (100, 300), (200, 400)) as processes:
        counts = [embedded(process) for process in processes]
    assert all(count <= 200 for count in counts)
    assert sum(counts) >= 400
    with opened(tmp_path) as store:
        assert filled(store, notes(400))[0] == 0
        assert all(right(store, text) for text in notes(400))


@pytest.mark.parametrize("lock", ["DEFERRED", "IMMEDIATE", "EXCLUSIVE"])
def test_opening_a_store_waits_while_another_is_making_it(tmp_path: Path, lock: str):
    # What another process holds while it turns the new file's log on, drawn out.
    maker = sqlite3.connect(
        tmp_path / "vectors.sqlite", isolation_level=None, check_same_thread=False
    )
    maker.execute(f"BEGIN {lock}")
    maker.execute("SELECT * FROM sqlite_master").fetchall()
    done = threading.Timer(0.3, maker.execute, ["ROLLBACK"])
    done.start()
    try:
        with opened(tmp_path) as store:
            assert store._database.execute("PRAGMA journal_mode").fetchone() == (b"wal",)
            assert filled(store, ["a note"])[0] == 1
    finally:
        done.join()
        maker.close()


def test_opening_a_store_twice_in_a_process_loses_nothing_of_another(tmp_path: Path):
    # A process that closes any descriptor of a file gives up all its locks on that file; SQLite
    # then lets another process delete the log that this one still writes to.
    with opened(tmp_path) as first, opened(tmp_path) as second:
        first.put({b"before": np.ones((1, 8))})
        with children(tmp_path, (0, 5)) as [process]:
            assert embedded(process) == 5
        second.put({b"after": np.ones((1, 8))})
        with children(tmp_path, (5, 10)) as [process]:
            assert embedded(process) == 5
        assert all(text in first for text in map(first.key, notes(10)))
    with opened(tmp_path) as store:
        kept = [key in store for key in (b"before", b"after", *map(store.key, notes(10)))]
        assert all(kept)


def test_a_reader_sees_what_another_process_commits(tmp_path: Path):
    with opened(tmp_path) as store:
        assert store.key("note number 3") not in store
        with children(tmp_path, (0, 5)) as [process]:
            assert embedded(process) == 5
        assert right(store, "note number 3")
