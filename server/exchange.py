"""Exchange: messages out, replies in, each told apart by the node that it was sent to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from privacy.errors import SiteError

POLL_SECONDS = 0.1
BUNDLE_REFUSED = 7  # of Flower's `ErrorCode`, which it does not document
SAID = {
    2: "the site's part of Flower failed; its own log says where",
    5: "the site's node went away",
    BUNDLE_REFUSED: (
        "the site refused the bundle; both sides must install the same version of fedward"
    ),
    8: "the site's training process died",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one node.

    Attributes:
        node: The node that was asked. Flower gives another number on errors that it makes
            itself, so this one is taken from the question.
        content: None where something went wrong.
        reason: Why there is no content.
    """

    node: int
    content: RecordDict | None
    reason: str | None = None


@dataclass(slots=True)
class Asked:
    """Questions that are out.

    Attributes:
        grid: Flower's, or one that looks like it.
    """

    grid: Grid
    _pending: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    _unsent: list[int] = field(default_factory=list)

    @property
    def nodes(self) -> set[int]:
        """Who has not answered yet."""
        return {node for node, *_ in self._pending.values()} | set(self._unsent)

    def ask(
        self, contents: Mapping[int, RecordDict], *, message_type: str, round: int, timeout: float
    ) -> None:
        """Sends each node its content.

        Args:
            contents: By node.
            message_type: `train`, `evaluate` or `query.<name>`.
            round: Groups the messages.
            timeout: Seconds; nodes that are silent by then get a reply that says so, and the
                messages expire so that a straggler does not start on them.
        """
        messages = [
            Message(
                content,
                dst_node_id=node,
                message_type=message_type,
                group_id=str(round),
                ttl=timeout,
            )
            for node, content in contents.items()
        ]
        # None stands for a message that the SuperLink did not take; no list at all for too much.
        sent: list[str | None] = list(self.grid.push_messages(messages))
        sent += [None] * (len(messages) - len(sent))
        end = time.monotonic() + timeout
        for name, node in zip(sent, contents, strict=True):
            if name:
                self._pending[name] = (node, timeout, end)
            else:
                self._unsent.append(node)

    def come(self) -> Iterator[Reply]:
        """What has come since the last call, also who is silent for too long; never waits."""
        while self._unsent:
            yield Reply(self._unsent.pop(), None, "the SuperLink did not take the message for it")
        if not self._pending:
            return
        for message in self.grid.pull_messages(list(self._pending)):
            node, *_ = self._pending.pop(message.metadata.reply_to_message_id, (None,))
            if node is None:
                continue
            if message.has_error():
                # Flower's own words may be a whole traceback; its code says enough here.
                yield Reply(node, None, _said(message.error.code))
            else:
                yield Reply(node, message.content)
        now = time.monotonic()
        for name, (node, timeout, end) in list(self._pending.items()):
            if now >= end:
                del self._pending[name]
                yield Reply(node, None, f"no reply within {timeout:g} s")

    def all(self) -> Iterator[Reply]:
        """A reply for each question, as they come; waits for the last."""
        while self.nodes:
            none = True
            for reply in self.come():
                none = False
                yield reply
            if none:
                time.sleep(POLL_SECONDS)


def exchange(
    grid: Grid,
    contents: Mapping[int, RecordDict],
    *,
    message_type: str,
    round: int,
    timeout: float,
) -> Iterator[Reply]:
    """Sends each node its content and yields a reply for each, as they come; see `Asked.ask`."""
    asked = Asked(grid)
    asked.ask(contents, message_type=message_type, round=round, timeout=timeout)
    yield from asked.all()


def _said(code: int) -> str:
    return SAID.get(code, f"Flower reports error {code}")


def content_of(reply: Reply) -> RecordDict:
    """The reply's content.

    Raises:
        SiteError: There is none; with the reason that came instead.
    """
    if reply.content is None:
        raise SiteError(reply.reason or "no reply")
    return reply.content
