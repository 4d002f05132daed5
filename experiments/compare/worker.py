"""A process that runs cells, one after another, and tells whoever started it how far it is."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from client.site import Site
    from experiments.simulate.result import Engine, Result
    from tasks.places import Places
    from tasks.study import Study

TELL_SECONDS = 0.2

What = Literal["ready", "doing", "done", "failed"]
Told = tuple[What, str]
"""`ready`: its notes are embedded; `doing`: how far; `failed`: why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all cells of a grid have in common.

    Attributes:
        home: Of the grid's files.
        name: Of the grid.
        data: Where relative paths of sources start.
        engine: See `experiments.simulate.run.simulate`.
        with_baselines: As there.
        threads: CPU threads of each process.
        under: MLflow's id of the grid's run; None where MLflow could not be asked.
        start: See `experiments.compare.run.How`.
    """

    home: Path
    name: str
    data: Path
    engine: Engine
    with_baselines: bool
    threads: int
    under: str | None
    start: Path | None = None

    @property
    def mlflow(self) -> dict[str, Any]:
        """Where MLflow is."""
        return {
            "uri": f"sqlite:///{self.home / 'mlflow.db'}",
            "artifacts": self.home / "mlflow-artifacts",
        }


@dataclass(frozen=True, slots=True)
class Job:
    """One cell to run; its study file is written already.

    Attributes:
        digest: Of the cell.
        values: Its value on each axis.
    """

    digest: str
    values: dict[str, str]


def serve(line: Connection, setting: Setting, parent: int) -> None:
    """Runs each cell that comes along the line, until None does.

    Args:
        line: Gives `Job`s, takes `Told`s.
        setting: Of the grid.
        parent: Process id of whoever is at the other end.
    """
    # Ctrl-C reaches every process of a terminal; the one that was called decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(setting.threads)  # before numpy and torch are imported
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from privacy.process import end_with_parent

    end_with_parent(parent)
    while (job := line.recv()) is not None:
        line.send(_answer(line, setting, job))


def _answer(line: Connection, setting: Setting, job: Job) -> Told:
    from experiments.compare.kept import Shelf
    from experiments.simulate.run import SimulationFailed
    from privacy.errors import SiteError

    _speak_into(Shelf(setting.home, setting.name).log(job.digest))
    try:
        run_cell(setting, job, Teller(line))
    except (ValueError, SimulationFailed, SiteError, OSError) as error:
        return "failed", str(error)
    except Exception as error:  # noqa: BLE001 - a cell that fails must not stop the others
        import traceback

        traceback.print_exc()
        return "failed", f"{type(error).__name__}; see {job.digest}.log"
    return "done", ""


def run_cell(setting: Setting, job: Job, screen: Teller) -> None:
    """Runs a cell and keeps its result.

    Raises:
        ValueError: The cell's study does not fit its data.
        SimulationFailed: It did not finish.
    """
    import shutil

    from experiments.compare.kept import Done, Shelf
    from experiments.fingerprint import results_fingerprint
    from experiments.simulate.run import simulate
    from privacy.spec import read_toml

    shelf = Shelf(setting.home, setting.name)
    run = shelf.run(job.digest)
    folder = setting.home / "runs" / run
    shutil.rmtree(folder, ignore_errors=True)  # of a try that was broken off
    _in_mlflow(setting, job, folder)
    result = simulate(
        shelf.study(job.digest),
        data=setting.data,
        home=setting.home,
        engine=setting.engine,
        screen=screen,
        with_baselines=setting.with_baselines,
        run=run,
        keep_baselines=shelf.baselines,
        start=setting.start if "start" in read_toml(shelf.study(job.digest)) else None,
    )
    _concluded(setting, folder, result)
    # A grid is as many runs as it has cells, and the weights of every round would fill a disk.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    done = Done(values=job.values, code=results_fingerprint(), run=run, result=result)
    shelf.keep(job.digest, done)


def _in_mlflow(setting: Setting, job: Job, folder: Path) -> None:
    from server.comparison import forget
    from server.tracking import Placed

    if setting.under is None:
        return
    try:
        forget(folder.name, **setting.mlflow)
    except Exception as error:  # noqa: BLE001 - MLflow must never stop a study
        print(f"MLflow: {type(error).__name__}: {error}", file=sys.stderr)
    Placed(under=setting.under, values=job.values).write(folder)


def _concluded(setting: Setting, folder: Path, result: Result) -> None:
    from experiments.joining import VERDICTS
    from server.comparison import conclude

    found: dict[str, float] = {"seconds": result.seconds}
    for name, of in (("final", result.final), ("alone", result.local), ("pooled", result.pooled)):
        if of is not None:
            for key, value in of.model_dump().items():
                if value is not None:
                    found[f"{name}.{key}"] = float(value)
    gains = [site.joining.gain.verdict for site in result.sites if site.joining is not None]
    found |= {f"joining.{name.replace(' ', '_')}": gains.count(name) for name in VERDICTS if gains}
    try:
        conclude(folder, found, **setting.mlflow)
    except Exception as error:  # noqa: BLE001 - as above
        print(f"MLflow: {type(error).__name__}: {error}", file=sys.stderr)


class Teller:
    """A `Screen` at the other end of a line.

    Args:
        line: Takes `Told`s.
    """

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._last = 0.0
        self._rounds = 0

    def study(self, study: Study, sites: list[Site], engine: Engine) -> None:
        """See `Screen.study`."""
        del sites, engine
        self._rounds = study.rounds

    def preparing(self, site: str, what: str, done: int, total: int) -> None:
        """See `Screen.preparing`."""
        now = time.monotonic()
        if now - self._last > TELL_SECONDS:  # embedding tells each note
            self._last = now
            self._tell(f"{site}: {what} {done:,}" + (f" of {total:,}" if total else ""))

    def prepared(self, left_out: object) -> None:
        """See `Screen.prepared`."""
        del left_out
        self._line.send(("ready", ""))

    def event(self, event: dict[str, Any]) -> None:
        """See `Screen.event`."""
        if event["event"] == "round":
            self._tell(f"round {event['number']} of {self._rounds}")

    def baseline(self, what: str, done: int, total: int) -> None:
        """See `Screen.baseline`."""
        if done < total:
            self._tell(f"baseline: {what}")

    def result(self, result: Result, places: Places) -> None:
        """See `Screen.result`."""

    def _tell(self, text: str) -> None:
        self._line.send(("doing", text))


def _speak_into(path: Path) -> None:
    """What this process prints goes into a file from now on, a new one."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
