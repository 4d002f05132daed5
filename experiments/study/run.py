"""Runs a study on a coordinator that runs: submits it, follows it, submits it again if it dies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from privacy.files import locked
from privacy.spec import Spec
from server.deployment import control, runs
from server.deployment.config import ServerConfig
from server.deployment.control import ControlFailed
from server.journal import FILE, Follower
from server.tracking import delivered, waiting
from tasks.metrics import Metrics
from tasks.study import Study

POLL_SECONDS = 0.2
ASK_SECONDS = 2.0
LAST_SECONDS = 15.0
MOST_DEATHS = 3
"""Of the coordinator's process in a row, without a round between them."""


class StudyStopped(Exception):
    """The study did not come to its end; the text says why, and what to do."""


class Watcher(Protocol):
    """Who watches a study."""

    def event(self, event: Mapping[str, Any]) -> None:
        """The study wrote an event in its journal (`server.journal`)."""

    def note(self, text: str) -> None:
        """Something else happened."""


class SiteOutcome(Spec):
    """One site in a study.

    Attributes:
        name: Of the site.
        declared_patients: Public, rounded; None where it never took part.
        rounds: In which its update counted.
        epsilon: What the study cost its training patients at most; None: no bound.
        refusals: How often each reason was given.
    """

    name: str
    declared_patients: int | None = None
    rounds: int = 0
    epsilon: float | None = None
    refusals: dict[str, int] = {}


class RoundOutcome(Spec):
    """A round, as the journal has it."""

    number: int
    metrics: Metrics
    epsilon: float | None
    sites: tuple[str, ...]
    bytes_down: int
    bytes_up: int
    seconds: float


class Outcome(Spec):
    """A study that came to its end.

    Attributes:
        run: Name of the run's folder, and of the run in MLflow (tag `fedward.run`).
        study: Its name.
        digest: Its digest.
        rounds: In order, the untrained weights first.
        sites: In order of name.
        weights: File of the final weights.
        mlflow: Tracking URI.
        mlflow_run: MLflow's id of the run; None where MLflow has not heard of it yet.
        undelivered: Lines of the outbox that MLflow has not got yet.
    """

    run: str
    study: str
    digest: str
    rounds: tuple[RoundOutcome, ...]
    sites: tuple[SiteOutcome, ...]
    weights: str
    mlflow: str
    mlflow_run: str | None
    undelivered: int


def begin(
    config: ServerConfig,
    study: Study,
    *,
    sites: int,
    wait: int,
    again: int = 15,
    start: bytes | None = None,
) -> tuple[Path, int]:
    """Launches a new run (`server.deployment.runs.launch`); its folder and Flower's number of it.

    Raises:
        ControlFailed: The SuperLink does not take it; then nothing was launched.
    """
    folder = runs.launch(config, study, sites=sites, wait=wait, again=again, start=start)
    try:
        return folder, runs.start(config, folder)
    except ControlFailed:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        raise


def follow(config: ServerConfig, folder: Path, number: int, watcher: Watcher) -> Outcome:
    """Follows a run to its end; where its process dies, has it go on.

    Raises:
        StudyStopped: It ended before its end.
        ControlFailed: It had to be submitted again, and the SuperLink does not take it.
    """
    return _Following(config, folder, number, watcher).run()


class _Following:
    """A run that is followed."""

    def __init__(self, config: ServerConfig, folder: Path, number: int, watcher: Watcher) -> None:
        self._config, self._folder, self._number = config, folder, number
        self._watcher = watcher
        self._journal = Follower(folder / FILE)
        self._events: list[dict[str, Any]] = []
        self._ended: dict[str, Any] | None = None
        self._started = self._silent = False
        self._deaths = 0
        self._asked = 0.0

    def run(self) -> Outcome:
        # What an earlier submission wrote is shown, and its end is not this one's.
        for event in self._journal.events():
            self._take(event)
        self._started = runs.running(self._folder)
        self._ended = self._ended if not self._started and self._finished() else None
        while self._ended is None:
            time.sleep(POLL_SECONDS)
            alive = runs.running(self._folder)
            for event in self._journal.events():
                self._take(event)
            if self._ended is None and self._died(alive=alive):
                self._go_on()
        if self._ended["reason"] is not None:
            raise StudyStopped(self._said(self._ended["reason"]))
        self._see_delivered()
        return outcome(self._config, self._folder, self._events)

    def _said(self, reason: str) -> str:
        return f"{reason}; fedward study resume {self._folder.name} goes on from the last round"

    def _see_delivered(self) -> None:
        """Gives the study's process a moment to tell MLflow the rest."""
        end = time.monotonic() + LAST_SECONDS
        while waiting(self._folder) and runs.running(self._folder) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)

    def _finished(self) -> bool:
        return self._ended is not None and self._ended["reason"] is None

    def _take(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        self._watcher.event(event)
        if event["event"] == "start":
            self._started, self._ended = True, None
        elif event["event"] == "end":
            self._ended = event
        elif event["event"] == "round":
            self._deaths = 0

    def _died(self, *, alive: bool) -> bool:
        """Whether the study's process is gone without having said why."""
        if alive:
            self._started = True
            return False
        if self._started:
            return True
        if time.monotonic() < self._asked + ASK_SECONDS:
            return False
        self._asked = time.monotonic()
        try:
            how = control.ended(self._config, self._number)
        except ControlFailed as error:
            if not self._silent:
                self._watcher.note(f"{error}; waiting for it")
            self._silent = True
            return False
        self._silent = False
        return how is not None

    def _go_on(self) -> None:
        if (self._folder / runs.STOPPED).exists():
            raise StudyStopped(self._said("it was stopped"))
        self._deaths += 1
        if self._deaths > MOST_DEATHS:
            logs = self._config.at(Path("logs/superexec.log"))
            raise StudyStopped(f"the study's process died {MOST_DEATHS} times in a row; see {logs}")
        self._watcher.note("the study's process died; it goes on from the last round")
        self._number = resubmit(self._config, self._folder, self._number)
        self._started = False


def resubmit(config: ServerConfig, folder: Path, number: int | None) -> int:
    """Submits a run again, unless somebody else has; the SuperLink may think that it still runs.

    Args:
        config: The coordinator's.
        folder: The run's.
        number: Of its last submission, as far as the caller knows.

    Returns:
        Flower's number of the run.

    Raises:
        ControlFailed: The SuperLink does not take it.
    """
    with locked(folder / "resubmit.lock", exclusive=True):
        latest = runs.read_launch(folder).submitted
        if number is not None and latest and latest[-1] != number:
            return latest[-1]
        return _resubmitted(config, folder)


def _resubmitted(config: ServerConfig, folder: Path) -> int:
    end = time.monotonic() + 60
    while True:
        try:
            for earlier in runs.read_launch(folder).submitted:
                control.stop(config, earlier)
            return runs.start(config, folder)
        except ControlFailed:
            # It may be on its way back, too.
            if time.monotonic() > end:
                raise
            time.sleep(1)


def outcome(config: ServerConfig, folder: Path, events: list[dict[str, Any]]) -> Outcome:
    """What a finished run's journal says."""
    launched = runs.read_launch(folder)
    last = events[-1]
    state = delivered(folder)
    rounds = {e["number"]: e for e in events if e["event"] == "round"}
    return Outcome(
        run=folder.name,
        study=launched.study,
        digest=launched.digest,
        rounds=tuple(
            RoundOutcome.model_validate(
                {key: event[key] for key in RoundOutcome.model_fields if key != "sites"}
                | {"sites": tuple(event["sites"])}
            )
            for _, event in sorted(rounds.items())
        ),
        sites=_sites(events, rounds[max(rounds)]["epsilons"]),
        weights=last["weights"],
        mlflow=config.tracking_uri,
        mlflow_run=state.parent or None if state else None,
        undelivered=waiting(folder),
    )


def _sites(
    events: list[dict[str, Any]], epsilons: Mapping[str, float | None]
) -> tuple[SiteOutcome, ...]:
    came = {(e["site"], e["round"]) for e in events if e["event"] == "reply" and e["update"]}
    declared = {e["site"]: e["declared_patients"] for e in events if e["event"] == "site"}
    refusals: dict[str, Counter[str]] = {}
    for event in events:
        if event["event"] == "refused":
            refusals.setdefault(event["site"], Counter())[event["reason"]] += 1
    return tuple(
        SiteOutcome(
            name=name,
            declared_patients=declared.get(name),
            rounds=sum(site == name for site, _ in came),
            epsilon=epsilons.get(name),
            refusals=dict(refusals.get(name, {})),
        )
        for name in sorted({*declared, *refusals})
    )
