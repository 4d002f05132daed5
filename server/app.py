"""The Flower ServerApp: a thin adapter around `server.rounds`."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from privacy.files import locked
from server.journal import FILE, Journal
from server.outbox import FILE as OUTBOX
from server.outbox import Outbox
from server.roster import Patience
from server.rounds import Rounds
from server.tracking import Courier
from tasks.places import Places
from tasks.study import Study

LOCK_SECONDS = 120.0
"""For another process that runs the same study to end: it may be dying."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Runs the study that the run configuration names, or goes on with it.

    | key | what |
    | --- | --- |
    | `study` | path of the study file; relative ones start beside the code |
    | `data`, `home`, `run` | see `tasks.places.Places.of` |
    | `nodes` | sites to wait for before the first round; at least the study's minimum |
    | `wait` | seconds to wait for them (`server.roster.Patience`); 0 asks each node once |
    | `again` | seconds until a site that refused is asked again |
    | `tracking` | MLflow tracking URI; empty for `mlflow.db` in `home` |
    """
    config = context.run_config
    places = Places.of(config, context.run_id)
    study = read_study(places.study)
    places.run.mkdir(parents=True, exist_ok=True)
    places.home.mkdir(parents=True, exist_ok=True)
    patience = Patience(
        sites=int(config.get("nodes", 0)),
        seconds=float(config.get("wait", 0)),
        again=float(config.get("again", 15)),
    )
    with locked(places.run / "run.lock", exclusive=True, wait=LOCK_SECONDS):
        journal, outbox = Journal(places.run / FILE), Outbox(places.run / OUTBOX)
        uri = str(config.get("tracking", "") or f"sqlite:///{places.home / 'mlflow.db'}")
        courier = Courier(places.run, uri=uri, artifacts=places.home / "mlflow-artifacts")
        try:
            Rounds(study, grid, places.run, journal, outbox, patience).run()
        finally:
            journal.close()
            outbox.close()
            courier.finish()


def read_study(path: Path) -> Study:
    """A study from a study file, or from its canonical JSON, as a run keeps it.

    Raises:
        ValueError: It does not fit.
    """
    if path.suffix != ".json":
        return Study.read(path)
    return Study.model_validate_json(path.read_bytes())
