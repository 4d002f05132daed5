"""MLflow: what is delivered where, once, and that its failure stops nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from deployment import until
from whole import MlflowServer

from server import tracking
from server.outbox import Outbox
from server.tracking import EXPERIMENT, Courier, deliver, delivered, waiting
from tasks.metrics import Metrics

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
    pytest.mark.slow,
]


def written(outbox: Outbox, *rounds: int) -> None:
    for number in rounds:
        outbox.round(
            number,
            metrics=Metrics(micro_f1=0.1 * number, patients=9),
            sites={"ash": Metrics(micro_f1=0.2 * number)},
            epsilons={"ash": 1.0 * number, "birch": 2.0 * number},
            extra={"bytes_up": 5.0},
        )


def begun(folder: Path, study) -> Outbox:
    outbox = Outbox(folder / "outbox.jsonl")
    outbox.start(study)
    outbox.site("ash", 40)
    outbox.site("birch", 60)
    return outbox


@pytest.fixture
def folder(tmp_path) -> Path:
    """A run's folder."""
    made = tmp_path / "tiny-1"
    made.mkdir()
    return made


@pytest.fixture
def send(folder, tmp_path) -> Callable[[], int]:
    """Delivers to a store of its own."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    return lambda: deliver(folder, uri=uri, artifacts=tmp_path / "artifacts")


def client_of(folder: Path):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=delivered(folder).uri)


def runs(folder: Path) -> dict:
    client = client_of(folder)
    found = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def history(folder: Path, run, key: str = "micro_f1") -> list[tuple[int, float]]:
    found = client_of(folder).get_metric_history(run.info.run_id, key)
    return [(m.step, round(m.value, 3)) for m in found]


def test_a_study_is_a_run_and_each_site_a_child_with_its_own_epsilon(study, folder, send):
    outbox = begun(folder, study)
    written(outbox, 0, 1, 2)
    outbox.end(failed=False)
    assert waiting(folder) == 13
    assert send() == 13
    assert waiting(folder) == send() == 0

    by_name = runs(folder)
    assert set(by_name) == {"tiny", "tiny / ash", "tiny / birch"}
    parent = by_name["tiny"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["digest"] == study.digest
    assert parent.data.params["privacy.epsilon"] == "8.0"
    assert parent.data.params["task.codes.number"] == "8"
    assert parent.data.metrics["epsilon"] == 4.0
    assert history(folder, parent) == [(0, 0.0), (1, 0.1), (2, 0.2)]
    ash, birch = by_name["tiny / ash"], by_name["tiny / birch"]
    assert ash.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (ash.data.metrics["epsilon"], birch.data.metrics["epsilon"]) == (2.0, 4.0)
    assert ash.data.params["declared_patients"] == "40"
    assert "micro_f1" not in birch.data.metrics
    assert client_of(folder).list_artifacts(parent.info.run_id)[0].path == "study.json"
    outbox.close()


def test_what_is_delivered_twice_is_there_once(study, folder, send):
    """The state is put back to what it was before: a crash after MLflow heard everything."""
    outbox = begun(folder, study)
    written(outbox, 0, 1)
    outbox.close()
    send()
    (folder / "tracking.json").unlink()
    send()
    assert set(runs(folder)) == {"tiny", "tiny / ash", "tiny / birch"}
    assert history(folder, runs(folder)["tiny"]) == [(0, 0.0), (1, 0.1)]


def test_a_study_that_goes_on_goes_on_in_its_run_and_writes_no_round_again(study, folder, send):
    outbox = begun(folder, study)
    written(outbox, 0, 1)
    outbox.end(failed=True)
    outbox.close()
    send()
    assert runs(folder)["tiny"].info.status == "FAILED"
    before = {name: run.info.run_id for name, run in runs(folder).items()}

    outbox = begun(folder, study)
    send()
    assert runs(folder)["tiny"].info.status == "RUNNING"
    written(outbox, 1, 2)
    outbox.site("cedar", 10)
    outbox.end(failed=False)
    outbox.close()
    send()
    after = runs(folder)
    assert {name: after[name].info.run_id for name in before} == before
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    assert history(folder, after["tiny"]) == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert history(folder, after["tiny / ash"]) == [(0, 0.0), (1, 0.2), (2, 0.4)]
    assert "tiny / cedar" in after


def test_a_run_that_somebody_deleted_holds_up_nothing(study, folder, send, caplog):
    outbox = begun(folder, study)
    send()
    client_of(folder).delete_run(runs(folder)["tiny / ash"].info.run_id)
    written(outbox, 0)
    outbox.close()
    with caplog.at_level(logging.WARNING, logger="fedward.tracking"):
        send()
    assert waiting(folder) == 0
    assert history(folder, runs(folder)["tiny"]) == [(0, 0.0)]
    assert "left out" in caplog.text


@contextmanager
def running(server: MlflowServer) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.kill()


def test_a_server_that_is_away_gets_everything_once_when_it_is_back(
    study, folder, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(tracking, "LONGEST_WAIT", 1.0)
    server = MlflowServer(tmp_path / "mlflow")
    uri = server.uri
    outbox = begun(folder, study)
    written(outbox, 0, 1)
    with caplog.at_level(logging.WARNING, logger="fedward.tracking"):
        courier = Courier(folder, uri=uri, artifacts=tmp_path)
        assert courier.finish(failing_seconds=3) == 9
    assert len([r for r in caplog.records if "waits on disk" in r.getMessage()]) == 1
    assert "9 entries wait" in caplog.text
    with running(server):
        until(lambda: waiting(folder) == 0, lambda: "never delivered")
        assert history(folder, runs(folder)["tiny"]) == [(0, 0.0), (1, 0.1)]
    # Away once more, in the middle of a study.
    written(outbox, 2)
    second = Courier(folder, uri=uri, artifacts=tmp_path)
    written(outbox, 3)
    with running(server):
        assert second.finish(failing_seconds=60) == 0
        assert history(folder, runs(folder)["tiny"]) == [(n, n / 10) for n in range(4)]
        assert client_of(folder).list_artifacts(runs(folder)["tiny"].info.run_id)
    outbox.close()


def test_another_store_gets_everything(study, folder, tmp_path, send):
    outbox = begun(folder, study)
    written(outbox, 0)
    outbox.close()
    send()
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert deliver(folder, uri=other, artifacts=tmp_path) == 6
    assert history(folder, runs(folder)["tiny"]) == [(0, 0.0)]


def test_each_line_of_an_outbox_says_when_it_was_true(study, folder):
    outbox = begun(folder, study)
    written(outbox, 0)
    outbox.close()
    lines = [json.loads(line) for line in (folder / "outbox.jsonl").read_text().splitlines()]
    assert [line["op"] for line in lines] == ["study", "site", "site"] + ["metrics"] * 3
    assert all(line["at"] > 1_700_000_000_000 for line in lines)
