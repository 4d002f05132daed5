"""The Flower ClientApp: a thin adapter around `client.local`."""

from __future__ import annotations

import hashlib
import logging
import traceback
from pathlib import Path

from flwr.app import Context, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from client import local
from client.simulation import simulated_site
from client.site import Site
from privacy import wire
from privacy.errors import SiteError
from privacy.release import Request
from tasks.places import Places

LOG = logging.getLogger("fedward.site")


def sealed(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answers an error with a refusal (`wire.pack_refusal`), so that no exception reaches
    Flower, which sends its text to the server: the text of most exceptions holds the value
    that caused them, a patient's.

    The site's own log gets the class and the places in the code, of a SiteError the text in
    their place. The audit log gets the class and a SiteError's text, of which the coordinator gets
    no more than `SiteError.aloud`.
    """
    try:
        return call_next(message, context)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not get out
        _log(error)
        refusal = wire.pack_refusal(error, site=_refused(context, error, message.metadata))
    return Message(refusal, reply_to=message)


def _log(error: Exception) -> None:
    """Writes an error to the site's own log, without the text of any but a SiteError."""
    if isinstance(error, SiteError):
        LOG.warning("%s: %s", type(error).__name__, error)
        return
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    LOG.error("%s at %s", type(error).__name__, where)


def _refused(context: Context, error: Exception, asked: Metadata) -> str | None:
    """Writes a refusal into the audit log; the site's name, if its configuration can be read."""
    try:
        site = _site(context)
        reason = str(error) if isinstance(error, SiteError) else "failed"
        site.open_log().write(
            "refused", what=asked.message_type, error=type(error).__name__, reason=reason
        )
    except Exception as second:  # noqa: BLE001 - the first is being reported already
        _log(second)
        return None
    return site.name


app = ClientApp(mods=[sealed])


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Takes a study in, or says why not."""
    site, request = _asked(message, context)
    answer = local.hello(site, request.header)
    _decided(site, request)
    content = wire.pack_hello(answer)
    _left(site, content, what="hello")
    return Message(content, reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of local training."""
    return _release(message, context, trains=True)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Tallies of the weights that came."""
    return _release(message, context, trains=False)


def _release(message: Message, context: Context, *, trains: bool) -> Message:
    site, request = _asked(message, context)
    with site.ledger_at_hand():
        content = _answer(site, request, trains=trains)
    return Message(content, reply_to=message)


def _answer(site: Site, request: Request, *, trains: bool) -> RecordDict:
    study = local.admitted(site, request.header)
    contract = study.contract()
    wire.check_weights(request.weights, contract)
    _decided(site, request)
    release = (local.train if trains else local.evaluate)(
        site, study, request.header, dict(request.weights)
    )
    content = wire.pack_release(
        release, contract=contract, ledger=site.open_ledger(), outlet=site.policy.outlet
    )
    _left(
        site,
        content,
        what="update and tallies" if release.update else "tallies",
        round=request.header.round,
        study=study.digest,
        numbers=sum(value.size for value in release.update.values()),
        tallies=", ".join(tally.name for tally in release.tallies),
    )
    return content


def _asked(message: Message, context: Context) -> tuple[Site, Request]:
    """The site, and what it is asked; both are in the audit log from here on."""
    site = _site(context)
    content = message.content
    site.open_log().write(
        "request",
        what=message.metadata.message_type,
        bytes=wire.count_bytes(content),
        digest=wire.digest(content),
    )
    return site, wire.unpack_request(content)


def _decided(site: Site, request: Request) -> None:
    study = hashlib.sha256(request.header.study.encode()).hexdigest()
    site.open_log().write("admitted", study=study, round=request.header.round)


def _left(site: Site, content: RecordDict, **what: str | int) -> None:
    """Says in the audit log what is about to leave; on disk before it does."""
    site.open_log().write(
        "release", bytes=wire.count_bytes(content), digest=wire.digest(content), **what
    )


def _site(context: Context) -> Site:
    """The site that this node is: its operator's site.toml, or one of a simulation.

    `node_config` is set where the node runs. `run_config`, which the coordinator sets, is read
    only where the node was started by Flower's simulation and so is nobody's hospital.
    """
    path = context.node_config.get("site")
    if isinstance(path, str):
        site = Site.read(Path(path))
        if site.test_seed is not None:
            raise SiteError("test_seed is set: the noise could be taken off; remove it")
        return site
    partition = context.node_config.get("partition-id")
    if isinstance(partition, int):
        return simulated_site(partition, Places.of(context.run_config, context.run_id))
    raise SiteError("this node has no site; start it with --node-config 'site=\"/path/site.toml\"'")
