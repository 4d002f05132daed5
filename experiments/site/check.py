"""`fedward site check`, as it is shown."""

from __future__ import annotations

import json as jsons
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

SIGNS = {"ok": ("ok", "green"), "warning": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def check(
    site: Annotated[
        Path, typer.Option("--site", envvar="FEDWARD_SITE", help="The site's site.toml.")
    ] = Path("site.toml"),
    study: Annotated[
        Path | None, typer.Option(help="A study file, to hold against this site.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Also write it here.")] = None,
) -> None:
    """Look at everything a study needs here; exit status 1 where one would fail."""
    from rich.console import Console
    from rich.text import Text

    from client.check import check as findings
    from client.site import Site
    from privacy.errors import SiteError
    from privacy.process import surroundings
    from tasks.study import Study

    console, found = Console(), []
    try:
        opened = Site.read(site)
        # As the daemon sees it: no proxy stands between this machine and itself.
        os.environ |= surroundings(opened.folder / "flower", os.environ)
        asked = None if study is None else Study.read(study)
    except (SiteError, OSError, ValueError) as error:
        typer.echo(f"fedward: {error}", err=True)
        raise typer.Exit(1) from None
    with console.status("looking") as status:

        def progress(read: int) -> None:
            if read % 1000 == 0:
                status.update(f"reading the source, {read:,} patients")

        for finding in findings(opened, study=asked, progress=progress):
            found.append(finding)
            sign, style = SIGNS[finding.state]
            line = Text(f"{finding.what:12} ")
            line.append(f"{sign:6}", style=style)
            line.append(finding.said)
            console.print(line, soft_wrap=True)
            sys.stdout.flush()
            status.update("looking")
    if json is not None:
        lines = [finding.model_dump(mode="json") for finding in found]
        json.write_text(jsons.dumps(lines, indent=2) + "\n", "utf-8")
    wrong = sum(finding.state == "wrong" for finding in found)
    if wrong:
        console.print(f"{wrong} to mend before a study can run here", style="bold red")
        raise typer.Exit(1)
    console.print("this site can take part", style="green")
