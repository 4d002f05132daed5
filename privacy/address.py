"""HOST:PORT, as both sides write it in their files."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
_LONGEST_NAME = 253


def split_address(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
        ValueError: It is something else.

    >>> split_address("[::1]:9443")
    ('::1', 9443)
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("must be HOST:PORT, such as fedward.example.org:9443")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    check_host(bare)
    if (":" in bare) != (bare != host):
        raise ValueError("an IPv6 address stands in brackets, such as [::1]:9443")
    return bare, int(port)


def join_address(host: str, port: int) -> str:
    """The text that `split_address` reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_host(host: str) -> str:
    """The host itself.

    Raises:
        ValueError: It is neither an IP address nor a host name.
    """
    if ip_of(host) is None and not (_NAME.fullmatch(host) and len(host) <= _LONGEST_NAME):
        raise ValueError("is neither an IP address nor a host name; leave out https:// and paths")
    return host


def ip_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a host is; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether a host can be reached from its own machine only."""
    ip = ip_of(host)
    return host == "localhost" if ip is None else ip.is_loopback


def _checked(text: str) -> str:
    split_address(text)
    return text


HostPort = Annotated[str, AfterValidator(_checked)]
"""A field that holds HOST:PORT."""
