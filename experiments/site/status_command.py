"""`fedward site status`: a site at one glance, whether its daemon runs or not."""

from __future__ import annotations

from pathlib import Path

import typer

from experiments.verbs import JsonFile, SiteFile, opened_site, write_json


def status(
    site: SiteFile = Path("site.toml"),
    json: JsonFile = None,
) -> None:
    """Show what this site does and how it is; exit status 1 where something is wrong."""
    from experiments.site.status import print_status, status_of

    with opened_site(site) as opened:
        found = status_of(opened)
    print_status(found)
    write_json(json, found, private=True)
    if found.wrong:
        raise typer.Exit(1)
