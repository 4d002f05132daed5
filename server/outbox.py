"""The outbox: what is to be logged to MLflow, on disk, in order.

A study writes here and never to MLflow itself, so MLflow may be slow, down or gone; whoever has
time delivers (`server.tracking`). Each line carries the time at which it was true, so that
delivering it twice writes nothing twice.

| op | keys |
| --- | --- |
| `study` | `study` (all of it), `digest` |
| `site` | `site`, `declared_patients` |
| `metrics` | `site` (null: the study), `step` (the round), `values` |
| `status` | `status`: `RUNNING`, `FINISHED` or `FAILED` |

Every line has `at`, milliseconds since 1970.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.lines import Follower, LineWriter
from tasks.metrics import Metrics
from tasks.study import Study

FILE = "outbox.jsonl"


class Outbox:
    """Writes what is to be logged.

    Args:
        path: The file; what stands in it stays.
    """

    def __init__(self, path: Path) -> None:
        self._lines = LineWriter(path)
        before = list(Follower(path).events())
        self._study = any(line["op"] == "study" for line in before)
        self._sites = {line["site"] for line in before if line["op"] == "site"}
        self._steps = {(line["site"], line["step"]) for line in before if line["op"] == "metrics"}

    def start(self, study: Study) -> None:
        """The study runs; its parameters become the parent run's."""
        if self._study:
            self._write("status", status="RUNNING")
        else:
            self._write("study", study=study.model_dump(mode="json"), digest=study.digest)
            self._study = True

    def site(self, name: str, declared_patients: int) -> None:
        """A site takes part; it gets a child run."""
        if name not in self._sites:
            self._sites.add(name)
            self._write("site", site=name, declared_patients=declared_patients)

    def round(
        self,
        number: int,
        *,
        metrics: Metrics,
        sites: Mapping[str, Metrics],
        epsilons: Mapping[str, float | None],
        extra: Mapping[str, float],
    ) -> None:
        """A round: pooled metrics to the parent, a site's own and its epsilon to its child.

        What of a round stands here already is not written again.
        """
        known = [value for value in epsilons.values() if value is not None]
        worst = {"epsilon": max(known)} if known else {}
        self._metrics(None, number, _numbers(metrics) | worst | dict(extra))
        for name in sorted(self._sites):
            epsilon = epsilons.get(name)
            own = {"epsilon": epsilon} if epsilon is not None else {}
            if name in sites:
                own |= _numbers(sites[name])
            if own:
                self._metrics(name, number, own)

    def end(self, *, failed: bool) -> None:
        """The study stopped."""
        self._write("status", status="FAILED" if failed else "FINISHED")

    def close(self) -> None:
        """Closes the file."""
        self._lines.close()

    def _metrics(self, site: str | None, step: int, values: Mapping[str, float]) -> None:
        if (site, step) not in self._steps:
            self._write("metrics", site=site, step=step, values=dict(values))
            self._steps.add((site, step))

    def _write(self, op: str, **values: Any) -> None:
        self._lines.write({"op": op, "at": int(time.time() * 1000), **values})


def _numbers(metrics: Metrics) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.model_dump().items() if value is not None}
