"""A site that is ready for a round, and what it was charged and wrote down."""

from __future__ import annotations

from client.site import Site
from privacy.fingerprint import code_fingerprint
from privacy.release import RequestHeader
from tasks.study import Study

Ready = tuple[Site, RequestHeader]


def header(study: Study, **changes: object) -> RequestHeader:
    table = {"study": study.canonical(), "round": 1, "code": code_fingerprint()}
    return RequestHeader.model_validate(table | changes)


def charges(site: Site) -> list[tuple[str, int]]:
    """What the ledger was charged: line and round."""
    entries = site.open_ledger().entries()
    return [(entry.cohort, entry.spend.round) for entry in entries if entry.kind == "spend"]


def events(site: Site) -> list[str]:
    return [line["event"] for line in site.open_log().lines()]
