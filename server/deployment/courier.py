"""Delivers to MLflow what studies left behind: a process of `fedward server run`.

A study delivers its own outbox while it runs. What MLflow missed because it was away until the
study had ended, or because the study's process was killed, is delivered from here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from privacy.process import end_with_parent
from server.deployment.config import ServerConfig
from server.deployment.runs import running, runs
from server.tracking import deliver, waiting

LOOK_SECONDS = 5.0
LONGEST_WAIT = 60.0


def deliver_all(config: ServerConfig) -> Iterator[tuple[str, int | Exception]]:
    """Delivers what waits of studies that do not run.

    Yields:
        The name of each such run, and how many lines were delivered or what MLflow raised: one run
        that it does not take holds up no other.
    """
    for folder in runs(config):
        if waiting(folder) and not running(folder):
            artifacts = config.at(config.runs) / "mlflow-artifacts"
            try:
                yield folder.name, deliver(folder, uri=config.tracking_uri, artifacts=artifacts)
            except Exception as error:  # noqa: BLE001 - MLflow must never stop the coordinator
                yield folder.name, error


def main() -> None:
    """`python -m server.deployment.courier SERVER_TOML --parent PID`."""
    parser = argparse.ArgumentParser(prog="python -m server.deployment.courier")
    parser.add_argument("config", type=Path, help="server.toml")
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent")
    given = parser.parse_args()
    if given.parent is not None:
        end_with_parent(given.parent)
    config = ServerConfig.read(given.config)
    wait, failing = LOOK_SECONDS, set[str]()
    while True:
        failed = set()
        for run, came in deliver_all(config):
            if isinstance(came, int):
                print(f"delivered {came} entries of {run}", flush=True)
                continue
            failed.add(run)
            if run not in failing:
                what = getattr(came, "error_code", "") or type(came).__name__
                print(f"MLflow does not take {run} ({what}); it is tried again", flush=True)
        failing = failed
        wait = min(2 * wait, LONGEST_WAIT) if failed else LOOK_SECONDS
        time.sleep(wait)


if __name__ == "__main__":
    main()
