"""The Flower ServerApp: a thin adapter around `server.rounds`."""

from __future__ import annotations

import time

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from server.journal import Journal
from server.rounds import Rounds
from server.tracking import Tracking
from tasks.places import Places
from tasks.study import Study

WAIT_SECONDS = 120

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the study that the run configuration names.

    | key | what |
    | --- | --- |
    | `study` | path of the study file; relative ones start beside the code |
    | `data`, `home`, `run` | see `tasks.places.Places.of` |
    | `nodes` | nodes to wait for, up to two minutes; at least the study's minimum |
    | `tracking` | MLflow tracking URI; empty for `mlflow.db` in `home` |
    """
    config = context.run_config
    places = Places.of(config, context.run_id)
    study = Study.read(places.study)
    places.home.mkdir(parents=True, exist_ok=True)
    _wait(grid, max(study.strategy.minimum_sites, int(config.get("nodes", 0))))
    journal = Journal(places.run / "journal.jsonl")
    uri = str(config.get("tracking", "") or f"sqlite:///{places.home / 'mlflow.db'}")
    tracking = Tracking(uri, artifacts=places.home / "mlflow-artifacts")
    try:
        Rounds(study, grid, places.run, journal, tracking).run()
    finally:
        journal.close()


def _wait(grid: Grid, nodes: int) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while len(list(grid.get_node_ids())) < nodes and time.monotonic() < end:
        time.sleep(0.5)
