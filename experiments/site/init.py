"""`fedward site init`: asks what a new site needs, on a terminal, or takes it from flags."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.verbs import fail

SHARE_TRAINED_ON = 0.7
"""Of a site's patients, by the default split."""


class Layout(StrEnum):
    """What a line of JSON holds."""

    patients = "patients"
    documents = "documents"


def init(  # noqa: PLR0917 - typer passes them by name
    folder: Annotated[Path, typer.Argument(help="Where site.toml and keys go.")] = Path("site"),
    name: Annotated[str, typer.Option(help="As the coordinator is to see it.")] = "",
    superlink: Annotated[str, typer.Option(help="HOST:PORT of the coordinator.")] = "",
    ca: Annotated[
        Path | None, typer.Option(help="The coordinator's CA certificate, ca.crt; copied.")
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            help="jsonl: files of JSON lines; synthetic: invented patients, for a trial. "
            "Others, such as omop and fhir, by --source-table."
        ),
    ] = "",
    source_table: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with the keys of [source], kind among them; see docs/sources.md."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Where relative paths of that table start; else the site's folder."),
    ] = None,
    path: Annotated[
        list[Path] | None, typer.Option(help="A file of JSON lines; may be repeated.")
    ] = None,
    layout: Annotated[
        Layout, typer.Option(help="Whether a line is a patient or a document.")
    ] = Layout.patients,
    declared_patients: Annotated[
        int | None, typer.Option(min=1, help="Training patients, rounded; public.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="What all studies together may cost a training patient, for ever."),
    ] = None,
    delta: Annotated[float, typer.Option(help="Of that epsilon.")] = 1e-5,
    mark: Annotated[
        Path, typer.Option(help="High-water mark of the ledger; best on another disk.")
    ] = Path("mark/high-water.sqlite"),
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of 127.0.0.1, for the site's own processes.")
    ] = 9094,
    monitor_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of 127.0.0.1, for monitoring; 0 is none.")
    ] = 9095,
) -> None:
    """Make a site: site.toml and its keys. Overwrites nothing; prints the public key."""
    from client.setup import NewSite, make_site

    ask = Questions()
    name = name or ask.text("--name", "Name of this site, as the coordinator is to see it")
    superlink = superlink or ask.text("--superlink", "HOST:PORT of the coordinator")
    ca = ca or Path(ask.text("--ca", "The coordinator's CA certificate (ca.crt)"))
    if source_table is None:
        source = source or ask.text("--source", "Source of the patients, by its kind", "jsonl")
        if source == "jsonl" and not path:
            path = [Path(ask.text("--path", "File of JSON lines"))]
    declared = declared_patients or int(
        ask.number("--declared-patients", "Training patients, rounded by hand", int)
    )
    if epsilon is None:
        epsilon = ask.number(
            "--epsilon", "Epsilon of a patient's lifetime, over all studies", float
        )
    ask.enough()
    try:
        if source_table is None:
            table = _source(source, path or [], layout, hospital=name, declared=declared)
        else:
            table = _given(source_table, source)
        new = NewSite(
            name=name,
            superlink=superlink,
            ca=ca,
            source=table,
            declared_patients=declared,
            epsilon=epsilon,
            delta=delta,
            data=Path() if data is None else data.absolute(),
            mark=mark if mark == Path("mark/high-water.sqlite") else mark.absolute(),
            port=port,
            monitor=monitor_port,
        )
        made = make_site(folder, new)
    except (OSError, ValueError) as error:
        fail(str(error))
    file = made.site.folder / "site.toml"
    typer.echo(f"made {file}; read it, above all [policy]\n")
    typer.echo("Compare with the coordinator, by telephone, the fingerprint of its ca.crt:")
    typer.echo(f"{made.ca_fingerprint}\n")
    typer.echo("Hand to the coordinator this line and nothing else:")
    typer.echo(f"{made.public_key}\n")
    typer.echo(f"When the coordinator has enrolled it: fedward site check --site {file}")
    typer.echo(f"and where that finds nothing wrong:    fedward site run --site {file}")


def on_terminal() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


class Questions:
    """Asks on a terminal; elsewhere collects what was not given."""

    def __init__(self) -> None:
        self._asks = on_terminal()
        self._missing: list[str] = []

    def text(self, flag: str, question: str, default: str | None = None) -> str:
        """The answer; an empty text where nobody can be asked."""
        if self._asks:
            return str(typer.prompt(question, default=default)).strip()
        self._missing.append(flag)
        return ""

    def number(self, flag: str, question: str, kind: type[int | float]) -> float:
        """The answer; 0 where nobody can be asked."""
        if self._asks:
            return kind(typer.prompt(question, type=kind))
        self._missing.append(flag)
        return 0

    def enough(self) -> None:
        """Ends with status 2 where something was not given and nobody could be asked."""
        if self._missing:
            typer.echo(f"nobody is here to ask; give {', '.join(self._missing)}", err=True)
            raise typer.Exit(2)


def _source(
    kind: str, paths: list[Path], layout: Layout, *, hospital: str, declared: int
) -> dict[str, Any]:
    """The source's table.

    Raises:
        ValueError: There is no such kind, or no such file.
    """
    if kind not in {"jsonl", "synthetic"}:
        from client.sources.kinds import SOURCES

        known = SOURCES.kinds()
        if kind in known:
            raise ValueError(f"--source {kind}: give its keys with --source-table FILE.toml")
        raise ValueError(f"the source must be one of {', '.join(known)}")
    if kind == "synthetic":
        count = math.ceil(declared / SHARE_TRAINED_ON)
        return {"kind": "synthetic", "hospital": hospital, "patient_count": count}
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
    return {"kind": "jsonl", "paths": [str(path.absolute()) for path in paths], "layout": layout}


def _given(file: Path, kind: str) -> dict[str, Any]:
    """The source's table as a file gives it, with its kind.

    Raises:
        ValueError: In one line, what does not fit and where.
    """
    from client.sources.kinds import SOURCES
    from privacy.spec import read_toml

    whole = read_toml(file)
    table: dict[str, Any] = whole.get("source", whole)
    if kind and table.setdefault("kind", kind) != kind:
        raise ValueError(f"{file}: its kind is not {kind}, as --source says")
    try:
        SOURCES.parse(table)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    return table
