"""Delivers to MLflow what studies left behind: a process of `fedward server run`.

A study delivers its own outbox while it runs. What MLflow missed because it was away until the
study had ended, or because the study's process was killed, is delivered from here.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from privacy.process import end_with_parent
from server.deployment.config import ServerConfig
from server.deployment.runs import running, runs
from server.tracking import deliver, waiting

LOOK_SECONDS = 5.0
LONGEST_WAIT = 60.0


def deliver_all(config: ServerConfig) -> dict[str, int]:
    """Delivers what waits of studies that do not run; how many lines of each run.

    Raises:
        Exception: Whatever MLflow raises; what was delivered before counts.
    """
    done = {}
    for folder in runs(config):
        if waiting(folder) and not running(folder):
            artifacts = config.at(config.runs) / "mlflow-artifacts"
            done[folder.name] = deliver(folder, uri=config.tracking_uri, artifacts=artifacts)
    return done


def main() -> None:
    """`python -m server.deployment.courier SERVER_TOML --parent PID`."""
    parser = argparse.ArgumentParser(prog="python -m server.deployment.courier")
    parser.add_argument("config", type=Path, help="server.toml")
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent")
    given = parser.parse_args()
    if given.parent is not None:
        end_with_parent(given.parent)
    config = ServerConfig.read(given.config)
    wait, failing = LOOK_SECONDS, False
    while True:
        try:
            for run, lines in deliver_all(config).items():
                print(f"delivered {lines} entries of {run}", flush=True)
            wait, failing = LOOK_SECONDS, False
        except Exception as error:  # noqa: BLE001 - MLflow must never stop the coordinator
            if not failing:
                print(f"MLflow does not answer: {type(error).__name__}", flush=True)
            wait, failing = min(2 * wait, LONGEST_WAIT), True
        time.sleep(wait)


if __name__ == "__main__":
    main()
