"""The flower engine: the same two apps under Flower's own simulation runtime, on Ray.

`run_simulation` of Flower 1.41 is deprecated and gives both apps an empty run configuration, so
this does what Flower's own `flwr-simulation` process does: it calls `_run_simulation`. That, and
the imports inside `_child`, are not documented; all of it stands in this file, and a test runs it
whole, so that a new Flower fails loudly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from privacy import process
from tasks.places import ROOT

Config = Mapping[str, bool | int | float | str]

QUIET = {
    **process.QUIET,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default, named so that Ray is quiet
}


class EngineFailed(Exception):
    """Flower's runtime did not finish; the log says why."""


def start_flower(
    *, nodes: int, run_config: Config, folder: Path, seconds: float
) -> subprocess.Popen[bytes]:
    """Starts the simulation in a process of its own, below a supervisor.

    Args:
        nodes: Virtual nodes, one CPU each.
        run_config: Overrides keys of `[tool.flwr.app.config]` in pyproject.toml.
        folder: Gets Flower's home, its log (`flower.log`) and an empty folder to run in: the
            working directory comes first on the path of the apps, and what lies there could
            stand in for any module.
        seconds: At most.

    Raises:
        EngineFailed: This installation has no pyproject.toml beside it, which Flower reads.
    """
    if not (ROOT / "pyproject.toml").is_file():
        raise EngineFailed(
            "the flower engine needs the project's checkout; use --engine in-process"
        )
    home, empty = folder / "flower", folder / "flower" / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    job = home / "job.json"
    job.write_text(
        json.dumps(
            {"nodes": nodes, "run_config": dict(run_config), "cpus": len(os.sched_getaffinity(0))}
        )
    )
    here = Path(__file__).resolve()
    supervisor = [sys.executable, "-P", str(here.with_name("supervisor.py")), str(seconds)]
    with (home / "flower.log").open("wb") as log:
        return subprocess.Popen(
            [*supervisor, sys.executable, "-P", str(here), str(job)],
            cwd=empty,
            env={
                **os.environ,
                **QUIET,
                # Ray would set one thread for some libraries and not for others; training sets
                # its own.
                "OMP_NUM_THREADS": "1",
                "FLWR_HOME": str(home),
                "PYTHONPATH": os.pathsep.join(
                    filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
                ),
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _child(job_file: Path) -> int:
    """Does what `flwr-simulation` does, without a SuperLink."""
    from flwr.app import Context, RecordDict
    from flwr.common.config import (
        get_fused_config_from_dir,
        get_metadata_from_config,
        get_project_config,
    )
    from flwr.common.constant import SUPERLINK_NODE_ID
    from flwr.simulation.run_simulation import _run_simulation
    from flwr.supercore.constant import NOOP_FEDERATION_ID
    from flwr.supercore.run import Run
    from flwr.supercore.task_identity import TaskIdentity
    from flwr.supercore.telemetry import EventType

    job = json.loads(job_file.read_text())
    config = get_project_config(ROOT)
    components = config["tool"]["flwr"]["app"]["components"]
    run = Run.create_empty(run_id=1)
    run.fab_id, run.fab_version = get_metadata_from_config(config)
    run.override_config = job["run_config"]
    run.primary_task_id = 1
    run.federation_id = NOOP_FEDERATION_ID
    TaskIdentity.task_id, TaskIdentity.run_id = 1, run.run_id
    TaskIdentity.node_id = SUPERLINK_NODE_ID
    _run_simulation(
        num_supernodes=job["nodes"],
        exit_event=EventType.PYTHON_API_RUN_SIMULATION_LEAVE,
        server_app_attr=components["serverapp"],
        client_app_attr=components["clientapp"],
        server_app_context=Context(
            run_id=run.run_id,
            node_id=SUPERLINK_NODE_ID,
            node_config={},
            state=RecordDict(),
            run_config=get_fused_config_from_dir(ROOT, run.override_config),
        ),
        app_dir=str(ROOT),
        is_app=True,
        run=run,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": job["cpus"]},
        },
    )
    return 0


if __name__ == "__main__":
    try:
        code = _child(Path(sys.argv[1]))
    except BaseException:  # noqa: BLE001 - said in the log, then ended at once
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread of the ServerApp may still run
