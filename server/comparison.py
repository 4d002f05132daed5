"""A comparison in MLflow: one run, and the runs of its studies under it.

The study runs themselves are `server.tracking`'s; a `Placed` in their folder hangs them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from server.tracking import RUN_TAG, connect, deliver, delivered, experiment_in


class ComparisonRun:
    """The run of a comparison, made where it is not there.

    Only one process may make it: two that make MLflow's tables at the same time get in each
    other's way.

    Args:
        name: Of the comparison.
        uri: Of the tracking store.
        artifacts: See `server.tracking.deliver`.

    Raises:
        Exception: Whatever MLflow raises.
    """

    def __init__(self, name: str, *, uri: str, artifacts: Path) -> None:
        self._client = connect(uri)
        experiment = experiment_in(self._client, uri=uri, artifacts=artifacts)
        tags = {RUN_TAG: f"compare/{name}", "role": "comparison"}
        found = _runs(self._client, experiment, tags)
        run = found[0] if found else self._client.create_run(experiment, run_name=name, tags=tags)
        self.id = str(run.info.run_id)
        self._client.update_run(self.id, status="RUNNING")

    def end(self, *, failed: bool, tags: Mapping[str, str], files: Sequence[Path] = ()) -> None:
        """The comparison stopped.

        Args:
            failed: Whether some of it is missing.
            tags: What is said of it, such as how many cells it has.
            files: Its table and figures.
        """
        for key, value in tags.items():
            self._client.set_tag(self.id, key, value)
        for file in files:
            self._client.log_artifact(self.id, str(file))
        self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def forget(run: str, *, uri: str, artifacts: Path) -> None:
    """Deletes what MLflow has of a study's run that was broken off, and is begun again.

    Args:
        run: Name of its folder.
        uri: Of the tracking store.
        artifacts: See `server.tracking.deliver`.

    Raises:
        Exception: Whatever MLflow raises.
    """
    client = connect(uri)
    experiment = experiment_in(client, uri=uri, artifacts=artifacts)
    for found in _runs(client, experiment, {RUN_TAG: run}):
        client.delete_run(found.info.run_id)


def conclude(folder: Path, values: Mapping[str, float], *, uri: str, artifacts: Path) -> None:
    """Delivers what still waits of a study's run, and adds its final figures.

    Args:
        folder: The run's.
        values: Finite numbers by name.
        uri: Of the tracking store.
        artifacts: See `server.tracking.deliver`.

    Raises:
        Exception: Whatever MLflow raises.
    """
    deliver(folder, uri=uri, artifacts=artifacts)
    state = delivered(folder)
    if state is None or not state.parent:
        return
    client = connect(uri)
    for key, value in values.items():
        client.log_metric(state.parent, key, value)


def _runs(client: Any, experiment: str, tags: Mapping[str, str]) -> list[Any]:
    said = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    return list(client.search_runs([experiment], said))
