"""The Flower ClientApp: a thin adapter around `client.local`."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable

from client import local
from client.simulation import simulated_site
from client.site import Site
from privacy import wire
from privacy.errors import SiteError
from tasks.places import Places

LOG = logging.getLogger("fedward.site")


def sealed(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answers an error with a refusal (`wire.pack_refusal`), so that no exception reaches
    Flower, which sends its text to the server: the text of most exceptions holds the value
    that caused them, a patient's.

    The site's own log gets the class and the places in the code, of a SiteError also the text.
    """
    try:
        return call_next(message, context)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not get out
        _log(error)
        refusal = wire.pack_refusal(error, site=_name(context))
    return Message(refusal, reply_to=message)


def _log(error: Exception) -> None:
    """Writes an error to the site's own log, without the text of any but a SiteError."""
    if isinstance(error, SiteError):
        LOG.warning("%s: %s", type(error).__name__, error)
        return
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    LOG.error("%s at %s", type(error).__name__, where)


def _name(context: Context) -> str | None:
    """The site's name, if its configuration can be read at all."""
    try:
        return _site(context).name
    except Exception:  # noqa: BLE001 - it is being reported already
        return None


app = ClientApp(mods=[sealed])


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Takes a study in, or says why not."""
    request = wire.unpack_request(message.content)
    return Message(wire.pack_hello(local.hello(_site(context), request.header)), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of local training."""
    return _release(message, context, trains=True)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Tallies of the weights that came."""
    return _release(message, context, trains=False)


def _release(message: Message, context: Context, *, trains: bool) -> Message:
    site, request = _site(context), wire.unpack_request(message.content)
    study = local.admitted(site, request.header)
    contract = study.contract()
    wire.check_weights(request.weights, contract)
    release = (local.train if trains else local.evaluate)(
        site, study, request.header, dict(request.weights)
    )
    content = wire.pack_release(release, contract=contract, ledger=site.open_ledger())
    return Message(content, reply_to=message)


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
