"""Who is enrolled: names and public keys of sites, in a file of the coordinator's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AwareDatetime, ValidationError

from privacy.files import locked, replacing
from privacy.release import SiteName
from privacy.spec import Spec, one_line


class Enrolled(Spec):
    """A site.

    Attributes:
        name: As its hospital is called here.
        key: Its node's public key, OpenSSH format, without a remark.
        at: When it was enrolled.
    """

    name: SiteName
    key: str
    at: AwareDatetime

    def public_key(self) -> bytes:
        """The key as Flower has it: PEM."""
        return _parsed(self.key).public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class Sites(Spec):
    """Every enrolled site.

    Attributes:
        sites: Who may connect.
        removed: Keys that were removed or replaced. Flower never lets one in again.
    """

    sites: tuple[Enrolled, ...] = ()
    removed: tuple[str, ...] = ()


def read_sites(path: Path) -> tuple[Enrolled, ...]:
    """Who is enrolled; nobody where there is no file.

    Raises:
        ValueError: The file is damaged; in one line.
    """
    return _read(path).sites


def _read(path: Path) -> Sites:
    try:
        return Sites.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Sites()
    except ValidationError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


def enrol(path: Path, name: str, key: str, *, replace: bool = False) -> Enrolled:
    """Writes a site down; once more changes nothing.

    Args:
        path: The file.
        name: Of the site.
        key: Its public key, a line in OpenSSH format.
        replace: Whether another key of that name may give way.

    Raises:
        ValueError: The name or the key does not fit, or is another site's.
    """
    text = _normal(key)
    table = {"name": name, "key": text, "at": datetime.now(UTC)}
    new = Enrolled.parse_table(table, where="the site")
    with locked(path.with_name(f"{path.name}.lock"), exclusive=True):
        there = _read(path)
        if text in there.removed:
            raise ValueError(
                "this key was removed, and Flower never lets a removed key in again: have the site "
                "make another"
            )
        for site in there.sites:
            if site.key == text and site.name == name:
                return site
            if site.key == text:
                raise ValueError(f"this key is enrolled as {site.name}; each site makes its own")
            if site.name == name and not replace:
                raise ValueError(
                    f"{name} is enrolled with another key, since {site.at:%Y-%m-%d}; if the site "
                    "says that it made a new one, add --replace"
                )
        _write(path, _without(there, name), new)
    return new


def dismiss(path: Path, name: str) -> None:
    """Strikes a site off.

    Raises:
        ValueError: There is none of that name.
    """
    with locked(path.with_name(f"{path.name}.lock"), exclusive=True):
        there = _read(path)
        rest = _without(there, name)
        if rest == there:
            names = ", ".join(site.name for site in there.sites) or "nobody"
            raise ValueError(f"no site {name} is enrolled; enrolled: {names}")
        _write(path, rest)


def _without(sites: Sites, name: str) -> Sites:
    """All but one, whose key is not forgotten."""
    gone = tuple(site.key for site in sites.sites if site.name == name)
    rest = tuple(site for site in sites.sites if site.name != name)
    return Sites(sites=rest, removed=(*sites.removed, *gone))


def _write(path: Path, sites: Sites, *new: Enrolled) -> None:
    written = Sites(sites=(*sites.sites, *new), removed=sites.removed)
    with replacing(path) as file:
        file.write(written.model_dump_json(indent=2) + "\n")


def _normal(key: str) -> str:
    """A public key in one line, without a remark.

    Raises:
        ValueError: It is none that a node could have.
    """
    if "PRIVATE KEY" in key:
        raise ValueError(
            "that is a private key, which must not leave its site; it is worthless now: have the "
            "site make another node key, and send its line that begins with ecdsa-sha2-"
        )
    return (
        _parsed(key)
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def _parsed(key: str) -> ec.EllipticCurvePublicKey:
    try:
        parsed = serialization.load_ssh_public_key(key.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        parsed = None
    if not isinstance(parsed, ec.EllipticCurvePublicKey):
        raise ValueError(
            "no public key of a node: it is one line that begins with ecdsa-sha2-nistp384, as "
            "fedward site init printed it"
        )
    return parsed
