"""MLflow: what is logged where, and that its failure stops nothing."""

from __future__ import annotations

import logging

import pytest

from server.tracking import EXPERIMENT, Tracking
from tasks.metrics import Metrics

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")


@pytest.mark.slow
def test_a_study_is_a_run_and_each_site_a_child_with_its_own_epsilon(study, tmp_path):
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracking = Tracking(uri, artifacts=tmp_path / "artifacts")
    tracking.start(study, {"ash": 40, "birch": 60})
    for number in (0, 1, 2):
        tracking.round(
            number,
            metrics=Metrics(micro_f1=0.1 * number, patients=9),
            sites={"ash": Metrics(micro_f1=0.2 * number)},
            epsilons={"ash": 1.0 * number, "birch": 2.0 * number},
            extra={"bytes_up": 5.0},
        )
    tracking.end(failed=False)

    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    by_name = {run.data.tags["mlflow.runName"]: run for run in runs}
    assert set(by_name) == {"tiny", "tiny / ash", "tiny / birch"}
    parent = by_name["tiny"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["digest"] == study.digest
    assert parent.data.params["privacy.epsilon"] == "8.0"
    assert parent.data.params["task.codes.number"] == "8"
    assert parent.data.metrics["epsilon"] == 4.0
    steps = client.get_metric_history(parent.info.run_id, "micro_f1")
    assert [(m.step, round(m.value, 3)) for m in steps] == [(0, 0.0), (1, 0.1), (2, 0.2)]
    ash, birch = by_name["tiny / ash"], by_name["tiny / birch"]
    assert ash.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (ash.data.metrics["epsilon"], birch.data.metrics["epsilon"]) == (2.0, 4.0)
    assert ash.data.params["declared_patients"] == "40"
    assert "micro_f1" not in birch.data.metrics
    assert client.list_artifacts(parent.info.run_id)[0].path == "study.json"


def test_a_broken_mlflow_is_said_once_and_stops_nothing(study, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder can be made here")
    uri = f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}"
    tracking = Tracking(uri, artifacts=tmp_path)
    with caplog.at_level(logging.WARNING, logger="fedward.tracking"):
        tracking.start(study, {"ash": 40})
        tracking.round(1, metrics=Metrics(), sites={}, epsilons={}, extra={})
        tracking.end(failed=False)
    said = [record for record in caplog.records if record.name == "fedward.tracking"]
    assert len(said) == 1
    assert "the study goes on without it" in said[0].getMessage()
