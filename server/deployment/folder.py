"""`fedward server init`: a new coordinator's folder, whole or not at all."""

from __future__ import annotations

import errno
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from privacy.address import check_host, is_loopback, join_address
from privacy.files import sync_folder, write_new
from server.deployment.certificates import (
    CA_DAYS,
    check_acceptance,
    make_ca,
    make_server_certificate,
)
from server.deployment.config import FILE, ServerConfig

LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Given:
    """Certificates that a hospital's or a university's own CA issued.

    Attributes:
        ca: What sites trust, PEM.
        certificate: The server's, PEM, with those between it and the CA behind it.
        key: Its private key, PEM without a password.
    """

    ca: Path
    certificate: Path
    key: Path


def make_folder(
    folder: Path,
    *,
    hosts: Sequence[str] = LOOPBACK,
    port: int = 9443,
    control_port: int = 9093,
    mlflow: str = "",
    given: Given | None = None,
) -> ServerConfig:
    """Makes the folder of a new coordinator, mode 0700, its files 0600.

    Args:
        folder: New or empty.
        hosts: Names and IP addresses under which sites reach this machine; they are told the
            first.
        port: Of the listener for sites. It binds 127.0.0.1 where all hosts are this machine's
            own, and every address otherwise.
        control_port: Of 127.0.0.1, with all APIs.
        mlflow: Tracking URI; empty for a database in the folder.
        given: Certificates to take over; if None, a CA of its own is made.

    Raises:
        ValueError: Something is in the folder, or a host, port or certificate does not fit.
    """
    if not hosts:
        raise ValueError("name a host under which sites reach this machine")
    for host in hosts:
        try:
            check_host(host)
        except ValueError as error:
            raise ValueError(f"{host!r} {error}") from None
    if port == control_port:
        raise ValueError(f"the listener for sites and the port on 127.0.0.1 are both {port}")
    bound = "127.0.0.1" if all(map(is_loopback, hosts)) else "0.0.0.0"  # noqa: S104 - for sites
    table = {
        "reached_at": join_address(hosts[0], port),
        "fleet": join_address(bound, port),
        "control_port": control_port,
        "mlflow": mlflow,
    }
    ServerConfig.parse_table(table, where=FILE)
    if given is not None:
        check_acceptance(given.ca, given.certificate, given.key, hosts=hosts)
    files = _own(hosts) if given is None else _taken(given)
    files |= _control() | {
        "superexec.secret": secrets.token_urlsafe(48).encode(),
        FILE: _toml(table, own_ca=given is None).encode(),
    }
    _write_whole(folder, files)
    return ServerConfig.read(folder / FILE)


def _own(hosts: Sequence[str]) -> dict[str, bytes]:
    ca = make_ca(f"fedward CA of {hosts[0]}"[:64])
    server = make_server_certificate(ca, list(dict.fromkeys([*hosts, *LOOPBACK])))
    return {
        "ca.crt": ca.certificate_pem(),
        "ca.key": ca.key_pem(),
        "server.crt": server.certificate_pem(),
        "server.key": server.key_pem(),
    }


def _taken(given: Given) -> dict[str, bytes]:
    return {
        "ca.crt": given.ca.read_bytes(),
        "server.crt": given.certificate.read_bytes(),
        "server.key": given.key.read_bytes(),
    }


def _control() -> dict[str, bytes]:
    """For the port on 127.0.0.1, whose CA key nobody keeps: it issues this one only."""
    ca = make_ca("fedward control CA")
    server = make_server_certificate(ca, LOOPBACK, days=CA_DAYS)
    return {
        "control-ca.crt": ca.certificate_pem(),
        "control.crt": server.certificate_pem(),
        "control.key": server.key_pem(),
    }


def _write_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder beside and moves it into place.

    Raises:
        ValueError: Something is in the way.
    """
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))  # mode 0700
    try:
        for name, content in files.items():
            write_new(draft / name, content)
        # Takes the place of an empty folder, and of nothing else.
        draft.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise ValueError(
                f"{folder} is there already and is not empty; name a new folder, nothing is "
                "overwritten"
            ) from None
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    sync_folder(target.parent)


def _toml(table: Mapping[str, object], *, own_ca: bool) -> str:
    def line(key: str) -> str:
        return tomli_w.dumps({key: table[key]}).rstrip("\n")

    kept = (
        "\n# ca.key issues further ones: keep it apart, off this machine if you can."
        if own_ca
        else ""
    )
    return f"""\
# A fedward coordinator. Private: everything in this folder is for its owner alone, but for ca.crt,
# which every site needs. Relative paths start here. A line with one # in front shows a default.

# What sites put in their site.toml: name or IP address, and port, under which they reach this
# machine. The certificate names the same host.
{line("reached_at")}

# What the listener for sites binds. It serves what a site's node needs (Flower's Fleet API) and
# nothing else; let your firewall open this port, and only to the sites.
{line("fleet")}

# All of Flower's APIs, on 127.0.0.1 of this machine only. Whoever reaches this port can start
# studies and enrol sites: it has no host to set, and nothing should forward to it.
{line("control_port")}

# MLflow's tracking URI, reached from this machine only; empty keeps a database in `runs`.
{line("mlflow")}

# Certificates, PEM; behind the server's own stand those between it and the CA.{kept}
# ca = "ca.crt"
# certificate = "server.crt"
# key = "server.key"

# Of the port on 127.0.0.1; no site trusts them.
# control_ca = "control-ca.crt"
# control_certificate = "control.crt"
# control_key = "control.key"

# Shared by the SuperLink and the process that starts the coordinator's part of a study.
# superexec_secret = "superexec.secret"

# The SuperLink's database: nodes, runs, and updates on their way.
# database = "state.db"

# Who is enrolled: names and public keys.
# sites = "sites.json"

# Flower's own files.
# flower = "flower"

# What studies write: journal, checkpoints, weights, MLflow's database.
# runs = "runs"
"""
