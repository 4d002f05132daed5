"""The folders of a coordinator's studies: what was launched, and how far it came."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from privacy.files import locked, write_new
from privacy.spec import Spec
from server.deployment import control
from server.deployment.config import ServerConfig
from server.deployment.control import ControlFailed
from server.journal import FILE as JOURNAL
from server.journal import Follower
from server.start import keep
from tasks.study import Study

LAUNCH, STUDY, LOCK, STOPPED = "launch.json", "study.json", "run.lock", "stopped"
GONE_SECONDS = 90.0
State = Literal["submitted", "running", "finished", "stopped", "broken off"]


class NoRun(ValueError):
    """No study is meant, or more than one could be; says which there are."""


class Launch(Spec):
    """How a study was launched.

    Attributes:
        study: Its name.
        digest: Its digest.
        sites: Wanted before the first round.
        wait: Seconds to wait for them.
        again: Seconds until a site that refused is asked again.
        submitted: Flower's numbers of its runs, first to last.
    """

    study: str
    digest: str
    sites: Annotated[int, Field(ge=0)]
    wait: Annotated[int, Field(ge=1)]
    again: Annotated[int, Field(ge=1)] = 15
    submitted: tuple[int, ...] = ()


class Progress(Spec):
    """How far a study came.

    Attributes:
        run: Name of its folder.
        study: Its name.
        digest: Its digest.
        began: When it was launched, UTC.
        rounds: That it has.
        done: Rounds whose metrics are known.
        sites: That took part so far.
        state: `submitted` before its process began, `broken off` where that died.
        reason: Why it stopped, where it did before its end.
    """

    run: str
    study: str
    digest: str
    began: str
    rounds: int
    done: int
    sites: tuple[str, ...]
    state: State
    reason: str | None


def launch(
    config: ServerConfig,
    study: Study,
    *,
    sites: int,
    wait: int,
    again: int,
    start: bytes | None = None,
) -> Path:
    """Makes the folder of a new run; nothing is asked of anybody yet.

    Args:
        config: The coordinator's.
        study: To be run.
        sites: See `Launch`.
        wait: See `Launch`.
        again: See `Launch`.
        start: Of `server.start.give`.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = config.at(config.runs) / f"{study.name}-{stamp}-{secrets.token_hex(2)}"
    folder.mkdir(mode=0o700, parents=True)
    made = Launch(study=study.name, digest=study.digest, sites=sites, wait=wait, again=again)
    write_new(folder / STUDY, study.canonical().encode())
    keep(folder, start)
    write_new(folder / LAUNCH, made.model_dump_json().encode())
    return folder


def start(config: ServerConfig, folder: Path) -> int:
    """Submits a run, or submits it again; Flower's number of it.

    Raises:
        ControlFailed: The SuperLink does not take it.
    """
    with locked(folder / "launch.lock", exclusive=True):
        return _start(config, folder)


def _start(config: ServerConfig, folder: Path) -> int:
    launched = read_launch(folder)
    (folder / STOPPED).unlink(missing_ok=True)
    number = control.submit(
        config,
        {
            "study": str(folder / STUDY),
            "home": str(config.at(config.runs)),
            "run": str(folder),
            "nodes": launched.sites,
            "wait": launched.wait,
            "again": launched.again,
            "tracking": config.tracking_uri,
        },
    )
    again = launched.model_copy(update={"submitted": (*launched.submitted, number)})
    draft = folder / f"{LAUNCH}.draft"
    draft.write_text(again.model_dump_json(), "utf-8")
    draft.replace(folder / LAUNCH)
    return number


def stop(config: ServerConfig, folder: Path) -> None:
    """Stops a run, so that nobody who watches has it go on; `start` starts it again.

    Raises:
        ControlFailed: The SuperLink does not answer; then nothing was stopped.
    """
    marker = folder / STOPPED
    marker.touch(mode=0o600)
    try:
        for number in read_launch(folder).submitted:
            control.stop(config, number)
    except ControlFailed:
        marker.unlink()
        raise
    wait_until_gone(folder)


def wait_until_gone(folder: Path) -> bool:
    """Waits until no process runs the study any more, a minute and a half at most."""
    end = time.monotonic() + GONE_SECONDS
    while running(folder) and time.monotonic() < end:
        time.sleep(0.2)
    return not running(folder)


def read_launch(folder: Path) -> Launch:
    """How a run was launched."""
    return Launch.model_validate_json((folder / LAUNCH).read_bytes())


def read_study(folder: Path) -> Study:
    """The study of a run."""
    return Study.model_validate_json((folder / STUDY).read_bytes())


def runs(config: ServerConfig) -> Iterator[Path]:
    """The folders of all runs, oldest first."""
    found = [path.parent for path in config.at(config.runs).glob(f"*/{LAUNCH}")]
    yield from sorted(found, key=lambda folder: folder.stat().st_ctime)


def progress(folder: Path) -> Progress:
    """How far a run came."""
    launched = read_launch(folder)
    events = list(Follower(folder / JOURNAL).events())
    starts = [event for event in events if event["event"] == "start"]
    done = [event["number"] for event in events if event["event"] == "round"]
    began = datetime.fromtimestamp((folder / STUDY).stat().st_mtime, UTC)
    state, reason = _state(folder, events)
    return Progress(
        run=folder.name,
        study=launched.study,
        digest=launched.digest,
        began=began.isoformat(timespec="seconds"),
        rounds=starts[-1]["rounds"] if starts else read_study(folder).rounds,
        done=max(done, default=0),
        sites=tuple(dict.fromkeys(event["site"] for event in events if event["event"] == "site")),
        state=state,
        reason=reason,
    )


def running(folder: Path) -> bool:
    """Whether a process runs the study at this moment."""
    try:
        # Not exclusive: others who look at the same moment are not the study.
        with locked(folder / LOCK, exclusive=False, wait=0):
            return False
    except TimeoutError:
        return True


def find(config: ServerConfig, name: str) -> Path:
    """The folder of a run.

    Args:
        config: The coordinator's.
        name: Or its first letters; empty for the one that is not finished.

    Raises:
        NoRun: None fits, or several do.
    """
    found = list(runs(config))
    if name:
        fits = [folder for folder in found if folder.name.startswith(name)]
        fits = [folder for folder in fits if folder.name == name] or fits
        what = f"starts with {name!r}"
    else:
        fits = [folder for folder in found if progress(folder).state != "finished"]
        what = "is unfinished"
    if len(fits) == 1:
        return fits[0]
    there = ", ".join(folder.name for folder in fits or found) or "none was launched"
    raise NoRun(f"{'no' if not fits else 'more than one'} study {what}: {there}")


def _state(folder: Path, events: list[dict[str, Any]]) -> tuple[State, str | None]:
    last = [event for event in events if event["event"] in {"start", "end"}]
    if last and last[-1]["event"] == "end":
        reason = last[-1]["reason"]
        return ("finished", None) if reason is None else ("stopped", reason)
    if running(folder):
        return "running", None
    if (folder / STOPPED).exists():
        return "stopped", "by fedward study stop"
    return ("broken off" if last else "submitted"), None
