"""Certificates: a CA of the coordinator's own, what it issues, and whether a site would accept it.

They are as OpenSSL's strict check wants them (`X509_V_FLAG_X509_STRICT`, Python's default since
3.13): RFC 5280 with every extension that it asks for.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privacy.address import ip_of

CA_DAYS, SERVER_DAYS = 3652, 365
EARLIER = timedelta(hours=1)
"""So much before its making a certificate begins, for sites whose clocks are behind."""

_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The key as PEM, not encrypted."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def make_ca(name: str, *, now: datetime | None = None) -> Issued:
    """A CA of its own for ten years, which can issue no further CAs; P-384.

    Args:
        name: Its common name, at most 64 letters.
        now: When it is made; the present if None.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    subject = _named(name)
    builder = _builder(subject, subject, key.public_key(), now, CA_DAYS)
    own = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(own, critical=False)
    )
    return Issued(builder.sign(key, hashes.SHA384()), key)


def make_server_certificate(
    ca: Issued, hosts: Sequence[str], *, days: int = SERVER_DAYS, now: datetime | None = None
) -> Issued:
    """A server's certificate; P-256.

    Args:
        ca: Who issues it.
        hosts: Names and IP addresses under which the server is reached.
        days: How long it holds.
        now: When it is made; the present if None.

    Raises:
        ValueError: There are no hosts.
    """
    if not hosts:
        raise ValueError("a server's certificate needs a host")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(
        _named("fedward coordinator"), ca.certificate.subject, key.public_key(), now, days
    )
    issuer = ca.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
        )
        .add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
        )
    )
    return Issued(builder.sign(ca.key, hashes.SHA384()), key)


def check_acceptance(ca: Path, certificate: Path, key: Path, *, hosts: Sequence[str]) -> None:
    """Shakes hands in memory as a site would, under each host.

    Args:
        ca: What the site trusts, PEM.
        certificate: The server's, PEM, with those between it and the CA behind it.
        key: Its private key, PEM without a password.
        hosts: Names and IP addresses under which sites reach the server.

    Raises:
        ValueError: A file cannot be used, or a site would refuse; in one line.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An empty password: OpenSSL would ask for one on the terminal.
        server.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"{certificate} and {key} are not a certificate and its key, in PEM without a "
            f"password ({_reason(error)})"
        ) from None
    try:
        client = strict_context(ca)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{ca} is not a CA certificate in PEM ({_reason(error)})") from None
    for host in hosts:
        try:
            _shake_hands(client, server, host)
        except ssl.SSLError as error:
            raise ValueError(
                f"a site that trusts {ca} would refuse {certificate} as {host}: {_reason(error)}"
            ) from None


def fingerprint(path: Path) -> str:
    """SHA-256 of the first certificate of a file, in hex."""
    first = x509.load_pem_x509_certificate(path.read_bytes())
    return first.fingerprint(hashes.SHA256()).hex()


def strict_context(ca: Path) -> ssl.SSLContext:
    """How a site checks: one CA, and RFC 5280 to the letter."""
    context = ssl.create_default_context(cafile=str(ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> None:
    """A TLS handshake without a network.

    Raises:
        ssl.SSLError: The client refused.
    """
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=host)
    far = server.wrap_bio(up, down, server_side=True)
    waiting = [near, far]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or type(error).__name__


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime | None,
    days: int,
) -> x509.CertificateBuilder:
    begin = (now or datetime.now(UTC)) - EARLIER
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*uses: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in uses for use in _USES})


def _general_name(host: str) -> x509.GeneralName:
    ip = ip_of(host)
    return x509.DNSName(host) if ip is None else x509.IPAddress(ip)
