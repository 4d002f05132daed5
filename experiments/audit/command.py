"""The verb `fedward lab audit`. Heavy imports stay inside, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.verbs import DataFolder, JsonFile, StudyFile, fail, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.audit.display import Bars
    from experiments.audit.run import Audited, Plan


def audit(  # noqa: PLR0917 - typer passes them by name
    study: StudyFile,
    site: Annotated[
        str | None, typer.Option(help="Site of the study's [simulation]; by default the first.")
    ] = None,
    canaries: Annotated[int, typer.Option(min=2, help="Made; each is in with chance 1/2.")] = 1000,
    guesses: Annotated[
        int, typer.Option(min=2, help="Fixed beforehand: half say in, half say out.")
    ] = 100,
    confidence: Annotated[float, typer.Option(help="Of the lower bound.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Of canaries, coins and noise.")] = 0,
    data: DataFolder = Path(),
    home: Annotated[
        Path, typer.Option(envvar="FEDWARD_HOME", help="Keeps vectors between runs.")
    ] = Path("fedward-runs"),
    figure: Annotated[
        Path | None,
        typer.Option(help="Also invert updates of single patients, and draw it here (png, svg)."),
    ] = None,
    json: JsonFile = None,
) -> None:
    """Audit the privacy claim: canaries in one training run against the ledger's epsilon.

    Exit status 1 when the claim is broken.
    """
    from rich.console import Console

    from experiments.audit.display import Bars
    from experiments.audit.figure import SUFFIXES
    from experiments.audit.run import NoSuchSite, Plan, prepared
    from privacy.errors import SiteError

    if figure is not None and figure.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"must end in {', '.join(SUFFIXES)}", param_hint="--figure")
    try:
        plan = Plan(canaries=canaries, guesses=guesses, confidence=confidence, seed=seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = Console()
    bars = Bars(console)
    try:
        with prepared(study, data=data, home=home, site=site, progress=bars.show) as this:
            broken = _report(console, bars, this, plan, figure=figure, json=json)
    except NoSuchSite as error:
        raise typer.BadParameter(str(error), param_hint="--site") from None
    except (ValueError, SiteError) as error:
        fail(str(error))
    finally:
        bars.close()
    if broken:
        raise typer.Exit(1)


def _report(
    console: Console,
    bars: Bars,
    this: Audited,
    plan: Plan,
    *,
    figure: Path | None,
    json: Path | None,
) -> bool:
    """Audits, prints and writes; whether the claim is broken."""
    from experiments.audit.display import audit_table, inversion_table, limits
    from experiments.audit.figure import draw
    from experiments.audit.inversion import invert
    from experiments.audit.run import audit as run

    result = run(this, plan, progress=bars.show)
    inversion = invert(this, seed=plan.seed, progress=bars.show) if figure else None
    bars.close()
    console.print(audit_table(this, plan, result))
    console.print(limits(result))
    write_json(json, result)
    if figure is not None and inversion is not None:
        console.print(inversion_table(inversion))
        draw(inversion, this.study, this.site.name, figure)
        console.print(f"figure written to {figure}", markup=False)
    return result.broken
