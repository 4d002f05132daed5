"""The in-process engine: a Flower Grid whose nodes are calls of one ClientApp.

No Ray, no SuperLink, no thread, no polling. `pull_messages` runs one waiting client and returns
its reply, so a ServerApp that polls sees every reply as it is done; what was pushed and never
pulled never runs.

Not documented by Flower 1.41, all of it used in this file only (a test runs it whole, so that a
new Flower fails loudly): `TaskIdentity`, which `Message(...)` reads; `Run.create_empty`;
`make_message`; the `_message_id` of a message's metadata, which can be set in no other way; the
codes of `ErrorCode`.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.app.message import make_message
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

Config = Mapping[str, bool | int | float | str]

FIRST_NODE_ID = 1001  # not 1: that is the SuperLink, which signs replies of its own with it


def run_in_process(
    server_app: ServerApp, client_app: ClientApp, *, nodes: int, run_config: Config
) -> None:
    """Runs both apps to the end. An exception of the ServerApp comes through."""
    run_id = 1
    context = Context(
        run_id=run_id,
        node_id=SUPERLINK_NODE_ID,
        node_config={},
        state=RecordDict(),
        run_config=dict(run_config),
    )
    grid = InProcessGrid(client_app, nodes=nodes, run_config=run_config, run_id=run_id)
    with _identity(run_id=run_id, node_id=SUPERLINK_NODE_ID):
        server_app(grid=grid, context=context)


class InProcessGrid(Grid):
    """See the module.

    Args:
        client_app: Called for every message.
        nodes: How many nodes; each gets `partition-id` and `num-partitions`, as in Flower's
            simulation.
        run_config: Of the run.
        run_id: Of the run.
    """

    def __init__(
        self, client_app: ClientApp, *, nodes: int, run_config: Config, run_id: int
    ) -> None:
        self._app = client_app
        self._run = Run.create_empty(run_id=run_id)
        self._run.override_config = dict(run_config)
        self._waiting: dict[str, Message] = {}  # in the order of pushing
        self._contexts = {
            FIRST_NODE_ID + number: Context(
                run_id=run_id,
                node_id=FIRST_NODE_ID + number,
                node_config={"partition-id": number, "num-partitions": nodes},
                state=RecordDict(),
                run_config=dict(run_config),
            )
            for number in range(nodes)
        }

    def set_run(self, run: Run) -> None:
        """See `Grid.set_run`."""
        self._run = run

    @property
    def run(self) -> Run:
        """See `Grid.run`."""
        return copy.copy(self._run)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """See `Grid.create_message`."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """See `Grid.get_node_ids`."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """See `Grid.push_messages`; each client gets records of its own."""
        names = []
        for message in messages:
            name = str(uuid.uuid4())
            message.metadata.__dict__["_message_id"] = name
            self._waiting[name] = make_message(
                metadata=copy.copy(message.metadata), content=_clone(message.content)
            )
            names.append(name)
        return names

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Runs the first waiting client among `message_ids`, if any, and returns its reply."""
        wanted = set(message_ids)
        for name in self._waiting:
            if name in wanted:
                return [self._answer(self._waiting.pop(name))]
        return []

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """See `Grid.send_and_receive`."""
        waiting = self.push_messages(messages)
        end = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while len(replies) < len(waiting) and (end is None or time.monotonic() < end):
            replies += self.pull_messages(waiting)
        return replies

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        with _identity(run_id=message.metadata.run_id, node_id=node):
            try:
                reply = self._app(message, self._contexts[node])
                if reply.has_content():
                    reply = make_message(metadata=reply.metadata, content=_clone(reply.content))
            except Exception as error:
                # What a SuperNode answers for a ClientApp that raised.
                reply = Message(
                    Error(
                        code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
                        reason=f"{type(error)!s}:<'{error!s}'>",
                    ),
                    reply_to=message,
                )
        reply.metadata.__dict__["_message_id"] = str(uuid.uuid4())
        return reply


def _clone(content: RecordDict) -> RecordDict:
    """The receiver's own records; the payload of an Array is immutable bytes and is shared."""
    out = RecordDict()
    for name, record in content.items():
        out[name] = (
            ArrayRecord({key: copy.copy(array) for key, array in record.items()})
            if isinstance(record, ArrayRecord)
            else copy.deepcopy(record)
        )
    return out


@contextmanager
def _identity(*, run_id: int, node_id: int) -> Iterator[None]:
    """Is one Flower process for a while; `Message(...)` takes run and node from here."""
    kept = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = node_id, run_id, node_id
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = kept
