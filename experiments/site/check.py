"""`fedward site check`, as it is shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from experiments.verbs import JsonFile, SiteFile, in_one_line, write_json

SIGNS = {"ok": ("ok", "green"), "warning": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def check(
    site: SiteFile = Path("site.toml"),
    study: Annotated[
        Path | None, typer.Option(help="A study file, to hold against this site.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Look at everything a study needs here; exit status 1 where one would fail."""
    from rich.console import Console
    from rich.text import Text

    from client.check import check as findings
    from client.site import Site
    from privacy.process import surroundings
    from tasks.study import Study

    console, found = Console(), []
    with in_one_line():
        opened = Site.read(site)
        # As the daemon sees it: no proxy stands between this machine and itself.
        os.environ |= surroundings(opened.folder / "flower", os.environ)
        asked = None if study is None else Study.read(study)
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
    write_json(json, found, private=True)
    wrong = sum(finding.state == "wrong" for finding in found)
    if wrong:
        console.print(f"{wrong} to mend before a study can run here", style="bold red")
        raise typer.Exit(1)
    console.print("this site can take part", style="green")
