"""The verb `fedward lab diagnose`. Heavy imports stay inside, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.verbs import DataFolder, JsonFile, StudyFile, in_one_line, write_json


def diagnose(  # noqa: PLR0917 - typer passes them by name
    study: StudyFile,
    encoder: Annotated[
        list[Path] | None,
        typer.Option(
            help="File with another [encoder] table, compared on the same stays; may be repeated."
        ),
    ] = None,
    data: DataFolder = Path(),
    home: Annotated[
        Path, typer.Option(envvar="FEDWARD_HOME", help="Keeps vectors between runs.")
    ] = Path("fedward-runs"),
    figure: Annotated[Path | None, typer.Option(help="Also draw it here (png, svg, pdf).")] = None,
    json: JsonFile = None,
) -> None:
    """Diagnose frozen vectors at each simulated site: probes, similarity, components, outliers.

    Nothing is trained federated and nothing is charged. Only numbers are shown, none of a note.
    """
    from rich.console import Console

    from experiments.audit.display import Bars
    from experiments.diagnose.display import tables
    from experiments.diagnose.figure import SUFFIXES, draw
    from experiments.diagnose.run import diagnose as run

    if figure is not None and figure.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"must end in {', '.join(SUFFIXES)}", param_hint="--figure")
    console = Console()
    bars = Bars(console)
    try:
        with in_one_line():
            found = run(study, data=data, home=home, others=encoder or (), progress=bars.show)
    finally:
        bars.close()
    for table in tables(found):
        console.print(table)
    if figure is not None:
        draw(found, figure)
        console.print(f"figure written to {figure}", markup=False)
    write_json(json, found)
