"""The journal: what happened in a run, one JSON object a line, on disk at once.

The live table, the result file and whoever watches read it; it holds what the coordinator
knows and nothing else: pooled and per-site metrics, spends, bytes, refusals with their reasons.

| event | keys |
| --- | --- |
| `site` | `site`, `declared_patients` |
| `refused` | `site` or `node`, `round`, `reason` |
| `reply` | `site`, `round` |
| `round` | `number` (0: untrained), `metrics`, `sites`, `epsilon`, `epsilons`, `bytes_down`,
  `bytes_up`, `seconds` |
| `end` | `weights` (path of the final weights), `reason` (null, or why the study stopped) |
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """Writes events to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        """Adds one event and flushes it."""
        self._file.write(json.dumps({"event": event, **values}, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class Follower:
    """Reads the events of a journal that somebody else is writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def events(self) -> Iterator[dict[str, Any]]:
        """The whole events since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # half written; read it next time
                self._read += len(line)
                yield json.loads(line)


def finite(value: float | None) -> float | None:
    """The number, or None where it is infinite: JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None
