"""Exchange: messages out, replies in, each told apart by the site that it was sent to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

POLL_SECONDS = 0.1
BUNDLE_REFUSED = 7  # of Flower's `ErrorCode`, which it does not document


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


def exchange(
    grid: Grid,
    contents: Mapping[int, RecordDict],
    *,
    message_type: str,
    round: int,
    timeout: float,
) -> Iterator[Reply]:
    """Sends each node its content and yields a reply for each, as they come.

    Args:
        grid: Flower's, or one that looks like it.
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
    sent = list(grid.push_messages(messages))
    pending = dict(zip(sent, contents, strict=True))
    end = time.monotonic() + timeout
    while pending and time.monotonic() < end:
        came = list(grid.pull_messages(list(pending)))
        for message in came:
            node = pending.pop(message.metadata.reply_to_message_id, None)
            if node is None:
                continue
            if message.has_error():
                # Flower's own words may be a whole traceback; its code says enough here.
                yield Reply(node, None, _said(message.error.code))
            else:
                yield Reply(node, message.content)
        if pending and not came:
            time.sleep(POLL_SECONDS)
    for node in pending.values():
        yield Reply(node, None, f"no reply within {timeout:g} s")


def _said(code: int) -> str:
    if code == BUNDLE_REFUSED:
        return "the site refused the bundle; both sides must install the same version of fedward"
    return f"Flower reports error {code}"
