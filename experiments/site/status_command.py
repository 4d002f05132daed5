"""`fedward site status`: a site at one glance, whether its daemon runs or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def status(
    site: Annotated[
        Path, typer.Option("--site", envvar="FEDWARD_SITE", help="The site's site.toml.")
    ] = Path("site.toml"),
    json: Annotated[Path | None, typer.Option("--json", help="Also write it here.")] = None,
) -> None:
    """Show what this site does and how it is; exit status 1 where something is wrong."""
    from client.site import Site
    from experiments.site.status import print_status, status_of
    from privacy.errors import SiteError

    try:
        found = status_of(Site.read(site))
    except (SiteError, OSError, ValueError) as error:
        typer.echo(f"fedward: {error}", err=True)
        raise typer.Exit(1) from None
    print_status(found)
    if json is not None:
        json.write_text(found.model_dump_json(indent=2) + "\n", "utf-8")
    if found.wrong:
        raise typer.Exit(1)
