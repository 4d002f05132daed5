"""What a comparison looks like in a terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from experiments.compare.grid import Cell, Grid
from experiments.compare.summary import NAMES, Spread, Summary
from experiments.simulate.display import plain_table


class Terminal:
    """A `Screen` on a console: a bar for the grid, a line for each cell that is being run."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}"),
            console=console,
        )
        self._tasks: dict[str, Any] = {}
        self._all: Any = None

    def close(self) -> None:
        """Takes the live parts off the screen; also after an error."""
        self._bars.stop()

    def begin(self, grid: Grid, done: int, jobs: int) -> None:
        """See `Screen.begin`."""
        missing = len(grid.cells) - done
        self.console.print(
            f"[bold]{grid.name}[/]  {len(grid.cells)} cells, {done} of them done; "
            f"{missing} to run, {min(jobs, max(missing, 1))} at a time"
        )
        self._all = self._bars.add_task("cells", total=len(grid.cells), completed=done, doing="")
        self._bars.start()

    def began(self, cell: Cell) -> None:
        """See `Watch.began`."""
        self._tasks[cell.digest] = self._bars.add_task(escape(cell.said), total=None, doing="")

    def doing(self, cell: Cell, what: str) -> None:
        """See `Watch.doing`."""
        self._bars.update(self._tasks[cell.digest], doing=escape(what))

    def ended(self, cell: Cell, failed: str | None) -> None:
        """See `Watch.ended`."""
        self._bars.remove_task(self._tasks.pop(cell.digest))
        if failed is None:
            self._bars.advance(self._all)
        else:
            self.console.print(f"{cell.said}: {failed}", style="red", markup=False)


def cells_table(grid: Grid, done: set[str]) -> Table:
    """Every cell, for `--dry-run`."""
    table = plain_table(f"{grid.name}: {len(grid.cells):,} cells")
    table.add_column("cell", no_wrap=True)
    for axis in grid.axes:
        table.add_column(axis.name)
    table.add_column("epsilon", justify="right")
    table.add_column("rounds", justify="right")
    table.add_column("", no_wrap=True)
    for cell in grid.cells:
        table.add_row(
            cell.digest[:8],
            *cell.values.values(),
            _epsilon(cell.epsilon),
            str(cell.study.rounds),
            "done" if cell.digest in done else "",
        )
    return table


def result_table(summary: Summary) -> Table:
    """The table of a grid: a row for each cell and way of training.

    Baselines know neither strategy nor epsilon, so many cells have the same; each stands once.
    """
    axes = list(summary.rows[0].values) if summary.rows else []
    repeats = max((row.repeats for row in summary.rows), default=0)
    table = plain_table(f"{summary.name}: {summary.done} of {summary.cells} cells")
    table.caption = (
        (f"Mean ± standard deviation over up to {repeats} repeats. " if repeats > 1 else "")
        + "pooled: all records in one place; alone: mean of the sites, each by itself; both "
        "without privacy and the same for cells that differ in strategy or privacy only, so "
        "shown once."
    )
    for name in axes:
        table.add_column(name, overflow="fold")
    table.add_column("trained", no_wrap=True)
    for name in NAMES:
        table.add_column(name, justify="right", no_wrap=True)
    seen: set[tuple[Any, ...]] = set()
    for row in summary.rows:
        key = (row.trained, *(row.metrics[name].mean for name in NAMES if name in row.metrics))
        if row.trained != "federated" and key in seen:
            continue
        seen.add(key)
        table.add_row(
            *row.values.values(), row.trained, *(_spread(row.metrics.get(n)) for n in NAMES)
        )
    return table


def _spread(value: Spread | None) -> str:
    if value is None or not math.isfinite(value.mean):
        return "-"
    text = f"{value.mean:.3f}".removeprefix("0")
    return text if value.sd is None else f"{text}±{value.sd:.3f}".replace("±0", "±")


def _epsilon(value: float | None) -> str:
    return "off" if value is None else f"{value:g}"
