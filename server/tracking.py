"""MLflow tracking: one parent run for the study, one child run for each site, step = round.

Tracking is never in the way of a study: if MLflow fails, that is said once and training goes on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.metrics import Metrics
from tasks.study import Study

LOG = logging.getLogger("fedward.tracking")
EXPERIMENT = "fedward"
# Without it the UI opens in its mode for language-model applications.
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}


class Tracking:
    """Logs a study to MLflow.

    Args:
        uri: Of the tracking store, such as `sqlite:////path/mlflow.db`.
        artifacts: Folder for artifacts of a store that has none of its own.
    """

    def __init__(self, uri: str, *, artifacts: Path) -> None:
        self._uri = uri
        self._artifacts = artifacts
        self._client: Any = None
        self._parent = ""
        self._children: dict[str, str] = {}
        self._experiment = ""
        self._broken = False

    def start(self, study: Study, sites: Mapping[str, int]) -> None:
        """Opens the runs.

        Args:
            study: Its parameters become the parent's.
            sites: Declared patients by site name.
        """
        self._try(lambda: self._start(study, sites))

    def round(
        self,
        number: int,
        *,
        metrics: Metrics,
        sites: Mapping[str, Metrics],
        epsilons: Mapping[str, float | None],
        extra: Mapping[str, float],
    ) -> None:
        """Logs a round: pooled metrics to the parent, a site's own and its epsilon to its child."""

        def log() -> None:
            known = [value for value in epsilons.values() if value is not None]
            worst = {"epsilon": max(known)} if known else {}
            self._log(self._parent, {**_numbers(metrics), **worst, **extra}, number)
            for name, child in self._children.items():
                epsilon = epsilons.get(name)
                own = {"epsilon": epsilon} if epsilon is not None else {}
                if name in sites:
                    own |= _numbers(sites[name])
                self._log(child, own, number)

        self._try(log)

    def end(self, *, failed: bool) -> None:
        """Closes the runs."""

        def close() -> None:
            status = "FAILED" if failed else "FINISHED"
            for run in (*self._children.values(), self._parent):
                self._client.set_terminated(run, status)

        self._try(close)

    def _start(self, study: Study, sites: Mapping[str, int]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("DO_NOT_TRACK", "true")
        from mlflow import MlflowClient

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.WARNING)

        self._client = MlflowClient(tracking_uri=self._uri)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiment = (
            found.experiment_id
            if found
            else self._client.create_experiment(
                EXPERIMENT,
                artifact_location=self._artifacts.as_uri(),
                tags=MODEL_TRAINING,
            )
        )
        self._parent = self._run(study.name, {"digest": study.digest, "role": "study"})
        for key, value in _flat(study.model_dump(mode="json")).items():
            self._client.log_param(self._parent, key, value)
        self._client.log_dict(self._parent, study.model_dump(mode="json"), "study.json")
        for name, declared in sites.items():
            tags = {
                "mlflow.parentRunId": self._parent,
                "digest": study.digest,
                "role": "site",
                "site": name,
            }
            self._children[name] = self._run(f"{study.name} / {name}", tags)
            self._client.log_param(self._children[name], "declared_patients", declared)

    def _run(self, name: str, tags: dict[str, str]) -> str:
        run = self._client.create_run(self._experiment, run_name=name, tags=tags)
        return str(run.info.run_id)

    def _log(self, run: str, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(
            run, metrics=[Metric(key, value, now, step) for key, value in values.items()]
        )

    def _try(self, act: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - MLflow must never stop a study
            self._broken = True
            LOG.warning(
                "MLflow at %s failed (%s); the study goes on without it",
                self._uri,
                type(error).__name__,
            )


def _numbers(metrics: Metrics) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.model_dump().items() if value is not None}


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested tables as dotted keys; a list as its length, because MLflow cuts long values."""
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            flat[f"{prefix}{key}.number"] = str(len(value))
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
