"""MLflow tracking: one parent run for the study, one child run for each site, step = round.

MLflow is never in the way of a study, which writes to its outbox only (`server.outbox`). Here the
outbox is delivered, by whoever has time: a thread of the study's own process while that lives
(`Courier`), afterwards the coordinator's daemon. Each line may be delivered again after a crash:
runs are found by a tag before they are made, and a metric with the same step, time and value is
the same row to MLflow.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from privacy.files import locked
from privacy.spec import Spec
from server.lines import Follower
from server.outbox import FILE

LOG = logging.getLogger("fedward.tracking")
EXPERIMENT = "fedward"
STATE = "tracking.json"
PLACED = "comparison.json"
RUN_TAG = "fedward.run"
# Without it the UI opens in its mode for language-model applications.
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
LASTING = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"}
"""Codes of MLflow's that another try will not change, such as of a run deleted in its UI."""
POLL_SECONDS, LONGEST_WAIT = 0.5, 30.0


class Delivered(Spec):
    """How far an outbox was delivered, and to which runs.

    Attributes:
        uri: Of the tracking store; to another one everything is delivered again.
        through: Bytes of the outbox whose lines were delivered.
        experiment: MLflow's id of it.
        parent: MLflow's id of the study's run.
        children: Of each site's.
    """

    uri: str
    through: int = 0
    experiment: str = ""
    parent: str = ""
    children: dict[str, str] = {}


class Placed(Spec):
    """Where a run stands in a comparison. Written into its folder before it starts; its run in
    MLflow then hangs under the comparison's.

    Attributes:
        under: MLflow's id of the comparison's run.
        values: The run's value on each axis that is compared.
    """

    under: str
    values: dict[str, str]

    def write(self, folder: Path) -> None:
        """Puts it into a run's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLACED).write_text(self.model_dump_json(), "utf-8")


def delivered(folder: Path) -> Delivered | None:
    """How far a run's outbox was delivered; None where nothing was."""
    path = folder / STATE
    return Delivered.model_validate_json(path.read_bytes()) if path.exists() else None


def waiting(folder: Path) -> int:
    """How many lines of a run's outbox are not delivered; reads no others."""
    state = delivered(folder)
    follower = Follower(folder / FILE, read=state.through if state else 0)
    return sum(1 for _ in follower.events())


def deliver(folder: Path, *, uri: str, artifacts: Path) -> int:
    """Delivers what waits in a run's outbox, in order.

    Args:
        folder: The run's; its name is the run's tag in MLflow.
        uri: Of the tracking store, such as `sqlite:////path/mlflow.db`.
        artifacts: Folder for artifacts where the store is a file and so has none of its own.

    Returns:
        How many lines were delivered; 0 also where another process is doing it.

    Raises:
        Exception: Whatever MLflow raises; what was delivered before counts.
    """
    try:
        with locked(folder / "outbox.lock", exclusive=True, wait=0):
            return _Delivery(folder, uri, artifacts).run()
    except TimeoutError:
        return 0


class Courier:
    """Delivers a run's outbox from a thread, until it is told to finish.

    Args:
        folder: See `deliver`, as the others.
    """

    def __init__(self, folder: Path, *, uri: str, artifacts: Path) -> None:
        self._folder, self._uri, self._artifacts = folder, uri, artifacts
        self._told = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._work, name="courier", daemon=True)
        self._thread.start()

    def finish(self, *, failing_seconds: float = 5.0, seconds: float = 60.0) -> int:
        """Waits until everything is delivered.

        Args:
            failing_seconds: At most, while MLflow does not answer.
            seconds: At most.

        Returns:
            How many lines are left.
        """
        began = time.monotonic()
        self._told.set()
        while self._thread.is_alive():
            passed = time.monotonic() - began
            if passed > seconds or (self._failing and passed > failing_seconds):
                break
            self._thread.join(0.1)
        left = waiting(self._folder)
        if left:
            LOG.warning(
                "%d entries wait in %s for MLflow at %s", left, self._folder / FILE, self._uri
            )
        return left

    def _work(self) -> None:
        wait, last = POLL_SECONDS, False
        while not last:
            # Told before the outbox is read: nothing is written after that.
            last = self._told.is_set()
            try:
                if waiting(self._folder):
                    deliver(self._folder, uri=self._uri, artifacts=self._artifacts)
            except Exception as error:  # noqa: BLE001 - MLflow must never stop a study
                self._say(error)
                last, wait = False, min(2 * wait, LONGEST_WAIT)
            else:
                self._failing, wait = False, POLL_SECONDS
            if not last:
                self._told.wait(wait) if not self._told.is_set() else time.sleep(POLL_SECONDS)

    def _say(self, error: Exception) -> None:
        if not self._failing:
            LOG.warning(
                "MLflow at %s does not take what it is given (%s); the study goes on, and what it "
                "missed waits on disk",
                self._uri,
                type(error).__name__,
            )
        self._failing = True


class _Delivery:
    """One delivery under way."""

    def __init__(self, folder: Path, uri: str, artifacts: Path) -> None:
        self._folder, self._artifacts = folder, artifacts
        state = delivered(folder)
        self._state = state if state is not None and state.uri == uri else Delivered(uri=uri)
        self._client = connect(uri)
        path = folder / PLACED
        self._placed = Placed.model_validate_json(path.read_bytes()) if path.exists() else None

    def run(self) -> int:
        act: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "study": self._study,
            "site": self._site,
            "metrics": self._metrics,
            "status": self._status,
        }
        outbox, number = Follower(self._folder / FILE, read=self._state.through), 0
        for line in outbox.events():
            self._once(act[line["op"]], line)
            self._keep(through=outbox.read)
            number += 1
        return number

    def _once(self, act: Callable[[Mapping[str, Any]], None], line: Mapping[str, Any]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            act(line)
        except MlflowException as error:
            if error.error_code not in LASTING or not self._state.parent:
                raise
            LOG.warning("MLflow refuses an entry for good (%s); it is left out", error.error_code)

    def _study(self, line: Mapping[str, Any]) -> None:
        study, placed = line["study"], self._placed
        experiment = experiment_in(self._client, uri=self._state.uri, artifacts=self._artifacts)
        name, tags = study["name"], {"digest": line["digest"], "role": "study"}
        axes = {}
        if placed is not None:
            name = ", ".join(f"{axis} {value}" for axis, value in placed.values.items())
            tags["mlflow.parentRunId"] = placed.under
            axes = {f"compare.{axis}": value for axis, value in placed.values.items()}
        parent = self._run(experiment, name, tags)
        self._keep(experiment=experiment, parent=parent)
        for key, value in (_flat(study) | axes).items():
            self._client.log_param(parent, key, value)
        self._client.log_dict(parent, study, "study.json")

    def _site(self, line: Mapping[str, Any]) -> None:
        name = line["site"]
        parent = self._client.get_run(self._state.parent)
        tags = {
            "mlflow.parentRunId": self._state.parent,
            "digest": parent.data.tags["digest"],
            "role": "site",
            "site": name,
        }
        label = f"{parent.info.run_name} / {name}"
        child = self._run(self._state.experiment, label, tags)
        self._keep(children=self._state.children | {name: child})
        self._client.log_param(child, "declared_patients", line["declared_patients"])

    def _metrics(self, line: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        site, at, step = line["site"], line["at"], line["step"]
        run = self._state.parent if site is None else self._state.children.get(site)
        if run is None:
            return  # MLflow refused the site's run for good
        self._client.log_batch(
            run,
            metrics=[Metric(key, value, at, step) for key, value in line["values"].items()],
        )

    def _status(self, line: Mapping[str, Any]) -> None:
        status = line["status"]
        for run in (*self._state.children.values(), self._state.parent):
            self._once(partial(self._set, run, status), line)

    def _set(self, run: str, status: str, line: Mapping[str, Any]) -> None:
        if status == "RUNNING":
            self._client.update_run(run, status=status)
        else:
            self._client.set_terminated(run, status, end_time=line["at"])

    def _run(self, experiment: str, name: str, tags: dict[str, str]) -> str:
        """The run of this folder with this role, made where it is not there."""
        tags |= {RUN_TAG: self._folder.name}
        same = [RUN_TAG, "role", *(["site"] if "site" in tags else [])]
        found = self._client.search_runs(
            [experiment], " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in same)
        )
        made = found[0] if found else self._client.create_run(experiment, run_name=name, tags=tags)
        return str(made.info.run_id)

    def _keep(self, **changes: Any) -> None:
        self._state = self._state.model_copy(update=changes)
        draft = self._folder / f"{STATE}.draft"
        draft.write_text(self._state.model_dump_json(), "utf-8")
        draft.replace(self._folder / STATE)


def experiment_in(client: Any, *, uri: str, artifacts: Path) -> str:
    """MLflow's id of our experiment, made where it is not there.

    Args:
        client: From `connect`.
        uri: See `deliver`.
        artifacts: See `deliver`.
    """
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = {} if uri.startswith("http") else {"artifact_location": artifacts.as_uri()}
    return str(client.create_experiment(EXPERIMENT, tags=MODEL_TRAINING, **location))


def connect(uri: str) -> Any:
    """MLflow's client, without telemetry, and quick to say that a server is not there."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # An absent server is tried again by us: MLflow would hold the thread for minutes.
    brief = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
    for key, value in (quiet | brief).items():
        os.environ.setdefault(key, value)
    from mlflow import MlflowClient

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


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
