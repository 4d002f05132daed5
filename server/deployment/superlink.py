"""The SuperLink with a second listener, for sites, that serves the Fleet API and nothing else.

Flower serves all its APIs on one port, and asks nobody there but nodes who they are: whoever
reaches it can submit runs, register keys and take the ServerApp's task with every update. So
that port is on 127.0.0.1, and sites reach the listener made here.

Not documented by Flower 1.41, used in this file only: the module of its command calls
`uvicorn.run` once, with its app. If it ever does not, sites find nothing listening.
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys
import threading
import types
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import metadata
from pathlib import Path
from typing import Any

from privacy.address import split_address
from privacy.process import end_with_parent, surroundings
from server.deployment.config import ServerConfig

FLOWER = "1.41"
COMMAND = "flwr.superlink.cli.flower_superlink"
OPEN = "/v1/fleet/"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class FlowerDiffers(Exception):
    """This Flower is not the one that the listener was written for and tested with."""


def fleet_only(app: App) -> App:
    """An ASGI app of which only the Fleet API and `/health` are left; all else is not found."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and (path.startswith(OPEN) or path == "/health"):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b"not found"})
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    return guarded


def run(config: ServerConfig) -> None:
    """Runs the SuperLink until it is told to stop. Has the process to itself.

    Raises:
        FlowerDiffers: Flower is of another minor, or has changed where it should not.
        OSError: The address for sites cannot be bound.
    """
    os.umask(0o077)  # Flower's database would be open to all
    os.environ |= surroundings(config.at(config.flower), os.environ)
    version = metadata.version("flwr")
    if version.split(".")[:2] != FLOWER.split("."):
        raise FlowerDiffers(f"fedward's SuperLink is made for flwr {FLOWER}, here is {version}")
    host, port = split_address(config.fleet)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    command: Any = importlib.import_module(COMMAND)
    uvicorn: Any = getattr(command, "uvicorn", None)
    if not hasattr(uvicorn, "run") or not hasattr(command, "flower_superlink"):
        raise FlowerDiffers(f"{COMMAND} of flwr {version} does not serve by uvicorn.run")

    def serve(app: App, **options: Any) -> None:
        _serve(uvicorn, app, config, listener, options)

    command.uvicorn = types.SimpleNamespace(**(vars(uvicorn) | {"run": serve}))
    sys.argv = ["flower-superlink", *_arguments(config)]
    command.flower_superlink()


def _arguments(config: ServerConfig) -> list[str]:
    options: dict[str, object] = {
        "--host": "127.0.0.1",
        "--port": config.control_port,
        "--ssl-ca-certfile": config.at(config.control_ca),
        "--ssl-certfile": config.at(config.control_certificate),
        "--ssl-keyfile": config.at(config.control_key),
        "--database": config.at(config.database),
        "--isolation": "process",
        "--superexec-auth-secret-file": config.at(config.superexec_secret),
    }
    return [str(word) for pair in options.items() for word in pair] + ["--enable-supernode-auth"]


def _serve(
    uvicorn: Any, app: App, config: ServerConfig, listener: socket.socket, options: dict[str, Any]
) -> None:
    """Serves both ports; when either fails, both end."""
    quiet = {"access_log": False, "log_config": options.get("log_config")}
    whole = uvicorn.Server(uvicorn.Config(app, **{**options, "access_log": False}))
    fleet = uvicorn.Server(
        uvicorn.Config(
            fleet_only(app),
            lifespan="off",  # the other server's
            ssl_certfile=str(config.at(config.certificate)),
            ssl_keyfile=str(config.at(config.key)),
            **quiet,
        )
    )
    failed = threading.Event()

    def serve_fleet() -> None:
        try:
            fleet.run(sockets=[listener])
        finally:
            failed.set()
            whole.should_exit = True

    thread = threading.Thread(target=serve_fleet, name="fleet", daemon=True)
    thread.start()
    whole.run()
    ended = failed.is_set()
    fleet.should_exit = True
    thread.join(5)
    if ended or not whole.started:
        sys.exit(1)


def main() -> None:
    """`python -m server.deployment.superlink SERVER_TOML`."""
    parser = argparse.ArgumentParser(prog="python -m server.deployment.superlink")
    parser.add_argument("config", type=Path, help="server.toml")
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent")
    given = parser.parse_args()
    if given.parent is not None:
        end_with_parent(given.parent)
    try:
        run(ServerConfig.read(given.config))
    except (FlowerDiffers, OSError, ValueError) as error:
        parser.exit(1, f"fedward: {error}\n")


if __name__ == "__main__":
    main()
