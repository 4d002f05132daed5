"""`fedward server ...`: what a coordinator runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.said import LogFormat, printer
from experiments.verbs import fail, in_one_line
from privacy.process import surroundings

if TYPE_CHECKING:
    from server.deployment.config import ServerConfig

app = typer.Typer(no_args_is_help=True, help="For coordinators: the machine that sites connect to.")


@app.command()
def init(  # noqa: PLR0917 - typer passes them by name
    folder: Annotated[Path, typer.Argument(help="New or empty.")] = Path("coordinator"),
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or IP address under which sites reach this machine; may be repeated, sites "
            "are told the first. Default: 127.0.0.1 and localhost, for a trial on one machine."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="That sites connect to.")] = 9443,
    control_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Of 127.0.0.1, for this machine alone.")
    ] = 9093,
    mlflow: Annotated[str, typer.Option(help="MLflow's tracking URI.")] = "",
    ca: Annotated[Path | None, typer.Option(help="A CA that sites are to trust, PEM.")] = None,
    certificate: Annotated[
        Path | None, typer.Option("--cert", help="A certificate that it issued, PEM.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="The certificate's private key, PEM without a password.")
    ] = None,
) -> None:
    """Make a coordinator's folder: certificates, secrets, server.toml. Overwrites nothing."""
    from server.deployment.certificates import fingerprint
    from server.deployment.folder import LOOPBACK, Given, make_folder

    given = None
    if ca is not None and certificate is not None and key is not None:
        given = Given(ca, certificate, key)
    elif ca is not None or certificate is not None or key is not None:
        typer.echo("give all of --ca, --cert and --key, or none of them", err=True)
        raise typer.Exit(2)
    try:
        made = make_folder(
            folder,
            hosts=host or LOOPBACK,
            port=port,
            control_port=control_port,
            mlflow=mlflow,
            given=given,
        )
    except (OSError, ValueError) as error:
        fail(str(error))
    typer.echo(f"made {made.folder}, for you alone; back it up")
    typer.echo("give each site, by a way that it trusts:")
    typer.echo(f"  the file   {made.at(made.ca)}")
    typer.echo(f"  the address {made.reached_at}")
    typer.echo("and, when they telephone, the fingerprint of that file:")
    typer.echo(f"  {fingerprint(made.at(made.ca))}")


ServerFile = Annotated[
    Path, typer.Option("--server", envvar="FEDWARD_SERVER", help="The coordinator's server.toml.")
]


@app.command()
def enrol(
    name: Annotated[str, typer.Argument(help="Of the site.")],
    key: Annotated[str, typer.Argument(help="Its public key: a file, or the line itself.")],
    server: ServerFile = Path("server.toml"),
    replace: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--replace", help="Let a new key take the place of the site's old one.")
    ] = False,
) -> None:
    """Let a site's node in, by the public key that `fedward site init` printed there."""
    from server.deployment.sites import enrol as write

    with _opened(server) as config:
        path = Path(key)
        text = path.read_text("utf-8") if len(key) < 256 and path.is_file() else key
        site = write(config.at(config.sites), name, text, replace=replace)
        typer.echo(f"enrolled: {site.name}, since {site.at:%Y-%m-%d %H:%M} UTC")
        _tell_superlink(config)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Of the site.")],
    server: ServerFile = Path("server.toml"),
) -> None:
    """Let a site's node in no more."""
    from server.deployment.sites import dismiss

    with _opened(server) as config:
        dismiss(config.at(config.sites), name)
        typer.echo(f"removed: {name}")
        _tell_superlink(config)


@app.command()
def renew(
    server: ServerFile = Path("server.toml"),
    ca_key: Annotated[
        Path | None, typer.Option("--ca-key", help="The CA's key, where it was moved.")
    ] = None,
) -> None:
    """Make a new certificate for the sites' listener, for the same names, from the own CA."""
    from server.deployment.renewal import renew as make

    with _opened(server) as config:
        until = make(config, ca_key=ca_key)
        typer.echo(f"{config.at(config.certificate)} holds until {until:%Y-%m-%d}")
        typer.echo("it is shown to sites when the coordinator is started again; they do nothing")


@app.command()
def run(
    server: ServerFile = Path("server.toml"),
    log_format: Annotated[
        LogFormat, typer.Option(help="Events as sentences, or as JSON for a journal.")
    ] = LogFormat.text,
) -> None:
    """Run the coordinator until Ctrl-C or SIGTERM: SuperLink, the sites' listener, SuperExec."""
    from experiments.coordinator.run import run_coordinator

    with _opened(server) as config:
        run_coordinator(config, printer(log_format))


def _tell_superlink(config: ServerConfig) -> None:
    """Tells a SuperLink that runs at once; one that does not learns it when it starts."""
    from server.deployment.control import ControlFailed, synchronize
    from server.deployment.sites import read_sites

    os.environ |= surroundings(config.at(config.flower), os.environ)
    try:
        synchronize(config, read_sites(config.at(config.sites)))
    except ControlFailed as error:
        typer.echo(f"{error}: it is told when it starts")
    else:
        typer.echo("the SuperLink knows it now")


@contextmanager
def _opened(path: Path) -> Iterator[ServerConfig]:
    """The coordinator; what goes wrong with it is one line and exit status 1."""
    from server.deployment.config import ServerConfig

    with in_one_line():
        yield ServerConfig.read(path)
