"""Who runs what next, and what becomes of a process that dies."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

from experiments.compare import pool
from experiments.compare.pool import Pool, Worker
from experiments.compare.worker import Setting


@dataclass
class Cell:
    """As much of a cell as a pool asks for."""

    digest: str
    texts: str = "texts"
    unaided: str = "unaided"
    values: dict = field(default_factory=dict)
    said: str = ""


class Watching:
    """A `Watch` that remembers."""

    def __init__(self) -> None:
        self.ends: dict[str, str | None] = {}

    def began(self, cell) -> None:
        pass

    def doing(self, cell, what) -> None:
        pass

    def ended(self, cell, failed) -> None:
        self.ends[cell.digest] = failed


def made(jobs: int = 2) -> Pool:
    setting = Setting(Path(), "x", Path(), "in-process", True, 1, None)
    return Pool(setting, jobs, Watching())


def busy(of: Pool, *cells: Cell) -> None:
    of._workers.extend(Worker(None, None, cell) for cell in cells)


def test_no_two_processes_embed_the_same_notes():
    of = made()
    busy(of, Cell("a", texts="one"))
    same, other = Cell("b", texts="one", unaided="x"), Cell("c", texts="two", unaided="y")
    assert of._next([same]) is None
    assert of._next([same, other]) is other
    of._embedded.add("one")
    assert of._next([same, other]) is same


def test_a_cell_with_other_baselines_goes_first():
    of = made()
    of._embedded.add("texts")
    busy(of, Cell("a", unaided="one"))
    same, other = Cell("b", unaided="one"), Cell("c", unaided="two")
    assert of._next([same, other]) is other
    assert of._next([same]) is same


def _serve(line, setting, parent) -> None:
    """Stands for a worker: ends as the cell's name says."""
    while (job := line.recv()) is not None:
        line.send(("ready", ""))
        if job.digest.startswith("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        line.send(("failed", "why") if job.digest.startswith("fails") else ("done", ""))


def test_a_process_that_dies_fails_its_cell_and_no_other(monkeypatch):
    import multiprocessing

    monkeypatch.setattr(pool, "serve", _serve)
    monkeypatch.setattr(multiprocessing, "get_context", _forking())
    of = made(jobs=2)
    cells = [Cell(name, unaided=name) for name in ("a", "dies-1", "b", "fails", "dies-2", "c")]
    died = f"its process ended with status -{signal.SIGKILL.value}"
    failed = {"dies-1": died, "fails": "why", "dies-2": died}
    assert of.run(cells) == failed
    assert of.watch.ends == {cell.digest: failed.get(cell.digest) for cell in cells}
    assert not any(worker.process.is_alive() for worker in of._workers)


def _forking():
    """A fork takes the stand-in along, which a spawned process could not import."""
    import multiprocessing

    forking = multiprocessing.get_context("fork")
    return lambda _: forking
