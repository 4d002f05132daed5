"""Runs a grid: what is missing of it, in processes; then its table and its figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import tomli_w

from experiments.compare import figures, summary
from experiments.compare.grid import Cell, Grid
from experiments.compare.kept import Done, Shelf
from experiments.compare.pool import Pool, Watch
from experiments.compare.summary import Summary
from experiments.compare.worker import Setting
from experiments.fingerprint import results_fingerprint
from experiments.simulate.result import Engine
from privacy.files import locked
from server.start import give

LOG = logging.getLogger("fedward.compare")


class GridBusy(Exception):
    """Another process runs the grid."""


class Screen(Watch, Protocol):
    """Who watches a grid from its beginning."""

    def begin(self, grid: Grid, done: int, jobs: int) -> None:
        """The missing cells are about to be run."""


@dataclass(frozen=True, slots=True)
class How:
    """How a grid is run.

    Attributes:
        data: Where relative paths of its sources start.
        home: Gets the results, runs, vectors and MLflow's database.
        engine: See `experiments.simulate.run.simulate`.
        jobs: Processes at a time; None takes what the processor has room for.
        with_baselines: Whether to train each site alone and all pooled.
        again: Forgets what was run before.
        start: File of the weights that cells start from, those that name some.
    """

    data: Path
    home: Path
    engine: Engine = "in-process"
    jobs: int | None = None
    with_baselines: bool = True
    again: bool = False
    start: Path | None = None


def compare(grid: Grid, how: How, screen: Screen) -> Summary:
    """Runs every cell of a grid that is not done, and writes `compare.csv` and the figures.

    Raises:
        GridBusy: Another process runs it.
        StartBroken: A cell does not start from the file that was given.
    """
    _check_start(grid, how.start)
    how = replace(how, home=how.home.resolve(), data=how.data.resolve())
    shelf = Shelf(how.home, grid.name)
    try:
        with locked(shelf.lock, exclusive=True, wait=0):
            return _compare(grid, how, shelf, screen)
    except TimeoutError:
        raise GridBusy(f"another process runs {grid.name} in {how.home}") from None


def _check_start(grid: Grid, start: Path | None) -> None:
    """Raises StartBroken where a cell starts from another file, or none does and one is given."""
    starting = {
        (of.start.canonical(), of.head.kind, of.head.canonical(), of.outputs): of
        for of in (cell.study for cell in grid.cells)
        if of.start is not None
    }
    for study in starting.values() or [grid.cells[0].study]:
        give(study, start)


def jobs_for(grid: Grid, asked: int | None) -> int:
    """How many processes run at a time: those asked for, or as many as the cores take."""
    return asked or max(1, len(os.sched_getaffinity(0)) // _threads(grid))


def _threads(grid: Grid) -> int:
    return max(cell.simulation.threads for cell in grid.cells)


def _compare(grid: Grid, how: How, shelf: Shelf, screen: Screen) -> Summary:
    if how.again:
        shelf.forget()
    found = _done(grid, shelf, with_baselines=how.with_baselines)
    missing = [cell for cell in grid.cells if cell.digest not in found]
    for cell in missing:
        _write(shelf.study(cell.digest), cell)
    jobs = jobs_for(grid, how.jobs)
    screen.begin(grid, len(found), jobs)
    run = _Run(grid, how)
    failed: dict[str, str] = {}
    ended = None
    try:
        pool = Pool(
            Setting(
                home=how.home,
                name=grid.name,
                data=how.data,
                engine=how.engine,
                with_baselines=how.with_baselines,
                threads=_threads(grid),
                under=run.id,
                start=how.start,
            ),
            jobs,
            screen,
        )
        failed = pool.run(missing)
        found = _done(grid, shelf, with_baselines=how.with_baselines)
        ended = _summary(grid, shelf, found, failed)
    finally:
        run.end(ended, len(grid.cells))
    return ended


def _done(grid: Grid, shelf: Shelf, *, with_baselines: bool) -> dict[str, Done]:
    """The results there are; those without baselines do not count where these are wanted."""
    kept = {cell.digest: shelf.done(cell.digest) for cell in grid.cells}
    return {
        digest: done
        for digest, done in kept.items()
        if done is not None and (not with_baselines or done.result.pooled is not None)
    }


def _write(path: Path, cell: Cell) -> None:
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(f"# {cell.said}\n{tomli_w.dumps(cell.table)}", "utf-8")
    draft.replace(path)


def _summary(
    grid: Grid, shelf: Shelf, found: Mapping[str, Done], failed: Mapping[str, str]
) -> Summary:
    table = shelf.folder / "compare.csv"
    summary.write_csv(grid, found, table)
    said = {cell.digest: cell.said for cell in grid.cells}
    return Summary(
        name=grid.name,
        cells=len(grid.cells),
        done=len(found),
        failed={said[digest]: why for digest, why in failed.items()},
        rows=tuple(summary.rows(grid, found)),
        other_code=sum(done.code != results_fingerprint() for done in found.values()),
        files={"table": str(table)} | figures.draw_all(grid, found, shelf.folder),
    )


class _Run:
    """The grid's run in MLflow, if it can be reached."""

    def __init__(self, grid: Grid, how: How) -> None:
        from server.comparison import ComparisonRun

        self._run: ComparisonRun | None = None
        uri = f"sqlite:///{how.home / 'mlflow.db'}"
        try:
            self._run = ComparisonRun(grid.name, uri=uri, artifacts=how.home / "mlflow-artifacts")
        except Exception as error:  # noqa: BLE001 - MLflow must never stop a study
            self._say(error)

    @property
    def id(self) -> str | None:
        return None if self._run is None else self._run.id

    def end(self, of: Summary | None, cells: int) -> None:
        if self._run is None:
            return
        files = [] if of is None else [Path(path) for path in of.files.values()]
        tags = {"cells": str(cells)} | ({} if of is None else {"cells.done": str(of.done)})
        try:
            self._run.end(failed=of is None or of.done < cells, tags=tags, files=files)
        except Exception as error:  # noqa: BLE001 - as above
            self._say(error)

    def _say(self, error: Exception) -> None:
        LOG.warning("MLflow does not take what it is given (%s)", type(error).__name__)
