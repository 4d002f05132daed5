"""Studies that are killed and go on, at sites that come and go: for tests of the round loop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flwr.app import Message
from standins import NAMES, Sites

from experiments.simulate.in_process import FIRST_NODE_ID, InProcessGrid, _identity
from server import checkpoint
from server.journal import Follower, Journal
from server.lines import LineWriter
from server.outbox import Outbox
from server.roster import Patience
from server.rounds import Rounds
from tasks.study import Study

AT_ONCE = Patience()


class Keeping(Sites):
    """Sites that keep their answers, and count what they were charged."""

    def __init__(self, study: Study, **wrong: object) -> None:
        super().__init__(study, **wrong)
        self.charged: Counter[tuple[str, int]] = Counter()
        self.fails: dict[tuple[str, int], int] = {}
        self.given: list[tuple[str, str, bytes]] = []
        self._kept: dict[tuple[str, str, bytes], Any] = {}

    def release(self, message, context, *, trains):
        name = NAMES[context.node_config["partition-id"]]
        number = json.loads(message.content["header"]["json"])["round"]
        if trains and self.fails.get((name, number), 0):
            self.fails[name, number] -= 1
            self.charged[name, number] += 1
            raise RuntimeError("died after the charge")
        weights = b"".join(value.data for _, value in sorted(message.content["weights"].items()))
        asked = (name, f"{trains}{number}", weights)
        self.given.append(asked)
        if asked not in self._kept:
            self._kept[asked] = super().release(message, context, trains=trains).content
            if trains:
                self.charged[name, number] += 1
                header = self._kept[asked]["header"]
                said = json.loads(header["json"]) | {"attempt": self.charged[name, number]}
                header["json"] = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return Message(self._kept[asked], reply_to=message)


class Coming(InProcessGrid):
    """A grid whose nodes come and go: `there` says who is there when a round is asked for."""

    there: Callable[[int], Iterable[str]] = staticmethod(lambda _: NAMES)
    round = 0

    def get_node_ids(self) -> list[int]:
        names = set(self.there(self.round))
        return [FIRST_NODE_ID + n for n, name in enumerate(NAMES) if name in names]

    def push_messages(self, messages):
        messages = list(messages)
        for message in messages:
            if message.metadata.message_type == "train":
                self.round = int(message.metadata.group_id)
        return super().push_messages(messages)


class Folder:
    """A run's folder, in which a study is begun and goes on."""

    def __init__(self, study: Study, path: Path, sites: Sites) -> None:
        self.study, self.path, self.sites = study, path, sites
        self.grid = Coming(sites.app, nodes=4, run_config={}, run_id=1)

    def run(self, patience: Patience = AT_ONCE):
        journal, outbox = Journal(self.path / "journal.jsonl"), Outbox(self.path / "outbox.jsonl")
        try:
            with _identity(run_id=1, node_id=1):
                loop = Rounds(self.study, self.grid, self.path, journal, outbox, patience)
                return loop.run()
        finally:
            journal.close()
            outbox.close()

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return [e for e in Follower(self.path / "journal.jsonl").events() if e["event"] in kinds]

    def sent(self) -> list[dict[str, Any]]:
        return list(Follower(self.path / "outbox.jsonl").events())


class Killed(BaseException):
    """Stands in for kill -9."""


class Death:
    """The process dies before or after its nth write; nothing it tries later reaches the disk."""

    def __init__(self, monkeypatch, number: int, *, before: bool) -> None:
        self.left, self.before, self.dead = number, before, False
        for owner, name in ((LineWriter, "write"), (checkpoint, "_write")):
            monkeypatch.setattr(owner, name, self.wrapped(getattr(owner, name)))

    def wrapped(self, write: Callable[..., None]) -> Callable[..., None]:
        def wrapper(*values: Any) -> None:
            if self.dead:
                return
            self.left -= 1
            if self.left > 0 or not self.before:
                write(*values)
            if self.left <= 0:
                self.dead = True
                raise Killed

        return wrapper
