"""`fedward site init`: a new site's site.toml and keys.

Every key is made here, on the site's own machine. Of all that is made only the node's public
key is for others: the coordinator enrols the site by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client.site import Coordinator, Site
from client.site_text import site_text
from privacy.files import write_new
from privacy.keys import make_key

FILE = "site.toml"


@dataclass(frozen=True, slots=True)
class NewSite:
    """What `init` asks for.

    Attributes:
        name: As the coordinator sees it.
        superlink: HOST:PORT of the coordinator.
        ca: The coordinator's CA certificate, PEM; copied.
        source: Table of the source.
        declared_patients: Training patients, rounded by hand; public.
        epsilon: What all studies together may cost a training patient, for ever.
        delta: Its delta.
        mark: See `Site.mark`.
        port: See `Coordinator.port`.
        monitor: See `Coordinator.monitor`.
        data: See `Site.data`.
    """

    name: str
    superlink: str
    ca: Path
    source: dict[str, Any]
    declared_patients: int
    epsilon: float
    delta: float = 1e-5
    mark: Path = Path("mark/high-water.sqlite")
    port: int = 9094
    monitor: int = 9095
    data: Path = Path()

    def table(self) -> dict[str, Any]:
        """What is set in site.toml, as a table."""
        return {
            "name": self.name,
            "declared_patients": self.declared_patients,
            "mark": str(self.mark),
            "data": str(self.data),
            "source": self.source,
            "coordinator": {
                "superlink": self.superlink,
                "port": self.port,
                "monitor": self.monitor,
            },
            "policy": {"lifetime": {"epsilon": self.epsilon, "delta": self.delta}},
        }


@dataclass(frozen=True, slots=True)
class MadeSite:
    """A site that was just made.

    Attributes:
        site: As it is read.
        public_key: One line, OpenSSH format: for the coordinator.
        ca_fingerprint: SHA-256 of the CA certificate, in hex: to compare with the coordinator's.
    """

    site: Site
    public_key: str
    ca_fingerprint: str


def make_site(folder: Path, new: NewSite) -> MadeSite:
    """Makes site.toml, the node's key, site.key and store.key, for their owner alone.

    Raises:
        ValueError: An answer does not fit, or a file of a site is in the folder already; nothing
            was made.
    """
    site = Site.parse_table(new.table(), where=FILE).model_copy(update={"folder": folder.resolve()})
    coordinator = Coordinator(superlink=new.superlink)
    ca, fingerprint = _read_ca(new.ca)
    _check_room(site)
    private, public = make_node_key(site.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _all_or_nothing() as made:
        for path, content in (
            (coordinator.ca, ca),
            (coordinator.node_key, private),
            (Path(f"{coordinator.node_key}.pub"), public + b"\n"),
            (site.secret, None),
            (site.store_key, None),
            # Last: with it there is a site.
            (Path(FILE), site_text(new.table()).encode()),
        ):
            file = site.at(path)
            if content is None:
                make_key(file)
            else:
                write_new(file, content)
            made.append(file)
        return MadeSite(Site.read(site.at(Path(FILE))), public.decode(), fingerprint)


def make_node_key(name: str) -> tuple[bytes, bytes]:
    """A node's new key pair, P-384, in OpenSSH format: private, and public in one line."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private, public + b" " + name.encode()


def _read_ca(path: Path) -> tuple[bytes, str]:
    """A CA certificate's bytes and SHA-256 in hex.

    Raises:
        ValueError: It is none.
    """
    try:
        content = path.read_bytes()
        first, *_ = x509.load_pem_x509_certificates(content)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"{path}: no certificate in PEM; ask the coordinator for ca.crt") from None
    if b"PRIVATE KEY" in content:
        raise ValueError(f"{path}: holds a private key; a site needs the coordinator's ca.crt only")
    return content, first.fingerprint(hashes.SHA256()).hex()


def _check_room(site: Site) -> None:
    """Refuses where there is, or was, a site.

    Raises:
        ValueError: What is there.
    """
    coordinator = Coordinator(superlink="unused:1")
    own = (site.secret, site.store_key, site.ledger, site.mark, site.audit_log, site.releases)
    more = (site.vectors, site.withdrawn, site.cohorts, site.studies)
    keys = (coordinator.ca, coordinator.node_key, Path(f"{coordinator.node_key}.pub"))
    there = [path for path in (Path(FILE), *own, *more, *keys) if site.at(path).exists()]
    if there:
        raise ValueError(
            f"{site.folder} has {', '.join(map(str, there))} already; nothing is overwritten: name "
            "another folder, or restore the site that was here (with another site.key patients "
            "change their part of the split)"
        )


@contextmanager
def _all_or_nothing() -> Iterator[list[Path]]:
    """Removes the files in the list again where the block fails."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
