"""The `fedward` command. Heavy imports stay inside the verbs, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.audit.command import audit
from experiments.compare.command import compare
from experiments.coordinator.command import app as server_app
from experiments.diagnose.command import diagnose
from experiments.extending.command import check, kinds
from experiments.site.command import app as site_app
from experiments.study.command import app as study_app
from experiments.verbs import (
    DataFolder,
    EngineName,
    JsonFile,
    StartFile,
    StudyFile,
    fail,
    write_json,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hospitals learn ICD coding together; notes never leave a hospital.",
)
lab = typer.Typer(no_args_is_help=True, help="For researchers: federations on one machine.")
app.add_typer(lab, name="lab")
app.add_typer(study_app, name="study")
app.add_typer(server_app, name="server")
app.add_typer(site_app, name="site")
lab.command()(audit)
lab.command()(compare)
lab.command()(diagnose)
lab.command()(kinds)
lab.command()(check)


@lab.command()
def simulate(  # noqa: PLR0917 - typer passes them by name
    study: StudyFile,
    data: DataFolder = Path(),
    home: Annotated[
        Path,
        typer.Option(
            envvar="FEDWARD_HOME",
            help="Gets runs, vectors (kept between runs) and MLflow's database.",
        ),
    ] = Path("fedward-runs"),
    engine: Annotated[
        EngineName, typer.Option(help="The same apps in this process, or under Flower on Ray.")
    ] = EngineName.in_process,
    baselines: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option(help="Also train each site alone and all pooled, without privacy.")
    ] = True,
    split_seed: Annotated[
        int | None,
        typer.Option(help="Deal all patients into a stratified split with this seed.", min=0),
    ] = None,
    start: StartFile = None,
    json: JsonFile = None,
) -> None:
    """Run a whole federation on this machine, from a study file's [simulation] table."""
    from rich.console import Console

    from experiments.simulate.display import Terminal
    from experiments.simulate.run import SimulationFailed
    from experiments.simulate.run import simulate as run

    screen = Terminal(Console())
    try:
        result = run(
            study,
            data=data,
            home=home,
            engine=engine.value,
            screen=screen,
            with_baselines=baselines,
            split_seed=split_seed,
            start=start,
        )
    except (ValueError, SimulationFailed) as error:
        screen.close()
        fail(str(error))
    write_json(json, result)


def main() -> None:
    """Entry point of the console script."""
    app()
