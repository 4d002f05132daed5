"""Whether this site can reach its coordinator, and in plain words why not.

It asks the way the node will: the same CA, the same proxy from the environment, one address.
"""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from cryptography import x509
from cryptography.x509.oid import NameOID

from client.site import Coordinator, Site
from privacy.address import join_address, split_address
from privacy.spec import printable

WAIT_SECONDS = 10.0
MOST_AHEAD, MOST_BEHIND = 5.0, 300.0
"""Seconds by which a node's clock may differ from the coordinator's: Flower signs with the time."""

NOT_YET, EXPIRED, WRONG_HOST, WRONG_IP = 9, 10, 62, 64
"""OpenSSL's codes (X509_V_ERR_...); any other means that the chain does not hold."""

Clock = Callable[[], datetime]


def _utc() -> datetime:
    return datetime.now(UTC)


def proxy_of(superlink: str) -> str | None:
    """HOST:PORT of the proxy that the environment names for an address; no name, no password."""
    host, _ = split_address(superlink)
    proxy = urllib.request.getproxies().get("https")
    if not proxy or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return join_address(parts.hostname or "", parts.port or 80)


def trouble(site: Site, *, clock: Clock = _utc) -> str:
    """Why the site's node could not connect, and what to do; empty where it could.

    Args:
        site: With a coordinator.
        clock: This machine's.
    """
    coordinator = site.coordinator
    if coordinator is None:
        return "site.toml has no table [coordinator]; fedward site init writes one"
    ca, key = site.at(coordinator.ca), site.at(coordinator.node_key)
    reason = _files(ca, key)
    if reason:
        return reason
    try:
        answer = _ask(coordinator.superlink, ssl.create_default_context(cafile=str(ca)))
    except ssl.SSLError:
        return f"{ca} is not a CA certificate in PEM; copy the coordinator's ca.crt anew"
    except (httpx.HTTPError, OSError) as error:
        return _no_answer(coordinator, ca, error, clock)
    if answer.status_code != 200:
        return (
            f"what answers at {coordinator.superlink} is no coordinator (status "
            f"{answer.status_code}); check coordinator.superlink and the proxy"
        )
    return _clock(_date(answer), clock())


def _files(ca: Path, key: Path) -> str:
    for path in (ca, key):
        if not path.is_file():
            return f"{path} is missing; restore it from a backup"
    mode = key.stat().st_mode & 0o777
    if mode & 0o077:
        return f"{key} is open to others (mode {mode:04o}); find out who read it, then chmod 600"
    return ""


def _ask(superlink: str, context: ssl.SSLContext) -> httpx.Response:
    with (
        httpx.Client(verify=context, timeout=WAIT_SECONDS) as client,
        client.stream("GET", f"https://{superlink}/health") as answer,
    ):
        return answer


def _no_answer(coordinator: Coordinator, ca: Path, error: Exception, clock: Clock) -> str:
    """What an error means; the first that was raised says most."""
    where = coordinator.superlink
    proxy = proxy_of(where)
    by = f" by the proxy {proxy}" if proxy else ""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate(where, ca, cause, clock)
        if isinstance(cause, ssl.SSLError):
            return (
                f"what answers at {where}{by} does not speak TLS as it should "
                f"({cause.reason or 'handshake failed'}); check the port, and for a proxy or "
                "antivirus between"
            )
        if isinstance(cause, socket.gaierror):
            return f"the name in {proxy or where} cannot be looked up; check it and the DNS"
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {proxy or where}; is it running, is the port right?"
    return _no_connection(where, proxy, by, error)


def _no_connection(where: str, proxy: str | None, by: str, error: Exception) -> str:
    if isinstance(error, httpx.ProxyError):
        return f"the proxy {proxy} lets nobody through to {where}: {printable(str(error), 100)}"
    if isinstance(error, httpx.TimeoutException):
        return (
            f"no answer from {where}{by} within {WAIT_SECONDS:g} s; does the firewall let this "
            "machine connect there?"
        )
    return f"no connection to {where}{by} ({type(error).__name__}: {printable(str(error), 100)})"


def _certificate(where: str, ca: Path, error: ssl.SSLCertVerificationError, clock: Clock) -> str:
    """Why a certificate was refused; looks at it once more, without trust."""
    certificate, date = _shown(where)
    now = clock()
    if error.verify_code in {WRONG_HOST, WRONG_IP}:
        return (
            f"the certificate at {where} names another host; set coordinator.superlink to what the "
            "coordinator says that it is reached at"
        )
    if error.verify_code in {NOT_YET, EXPIRED}:
        off = _clock(date, now)
        if off:
            return f"the certificate at {where} does not hold today, because {off}"
        if error.verify_code == NOT_YET:
            begins = f" before {certificate.not_valid_before_utc:%Y-%m-%d}" if certificate else ""
            return f"the certificate at {where} does not hold{begins}; ask the coordinator"
        ended = f" on {certificate.not_valid_after_utc:%Y-%m-%d}" if certificate else ""
        return f"the certificate at {where} expired{ended}; the coordinator must renew it"
    issuer = f" but by {_name(certificate.issuer)!r}" if certificate else ""
    return (
        f"the certificate at {where} is not issued by {ca.name}{issuer}: either the coordinator "
        "has another ca.crt now, or a proxy or antivirus opens the connection; it must not, for "
        "this address"
    )


def _shown(where: str) -> tuple[x509.Certificate | None, datetime | None]:
    """A server's certificate and clock, believed by nobody: for a message only."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            httpx.Client(verify=context, timeout=WAIT_SECONDS) as client,
            client.stream("GET", f"https://{where}/health") as answer,
        ):
            tls = answer.extensions["network_stream"].get_extra_info("ssl_object")
            shown = tls.getpeercert(True)  # noqa: FBT003 - it takes no keywords
            return x509.load_der_x509_certificate(shown), _date(answer)
    except (httpx.HTTPError, OSError, ValueError, KeyError, AttributeError):
        return None, None


def _clock(theirs: datetime | None, ours: datetime) -> str:
    """What is wrong with this machine's clock."""
    if theirs is None:
        return ""
    ahead = (ours - theirs).total_seconds()
    # Theirs comes in whole seconds, and came a moment ago.
    if -MOST_BEHIND <= ahead <= MOST_AHEAD + 1:
        return ""
    side = "ahead of" if ahead > 0 else "behind"
    return (
        f"this machine's clock is {abs(ahead):,.0f} s {side} the coordinator's, which refuses more "
        f"than {MOST_AHEAD:g} s ahead and {MOST_BEHIND:g} s behind; set it (timedatectl)"
    )


def _date(answer: httpx.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return None


def _name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return printable(str(found[0].value) if found else name.rfc4514_string(), 80)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
