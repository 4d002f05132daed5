"""The verb `fedward lab compare`. Heavy imports stay inside, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.verbs import (
    DataFolder,
    EngineName,
    JsonFile,
    StartFile,
    fail,
    in_one_line,
    write_json,
)

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.compare.grid import Grid
    from experiments.compare.run import How
    from experiments.compare.summary import Summary


def compare(  # noqa: PLR0917 - typer passes them by name
    grid: Annotated[
        Path, typer.Argument(help="A study file with a [compare] table; see docs/compare.md.")
    ],
    data: DataFolder = Path(),
    home: Annotated[
        Path,
        typer.Option(
            envvar="FEDWARD_HOME", help="Keeps results, runs, vectors and MLflow's database."
        ),
    ] = Path("fedward-runs"),
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes at a time; by default as many as the cores take."),
    ] = None,
    engine: Annotated[
        EngineName, typer.Option(help="The same apps in each process, or under Flower on Ray.")
    ] = EngineName.in_process,
    baselines: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option(help="Also train each site alone and all pooled, without privacy.")
    ] = True,
    again: Annotated[  # noqa: FBT002 - as above
        bool, typer.Option("--again", help="Forget what was run before.")
    ] = False,
    dry_run: Annotated[  # noqa: FBT002 - as above
        bool, typer.Option("--dry-run", help="Check every cell, list them and run none.")
    ] = False,
    start: StartFile = None,
    json: JsonFile = None,
) -> None:
    """Run a study in many variants: a grid of heads, encoders, epsilons, splits.

    Cells that are done are kept, so the same command goes on where it was stopped. Exit status 1
    when a cell failed.
    """
    from rich.console import Console

    from experiments.compare.display import cells_table
    from experiments.compare.grid import Grid
    from experiments.compare.kept import Shelf
    from experiments.compare.run import How

    console = Console()
    with in_one_line():
        found = Grid.read(grid, data=data)
    if dry_run:
        shelf = Shelf(home, found.name)
        done = {cell.digest for cell in found.cells if shelf.done(cell.digest) is not None}
        console.print(cells_table(found, done))
        return
    how = How(
        data=data,
        home=home,
        engine=engine.value,
        jobs=jobs,
        with_baselines=baselines,
        again=again,
        start=start,
    )
    _run(console, found, how, json)


def _run(console: Console, grid: Grid, how: How, json: Path | None) -> None:
    from experiments.compare.display import Terminal
    from experiments.compare.run import GridBusy
    from experiments.compare.run import compare as run
    from server.start import StartBroken

    screen = Terminal(console)
    try:
        summary = run(grid, how, screen)
    except (GridBusy, OSError, StartBroken) as error:
        fail(str(error))
    except KeyboardInterrupt:
        screen.close()
        fail("stopped; cells that are done are kept, and the same command goes on")
    finally:
        screen.close()
    _show(console, summary)
    write_json(json, summary)
    if summary.failed:
        raise typer.Exit(1)


def _show(console: Console, summary: Summary) -> None:
    from experiments.compare.display import result_table

    if summary.rows:
        console.print(result_table(summary))
    for what, path in summary.files.items():
        console.print(f"{what}: {path}", markup=False, highlight=False, soft_wrap=True)
    if summary.other_code:
        console.print(
            f"{summary.other_code} of the cells were run by other code than this; --again runs "
            "them anew",
            style="yellow",
        )
    for cell, why in summary.failed.items():
        console.print(f"failed: {cell}: {why}", style="red", markup=False)
