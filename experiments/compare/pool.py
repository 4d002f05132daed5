"""The processes that run a grid's cells, and who runs what next.

Neither joblib nor `concurrent.futures`: there a process that dies takes the others along, and
nothing says what a process is doing. What is here is the standard library's pipes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Protocol

from experiments.compare.worker import Job, Setting, serve

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from experiments.compare.grid import Cell

LOOK_SECONDS = 0.25


class Watch(Protocol):
    """Who watches a grid."""

    def began(self, cell: Cell) -> None:
        """A process took a cell."""

    def doing(self, cell: Cell, what: str) -> None:
        """How far a cell is."""

    def ended(self, cell: Cell, failed: str | None) -> None:
        """A cell is done, or failed for a reason."""


@dataclass(slots=True)
class Worker:
    """A process of a pool, and what it is doing."""

    process: SpawnProcess
    line: Connection
    cell: Cell | None = None


@dataclass(slots=True)
class Pool:
    """Runs cells in processes of their own.

    Attributes:
        setting: Of the grid.
        jobs: Most processes at a time.
        watch: Is told what happens.
    """

    setting: Setting
    jobs: int
    watch: Watch
    _workers: list[Worker] = field(default_factory=list)
    _embedded: set[str] = field(default_factory=set)
    _failed: dict[str, str] = field(default_factory=dict)

    def run(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Runs all cells, and ends every process also when it is interrupted.

        Args:
            cells: Their study files are written.

        Returns:
            For the digest of each cell that failed, why.
        """
        waiting = list(cells)
        try:
            while waiting or self._busy:
                self._hand_out(waiting)
                lines = [worker.line for worker in self._busy]
                for line in wait(lines, timeout=LOOK_SECONDS):
                    self._hear(next(w for w in self._workers if w.line is line))
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                worker.line.close()
        return self._failed

    @property
    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.cell is not None]

    def _hand_out(self, waiting: list[Cell]) -> None:
        while waiting and len(self._busy) < self.jobs:
            cell = self._next(waiting)
            if cell is None:
                return
            waiting.remove(cell)
            idle = [w for w in self._workers if w.cell is None and w.process.is_alive()]
            worker = idle[0] if idle else self._start()
            worker.cell = cell
            self.watch.began(cell)
            worker.line.send(Job(cell.digest, dict(cell.values)))

    def _next(self, waiting: Sequence[Cell]) -> Cell | None:
        """The first cell that needs no notes that another process is embedding just now; rather
        one whose baselines no other is training. None where all must wait.
        """
        busy = [worker.cell for worker in self._busy if worker.cell is not None]
        embedding = {cell.texts for cell in busy} - self._embedded
        training = {cell.unaided for cell in busy}
        free = [cell for cell in waiting if cell.texts not in embedding]
        return next((c for c in free if c.unaided not in training), free[0] if free else None)

    def _start(self) -> Worker:
        # Spawned: a fork would copy the threads' locks of torch and MLflow, some of them held.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(
            target=serve, args=(there, self.setting, os.getpid()), name="cell", daemon=True
        )
        process.start()
        there.close()
        worker = Worker(process, here)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: Worker) -> None:
        cell = worker.cell
        if cell is None:
            return
        try:
            what, text = worker.line.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            what, text = "failed", f"its process ended with status {worker.process.exitcode}"
            worker.line.close()
            self._workers.remove(worker)
        if what == "ready":
            self._embedded.add(cell.texts)
        elif what == "doing":
            self.watch.doing(cell, text)
        else:
            worker.cell = None
            if what == "failed":
                self._failed[cell.digest] = text
            self.watch.ended(cell, text if what == "failed" else None)
