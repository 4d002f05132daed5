"""What the verbs of the command have in common: options, errors in one line, JSON files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from client.site import Site
    from privacy.spec import Spec

SiteFile = Annotated[
    Path, typer.Option("--site", envvar="FEDWARD_SITE", help="The site's site.toml.")
]
StudyFile = Annotated[
    Path, typer.Argument(help="A study file, such as experiments/studies/demo.toml.")
]
DataFolder = Annotated[
    Path, typer.Option(help="Folder that relative paths of the study's source start from.")
]
StartFile = Annotated[
    Path | None,
    typer.Option(
        "--start", help="Weights of an earlier study, where the study has a table [start]."
    ),
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the result here.")]


class EngineName(StrEnum):
    """What runs a simulation."""

    in_process = "in-process"
    flower = "flower"


def fail(reason: str) -> NoReturn:
    """Ends the command with one line and exit status 1."""
    typer.echo(f"fedward: {reason}", err=True)
    raise typer.Exit(1)


@contextmanager
def in_one_line() -> Iterator[None]:
    """What goes wrong inside ends the command as `fail` does."""
    from privacy.errors import SiteError

    try:
        yield
    except (SiteError, OSError, ValueError) as error:
        fail(str(error))


@contextmanager
def opened_site(path: Path) -> Iterator[Site]:
    """A site; what goes wrong with it ends the command as `fail` does."""
    from client.site import Site

    with in_one_line():
        yield Site.read(path)


def write_json(path: Path | None, made: object, *, private: bool = False) -> None:
    """Writes a Spec, or lists and tables of such, where a file was asked for.

    Args:
        path: Where to; None writes nothing.
        made: What.
        private: Whether it tells of a site's records: for its owner alone, mode 0600.
    """
    if path is None:
        return
    import json

    from privacy.spec import Spec

    def plain(spec: Spec) -> object:
        return spec.model_dump(mode="json")

    if isinstance(made, Spec):
        text = made.model_dump_json(indent=2)
    else:
        text = json.dumps(made, default=plain, indent=2)
    if private:
        path.touch(mode=0o600)
        path.chmod(0o600)
    path.write_text(text + "\n", "utf-8")
