"""How one FHIR resource names another, and the keys by which it can be named.

| a reference says | key |
| --- | --- |
| `Patient/1`, `https://a.org/fhir/Patient/1`, `Patient/1/_history/2` | `Patient/1` |
| `Patient?_id=1` | `Patient/1` |
| `Patient?identifier=system|value` | `Patient?system|value` |
| `Patient?identifier=value`, or an `identifier` without a system | `Patient?value` |
| no `reference` but an `identifier` | `Patient?system|value` |
| `urn:uuid:...` | itself in lower case |

A bulk export has no `fullUrl`: `urn:uuid:` finds a resource whose id or identifier it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from client.sources.fhir_shape import listed, text

_LITERAL = re.compile(r"(?:^|.*/)([A-Za-z]+)/([^/?#|\s]+)(?:/_history/[^/]+)?")


def key_of(reference: object, kind: str) -> str | None:
    """The key of what a Reference names.

    Args:
        reference: The object that holds `reference` or `identifier`.
        kind: The resource type that it must name.

    Returns:
        None where it names nothing, something of another type, or in a way that cannot be followed.
    """
    said = text(reference, "reference")
    if said:
        return key_of_url(said, kind)
    value = text(reference, "identifier", "value")
    return _identified(kind, text(reference, "identifier", "system"), value) if value else None


def key_of_url(url: str, kind: str) -> str | None:
    """The key of what a reference's text names; see `key_of`."""
    if url.lower().startswith("urn:"):
        return url.lower()  # as keys_of has them
    path, asked, query = url.partition("?")
    if asked:
        return _searched(query, kind) if path.rpartition("/")[2] == kind else None
    found = _LITERAL.fullmatch(url)
    return f"{kind}/{found[2]}" if found and found[1] == kind else None


def binary_key(attachment: object) -> str | None:
    """The key of the Binary that an attachment's url names; None where it names none."""
    key = key_of_url(text(attachment, "url"), "Binary")
    return key and re.sub(r"^urn:uuid:", "Binary/", key)


def keys_of(resource: object, kind: str) -> Iterator[str]:
    """Every key by which a resource can be named."""
    own = text(resource, "id")
    if own:
        yield f"{kind}/{own}"
        yield f"urn:uuid:{own.lower()}"
    for identifier in listed(resource, "identifier"):
        system, value = text(identifier, "system"), text(identifier, "value")
        if value:
            yield from {_identified(kind, system, value), _identified(kind, "", value)}
        if value.lower().startswith("urn:"):
            yield value.lower()


def by_key(resources: Iterable[tuple[str, object]], kind: str) -> dict[str, str | None]:
    """The id of the resource that each key names; None where it names several.

    Args:
        resources: Each with its id.
        kind: Their resource type.
    """
    found: dict[str, str | None] = {}
    for own, resource in resources:
        for key in keys_of(resource, kind):
            found[key] = own if found.get(key, own) == own else None
    return found


def _searched(query: str, kind: str) -> str | None:
    # By hand: parse_qs turns the + of an identifier into a space.
    terms = [term.partition("=") for term in query.split("&")]
    if len(terms) != 1:
        return None
    name, _, value = terms[0]
    if name == "_id" and value:
        return f"{kind}/{unquote(value)}"
    if name != "identifier" or not value:
        return None
    system, bar, rest = unquote(value).partition("|")
    return _identified(kind, system, rest) if bar else _identified(kind, "", system)


def _identified(kind: str, system: str, value: str) -> str:
    return f"{kind}?{system}|{value}" if system else f"{kind}?{value}"
