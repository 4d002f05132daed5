"""`fedward server renew`: a new certificate for the sites' listener, from the own CA."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.files import sync_folder
from server.deployment.certificates import Issued, check_acceptance, make_server_certificate
from server.deployment.config import ServerConfig

CA_KEY = "ca.key"


def renew(config: ServerConfig, *, ca_key: Path | None = None) -> datetime:
    """Puts a new certificate and key for the same hosts in the place of the old ones.

    Args:
        config: The coordinator's.
        ca_key: The CA's private key, where it was moved; beside server.toml if None.

    Returns:
        Until when the new one holds, UTC.

    Raises:
        ValueError: The CA's key is not here, or is not that of `ca.crt`.
    """
    path = config.at(Path(CA_KEY)) if ca_key is None else ca_key
    if not path.is_file():
        raise ValueError(
            f"{path} is not here: name where it is kept with --ca-key; a certificate that was "
            "given is renewed by whoever issued it"
        )
    ca = Issued(_certificate(config.at(config.ca)), _key(path))
    if ca.key.public_key() != ca.certificate.public_key():
        raise ValueError(f"{path} is not the key of {config.at(config.ca)}")
    hosts = _hosts(_certificate(config.at(config.certificate)))
    made = make_server_certificate(ca, hosts)
    drafts = [config.at(name).with_suffix(".draft" + name.suffix)
              for name in (config.certificate, config.key)]  # fmt: skip
    for draft, content in zip(drafts, (made.certificate_pem(), made.key_pem()), strict=True):
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    check_acceptance(config.at(config.ca), *drafts, hosts=hosts)
    # Two files cannot change at once: after a crash between them, renewing again mends it.
    for draft, name in zip(drafts, (config.certificate, config.key), strict=True):
        draft.replace(config.at(name))
    sync_folder(config.folder)
    return made.certificate.not_valid_after_utc


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise ValueError(f"{path} is not a certificate in PEM") from None


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (TypeError, ValueError):
        raise ValueError(f"{path} is not a private key in PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not the key of a CA that fedward made")
    return key


def _hosts(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]
