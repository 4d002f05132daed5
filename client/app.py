"""The Flower ClientApp: a thin adapter around `client.local`."""

from __future__ import annotations

import faulthandler
import hashlib
import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from flwr.app import Context, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from client import local
from client.simulation import simulated_site
from client.site import Site
from privacy import wire
from privacy.errors import SiteError, TookTooLong, in_words
from privacy.release import Request
from privacy.weights import check_weights
from tasks.places import Places

LOG = logging.getLogger("fedward.site")


KILL_SECONDS = 30.0
"""From when a message is given up until its process is ended."""


def timed(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Gives up a message that takes longer than the site allows: one that hangs would keep the
    node for ever, which looks alive meanwhile.

    First with a refusal, by an exception in the main thread. Where Python does not come to raise
    it (a lock held in C, an answer that hangs itself), the process ends `KILL_SECONDS` later, and
    Flower says so. Where it stood goes to stderr, the node's log: files and lines, no values.

    Deployed sites only: each of their messages has a process to itself. In a simulation it is
    shared.
    """
    seconds = _longest(context)
    if seconds is None:
        return call_next(message, context)

    def give_up(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TookTooLong(
            f"a {message.metadata.message_type} message took longer than "
            f"coordinator.longest_message_minutes, {seconds / 60:g}; raise it if that is too few"
        )

    # Of C, not of Python: it needs no lock of the interpreter's.
    faulthandler.dump_traceback_later(
        seconds + KILL_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr
    )
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, give_up) if main else None
    try:
        if main:
            signal.setitimer(signal.ITIMER_REAL, seconds)
        return call_next(message, context)
    except TookTooLong as error:  # raised while another error was being answered
        _log(error)
        return Message(wire.pack_refusal(error), reply_to=message)
    finally:
        if main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def _longest(context: Context) -> float | None:
    """Seconds that a message may take; None where nothing says so."""
    if not isinstance(context.node_config.get("site"), str):
        return None
    try:
        coordinator = _site(context).coordinator
    except (SiteError, OSError, ValueError):
        return None  # the message is refused for that in a moment
    return None if coordinator is None else coordinator.longest_message_minutes * 60


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
        LOG.warning("%s", in_words(error))
    else:
        LOG.error("%s", in_words(error))


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


app = ClientApp(mods=[timed, sealed])


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
    check_weights(request.weights, contract)
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
