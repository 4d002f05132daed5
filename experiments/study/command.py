"""`fedward study ...`: what a coordinator runs about studies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.verbs import JsonFile, StartFile, StudyFile, fail, in_one_line, write_json

if TYPE_CHECKING:
    from server.deployment.config import ServerConfig

app = typer.Typer(no_args_is_help=True, help="For coordinators: studies.")

RunName = Annotated[
    str, typer.Argument(help="Of the run, or its first letters; none for the unfinished one.")
]
SuperLink = Annotated[
    Path,
    typer.Option(
        "--superlink",
        "--server",
        envvar="FEDWARD_SERVER",
        help="The coordinator that runs: its folder, or its server.toml.",
    ),
]


@app.command()
def plan(study: StudyFile, json: JsonFile = None) -> None:
    """Print noise and epsilon after every round, from public numbers only."""
    from rich.console import Console

    from client.drawn import before
    from experiments.study.plan import plan_of, plan_table

    with in_one_line():
        asked, waits = before(study)
        made = plan_of(asked, waits=waits)
    Console().print(plan_table(made))
    write_json(json, made)


@app.command()
def run(  # noqa: PLR0917 - typer passes them by name
    study: StudyFile,
    superlink: SuperLink = Path("server.toml"),
    sites: Annotated[
        int, typer.Option(min=0, help="Wait for this many sites; 0 for all that are enrolled.")
    ] = 0,
    wait: Annotated[
        float,
        typer.Option(min=0.01, help="Minutes to wait for them; then enough must do, or it stops."),
    ] = 10.0,
    start: StartFile = None,
    again: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--again", help="Also where this very study was launched before.")
    ] = False,
    detach: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--detach", help="Do not watch it.")
    ] = False,
    json: JsonFile = None,
) -> None:
    """Run a study on the sites that are enrolled, and watch it to its end."""
    from experiments.study.run import begin
    from server.deployment import runs
    from server.deployment.sites import read_sites
    from server.start import give
    from tasks.study import Study

    with _opened(superlink) as config:
        asked = Study.read(study)
        earlier = give(asked, start)
        same = [folder for folder in runs.runs(config)
                if runs.read_launch(folder).digest == asked.digest]  # fmt: skip
        if same and not again:
            fail(
                f"this very study was launched as {same[-1].name}: fedward study resume goes on "
                "with it; a second run spends each site's privacy once more, as far as sites let "
                "it, and wants --again"
            )
        wanted = sites or len(read_sites(config.at(config.sites)))
        if not wanted:
            fail("nobody is enrolled; fedward server enrol lets a site in")
        seconds = max(1, round(wait * 60))
        folder, number = begin(config, asked, sites=wanted, wait=seconds, start=earlier)
        typer.echo(f"{asked.name} {asked.digest}")
        typer.echo(f"run {folder.name}, in {folder}")
        if not detach:
            _watch(config, folder, number, json)


@app.command()
def resume(
    run: RunName = "",
    superlink: SuperLink = Path("server.toml"),
    detach: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--detach", help="Do not watch it.")
    ] = False,
    json: JsonFile = None,
) -> None:
    """Go on with a study from its last round, or watch it where it runs."""
    from experiments.study.run import resubmit
    from server.deployment import runs

    with _opened(superlink) as config:
        folder = runs.find(config, run)
        if (folder / runs.STOPPED).exists():
            runs.wait_until_gone(folder)  # it may still be on its way out
        state = runs.progress(folder).state
        typer.echo(f"run {folder.name}, {state}")
        numbers = runs.read_launch(folder).submitted
        number = numbers[-1] if numbers else 0
        if state not in {"finished", "running"}:
            number = resubmit(config, folder, numbers[-1] if numbers else None)
        if not detach:
            _watch(config, folder, number, json)


@app.command()
def status(superlink: SuperLink = Path("server.toml"), json: JsonFile = None) -> None:
    """List the studies that were launched here, and how far each came."""
    from rich.console import Console

    from experiments.study.display import print_runs
    from server.deployment import runs

    with _opened(superlink) as config:
        came = [runs.progress(folder) for folder in runs.runs(config)]
        print_runs(Console(), came)
        write_json(json, came)


@app.command()
def stop(run: RunName = "", superlink: SuperLink = Path("server.toml")) -> None:
    """Stop a study; it can be resumed from its last round."""
    from server.deployment import runs

    with _opened(superlink) as config:
        folder = runs.find(config, run)
        numbers = runs.read_launch(folder).submitted
        if not numbers or runs.progress(folder).state == "finished":
            fail(f"{folder.name} does not run")
        runs.stop(config, folder)
        typer.echo(f"stopped: {folder.name}; what a site is doing for it at this moment, it ends")


def _watch(config: ServerConfig, folder: Path, number: int, json: Path | None) -> None:
    from rich.console import Console

    from experiments.study.display import Lines, print_outcome
    from experiments.study.run import StudyStopped, follow
    from server.deployment import runs

    console = Console()
    lines = Lines(console, outputs=len(runs.read_study(folder).outputs))
    try:
        outcome = follow(config, folder, number, lines)
    except StudyStopped as error:
        lines.close()
        fail(str(error))
    except KeyboardInterrupt:
        lines.close()
        typer.echo(f"\nthe study goes on; fedward study resume {folder.name} watches it again")
        raise typer.Exit(130) from None
    lines.close()
    print_outcome(console, outcome)
    write_json(json, outcome)


@contextmanager
def _opened(path: Path) -> Iterator[ServerConfig]:
    """The coordinator; what goes wrong with it is one line and exit status 1."""
    import os

    from privacy.process import surroundings
    from server.deployment.config import FILE, ServerConfig
    from server.deployment.control import ControlFailed

    with in_one_line():
        config = ServerConfig.read(path / FILE if path.is_dir() else path)
        os.environ |= surroundings(config.at(config.flower), os.environ)
        try:
            yield config
        except ControlFailed as error:
            fail(f"{error}; is fedward server run running?")
