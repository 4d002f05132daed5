"""What the listener for sites lets through.

`tests/experiments/coordinator/test_run.py` runs it with real processes.
"""

from __future__ import annotations

import asyncio

import pytest

from server.deployment import superlink
from server.deployment.config import ServerConfig


def asked(scope: dict[str, object]) -> list[dict[str, object]]:
    """What comes back for a scope; the app behind says that it was reached."""
    sent: list[dict[str, object]] = []

    async def app(scope, receive, send):
        await send({"type": "reached"})

    async def send(message):
        sent.append(message)

    async def receive():
        return {}

    asyncio.run(superlink.fleet_only(app)(scope, receive, send))
    return sent


@pytest.mark.parametrize("path", ["/v1/fleet/activate-node", "/health"])
def test_the_fleet_api_is_reached(path):
    assert asked({"type": "http", "path": path}) == [{"type": "reached"}]


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/v1/control/register-node", "/v1/runtime/pull-task",
     "/V1/FLEET/", "/v1/fleet", "//v1/fleet/x", "/health/", "", "/x/v1/fleet/"],
)  # fmt: skip
def test_nothing_else_is(path):
    start, body = asked({"type": "http", "path": path})
    assert start["status"] == 404
    assert body["body"] == b"not found"


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "other"])
def test_no_other_kind_of_connection_is(kind):
    assert {"type": "reached"} not in asked({"type": kind, "path": "/v1/fleet/x"})


def test_another_flower_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(superlink.metadata, "version", lambda _: "1.42.0")
    monkeypatch.setattr(superlink.os, "environ", {})
    monkeypatch.setattr(superlink.os, "umask", lambda _: 0)
    config = ServerConfig(reached_at="a.example:1", fleet="127.0.0.1:1", folder=tmp_path)
    with pytest.raises(superlink.FlowerDiffers, match=r"made for flwr 1\.41, here is 1\.42\.0"):
        superlink.run(config)
