"""Asks the ClientApp as Flower does, without processes."""

from __future__ import annotations

from flwr.app import RecordDict

from client.app import app
from experiments.simulate.in_process import InProcessGrid, _identity
from server.exchange import Reply, exchange


def ask(content: RecordDict, kind: str = "query.hello", **config: object) -> Reply:
    """The answer of one node that was started with this configuration."""
    grid = InProcessGrid(app, nodes=1, run_config={}, run_id=1)
    for context in grid._contexts.values():
        context.node_config = dict(config)
    nodes = dict.fromkeys(grid.get_node_ids(), content)
    with _identity(run_id=1, node_id=1):
        (reply,) = exchange(grid, nodes, message_type=kind, round=0, timeout=10)
    return reply
