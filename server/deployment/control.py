"""The Control API of the coordinator's own SuperLink: who may connect, and what runs.

Flower gives no library for it: this is what `flwr supernode register` and `flwr run` do, with
Flower's own client (`flwr.supercore.control`, not documented; tests/server/deployment run it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from privacy.bundle import bundle
from server.deployment.config import ServerConfig
from server.deployment.sites import Enrolled


class ControlFailed(Exception):
    """The SuperLink did not answer, or not as it should; in one line."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What was done so that the SuperLink knows the enrolled sites and no others.

    Attributes:
        registered: Names of sites that it knows now.
        removed: Names of nodes that it knows no more.
    """

    registered: tuple[str, ...]
    removed: tuple[str, ...]


def synchronize(config: ServerConfig, sites: Sequence[Enrolled]) -> Changes:
    """Makes the nodes that may connect those that are enrolled; again changes nothing.

    Raises:
        ControlFailed: The SuperLink does not run, or refuses.
    """
    from flwr.proto.control_pb2 import (
        ListNodesRequest,
        RegisterNodeRequest,
        UnregisterNodeRequest,
    )

    wanted = {site.public_key(): site.name for site in sites}
    with _client(config) as client:
        nodes = client.ListNodes(ListNodesRequest()).nodes_info
        there = {bytes(node.public_key): node for node in nodes if node.status != "unregistered"}
        gone = [node for key, node in there.items() if key not in wanted]
        for node in gone:
            client.UnregisterNode(UnregisterNodeRequest(node_id=node.node_id))
        new = {key: name for key, name in wanted.items() if key not in there}
        for key, name in new.items():
            client.RegisterNode(RegisterNodeRequest(public_key=key, name=name))
    return Changes(tuple(new.values()), tuple(node.name or str(node.node_id) for node in gone))


def submit(config: ServerConfig, settings: Mapping[str, str | int]) -> int:
    """Submits the bundle of this installation.

    Args:
        config: The coordinator's.
        settings: The run's configuration; see `server.app.main`.

    Returns:
        Flower's number of the run.

    Raises:
        ControlFailed: See `synchronize`.
    """
    from flwr.common.serde import fab_to_proto, user_config_to_proto
    from flwr.proto.control_pb2 import StartRunRequest
    from flwr.supercore.fab import Fab

    content = bundle()
    fab = Fab(hashlib.sha256(content).hexdigest(), content, {})
    request = StartRunRequest(
        fab=fab_to_proto(fab), override_config=user_config_to_proto(dict(settings)), federation=""
    )
    with _client(config) as client:
        return int(client.StartRun(request).run_id)


def ended(config: ServerConfig, run_id: int) -> str | None:
    """How a run ended, in Flower's words; None while it goes on.

    Raises:
        ControlFailed: See `synchronize`.
    """
    from flwr.proto.control_pb2 import ListRunsRequest

    with _client(config) as client:
        runs = client.ListRuns(ListRunsRequest(run_id=run_id)).run_dict
        if run_id not in runs:
            return "the SuperLink does not know the run"
        status = runs[run_id].status
    if status.status != "finished":
        return None
    return f"{status.sub_status}: {status.details}" if status.details else str(status.sub_status)


def stop(config: ServerConfig, run_id: int) -> None:
    """Stops a run; one that has ended stays as it is.

    Raises:
        ControlFailed: See `synchronize`.
    """
    from flwr.proto.control_pb2 import StopRunRequest

    if ended(config, run_id) is None:
        with _client(config) as client:
            client.StopRun(StopRunRequest(run_id=run_id))


@contextmanager
def _client(config: ServerConfig) -> Iterator[Any]:
    """Flower's client of the Control API.

    Raises:
        ControlFailed: See `synchronize`.
    """
    import httpx
    from flwr.supercore.control import ControlHttpClient
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

    client = ControlHttpClient.from_server_address(
        server_address=config.control,
        insecure=False,
        root_certificates=config.at(config.control_ca).read_bytes(),
        interceptors=[RuntimeVersionHttpInterceptor(component_name="fedward")],
    )
    try:
        yield client
    except httpx.HTTPStatusError as error:
        raise ControlFailed(f"the SuperLink refused: {error.response.text[:200]}") from None
    except httpx.TransportError as error:
        raise ControlFailed(
            f"the SuperLink does not answer at {config.control} ({type(error).__name__})"
        ) from None
    finally:
        client.close()
