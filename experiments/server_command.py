"""`fedward server ...`: what a coordinator runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

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
        _fail(str(error))
    typer.echo(f"made {made.folder}, for you alone; back it up")
    typer.echo("give each site, by a way that it trusts:")
    typer.echo(f"  the file   {made.at(made.ca)}")
    typer.echo(f"  the address {made.reached_at}")
    typer.echo("and, when they telephone, the fingerprint of that file:")
    typer.echo(f"  {fingerprint(made.at(made.ca))}")


def _fail(reason: str) -> NoReturn:
    typer.echo(f"fedward: {reason}", err=True)
    raise typer.Exit(1)
