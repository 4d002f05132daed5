"""The journal: what happened in a run, one JSON object a line, on disk at once.

The live table, the result file and whoever watches read it; it holds what the coordinator
knows and nothing else: pooled and per-site metrics, spends, bytes, refusals with their reasons.
Every event says `at`, the time in UTC.

| event | keys |
| --- | --- |
| `start` | `round` (that is asked for next), `rounds`; again each time the study goes on |
| `waiting` | `sites` that take part, `wanted` |
| `site` | `site`, `declared_patients`: takes part from now on |
| `left`, `back` | `site`: its node went away, or came back |
| `refused` | `site` or `node`, `round`, `reason` |
| `rests` | `site`, `every`: it missed rounds and is asked for every fourth one only |
| `asked` | `round`, `sites`: each may be charged for it |
| `reply` | `site`, `round`, `update` (false: tallies alone) |
| `round` | `number` (0: untrained), `metrics`, `sites`, `epsilon`, `epsilons`, `bytes_down`,
  `bytes_up`, `seconds` |
| `end` | `weights` (path of the final weights), `reason` (null, or why the study stopped) |
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server.lines import Follower, LineWriter

__all__ = ["FILE", "Follower", "Journal", "finite"]

FILE = "journal.jsonl"


class Journal:
    """Writes events to a file; goes on where an earlier process left off.

    Attributes:
        before: What stood there already.
    """

    def __init__(self, path: Path) -> None:
        self._lines = LineWriter(path)
        self.before = tuple(Follower(path).events())

    def write(self, event: str, **values: Any) -> None:
        """Adds one event; on disk when this returns."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._lines.write({"event": event, "at": now, **values})

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()


def finite(value: float | None) -> float | None:
    """The number, or None where it is infinite: JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None
