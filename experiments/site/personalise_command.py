"""`fedward site personalise`: a head of the site's own, for a study that has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.verbs import JsonFile, SiteFile, opened_site, write_json


def personalise(
    digest: Annotated[str, typer.Argument(help="Of a study that has ended, or its first letters.")],
    site: SiteFile = Path("site.toml"),
    weights: Annotated[
        Path | None,
        typer.Option(help="The coordinator's final.safetensors, where its weights did not come."),
    ] = None,
    json: JsonFile = None,
) -> None:
    """Make a head of this site's own from the federation's, and keep the better of both here.

    It is trained on the site's own patients without privacy, so it must stay here, and so must the
    scores. Nothing leaves and nothing is spent.
    """
    from rich.console import Console

    from experiments.site.personalise import made, personalised, show

    console = Console()
    with opened_site(site) as opened:
        found = personalised(opened, made(opened, digest, weights, console), console)
        show(found, console, where=opened.at(opened.heads))
        write_json(json, found, private=True)
