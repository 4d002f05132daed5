"""Runs a whole federation on one machine: sites, vectors, rounds, baselines, result."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from client import cohort, local
from client.drawn import before
from client.simulation import Simulation
from client.site import Site
from client.stratify import Stratified
from experiments import baselines
from experiments.columns import leading
from experiments.simulate.against import Against, Measure
from experiments.simulate.result import Engine, Final, Result, RoundResult, SiteResult
from privacy.errors import SiteError
from server.journal import Follower
from server.start import give, keep
from tasks.heads.weights_file import load_weights
from tasks.metrics import Metrics
from tasks.places import Places
from tasks.study import Study

POLL_SECONDS = 0.1
LONGEST_SECONDS = 7 * 24 * 3600.0


class SimulationFailed(Exception):
    """The study did not finish; the text says why."""


class Screen(Protocol):
    """Who watches a simulation."""

    def study(self, study: Study, sites: list[Site], engine: Engine) -> None:
        """The study is about to start."""

    def preparing(self, site: str, what: str, done: int, total: int) -> None:
        """A site reads or embeds; `total` is 0 where it is not known."""

    def prepared(self, left_out: Mapping[str, Mapping[str, int]]) -> None:
        """All sites are prepared; what was kept and left out at each."""

    def event(self, event: dict[str, Any]) -> None:
        """The coordinator wrote an event in its journal (`server.journal`)."""

    def baseline(self, what: str, done: int, total: int) -> None:
        """A baseline was trained."""

    def result(self, result: Result, places: Places) -> None:
        """Everything is done."""


@dataclass(slots=True)
class Simulated:
    """A simulation under way.

    Attributes:
        study: What is run.
        simulation: How its sites are made.
        places: Where its files are.
        engine: What runs it.
        screen: Who watches.
        keep_baselines: See `simulate`.
    """

    study: Study
    simulation: Simulation
    places: Places
    engine: Engine
    screen: Screen
    keep_baselines: Path | None = None
    sites: list[Site] = field(default_factory=list)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    weights: str = ""
    reason: str | None = "the coordinator ended without a word; see the log in the run's folder"


def simulate(
    study_file: Path,
    *,
    data: Path,
    home: Path,
    engine: Engine,
    screen: Screen,
    with_baselines: bool = True,
    split_seed: int | None = None,
    run: str | None = None,
    keep_baselines: Path | None = None,
    start: Path | None = None,
) -> Result:
    """Runs a study file's simulation from nothing to the result.

    Args:
        study_file: With a `[simulation]` table.
        data: Where the relative paths of its source start.
        home: Kept between runs; gets the runs' folders, the vectors and MLflow's database.
        engine: `in-process`, or `flower` for Flower's own runtime on Ray; the same two apps.
        screen: Is told what happens.
        with_baselines: Whether to train each site alone and all pooled.
        split_seed: Deals all patients into a stratified split with this seed, whatever the file
            says of splits.
        run: Names the run's folder below `runs`; by default the study and the time do.
        keep_baselines: Folder in which baselines are kept, and found, between runs.
        start: File of the weights that the study starts from, where it names some. Baselines start
            from nothing: these weights have seen other sites.

    Raises:
        ValueError: The study file does not fit.
        SimulationFailed: The study did not finish.
    """
    began = time.monotonic()
    name = before(study_file)[0].name
    simulation = Simulation.read(study_file)
    if split_seed is not None:
        how = (simulation.stratified or Stratified()).model_copy(update={"seed": split_seed})
        simulation = simulation.model_copy(update={"stratified": how})
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run = run or f"{name}-{stamp}-{secrets.token_hex(2)}"
    home = home.resolve()
    places = Places(study_file.resolve(), data.resolve(), home, home / "runs" / run)
    try:
        places = simulation.with_names(places)
    except SiteError as error:
        raise SimulationFailed(str(error)) from None
    study = Study.read(places.study)
    baselines.without_privacy(study, simulation.baseline)  # refused now or after all rounds
    earlier = give(study, start)
    this = Simulated(study, simulation, places, engine, screen, keep_baselines)
    _prepare(this)
    places.run.mkdir(parents=True, exist_ok=True)
    keep(places.run, earlier)
    _run(this)
    result = _result(this, began, with_baselines=with_baselines)
    screen.result(result, places)
    return result


def _prepare(this: Simulated) -> None:
    """Makes every site and embeds its notes. A site that fails is left to say so itself, when
    the coordinator asks it.
    """
    try:
        number = len(this.simulation.names_of_sites(this.places.data))
        this.sites = [
            Site.read(this.simulation.make(index, this.places)) for index in range(number)
        ]
    except SiteError as error:
        raise SimulationFailed(str(error)) from None
    this.screen.study(this.study, this.sites, this.engine)
    for site in this.sites:

        def tell(what: str, done: int, total: int, name: str = site.name) -> None:
            this.screen.preparing(name, what, done, total)

        try:
            site.policy.admit(this.study, declared_patients=site.declared_patients)
            this.left_out[site.name] = cohort.prepare(
                site, this.study, progress=tell, share=True
            ).counts
        except SiteError as error:
            this.broken[site.name] = str(error)
    this.screen.prepared(this.left_out)


def _run(this: Simulated) -> None:
    """Runs the engine and follows its journal to the end.

    Raises:
        SimulationFailed: It did not get there.
    """
    config = {
        "study": str(this.places.study),
        "data": str(this.places.data),
        "home": str(this.places.home),
        "run": this.places.run.name,
        "nodes": len(this.sites),
    }
    follower = Follower(this.places.run / "journal.jsonl")
    start = _in_process if this.engine == "in-process" else _flower
    running = start(this, config)
    while running():
        _follow(this, follower)
        time.sleep(POLL_SECONDS)
    _follow(this, follower)
    if this.reason is not None:
        # Here nobody is kept from knowing what a site tells its operator only.
        why = this.refused | this.broken
        said = "; ".join(f"{name}: {reason}" for name, reason in why.items())
        raise SimulationFailed(f"{this.reason}{f' ({said})' if said else ''}")


def _follow(this: Simulated, follower: Follower) -> None:
    for event in follower.events():
        if event["event"] == "round":
            this.rounds.append(event)
        elif event["event"] == "refused":
            this.refused[event["site"]] = event["reason"]
        elif event["event"] == "end":
            this.weights, this.reason = event["weights"] or "", event["reason"]
        this.screen.event(event)


def _in_process(this: Simulated, config: Mapping[str, Any]) -> Callable[[], bool]:
    from experiments.simulate.flower import QUIET

    for name, value in QUIET.items():  # before Flower is imported: nothing here phones home
        os.environ.setdefault(name, value)
    from client.app import app as client_app
    from experiments.simulate.in_process import run_in_process
    from server.app import app as server_app

    def work() -> None:
        try:
            run_in_process(server_app, client_app, nodes=len(this.sites), run_config=config)
        except Exception as error:  # noqa: BLE001 - the journal says it better, if it can
            this.reason = f"the coordinator failed with {type(error).__name__}: {error}"

    thread = threading.Thread(target=work, name="in-process engine", daemon=True)
    thread.start()
    return thread.is_alive


def _flower(this: Simulated, config: Mapping[str, Any]) -> Callable[[], bool]:
    from experiments.simulate.flower import EngineFailed, start_flower

    try:
        process = start_flower(
            nodes=len(this.sites),
            run_config=config,
            folder=this.places.run,
            seconds=LONGEST_SECONDS,
        )
    except EngineFailed as error:
        raise SimulationFailed(str(error)) from None
    this.reason = f"Flower's runtime failed; see {this.places.run / 'flower' / 'flower.log'}"
    return lambda: process.poll() is None


def _result(this: Simulated, began: float, *, with_baselines: bool) -> Result:
    trained = [event for event in this.rounds if event["number"] > 0]
    last = trained[-1]
    promise = this.study.privacy.promise
    taking_part = {
        site.name: local.load_bags(site, this.study)
        for site in this.sites
        if site.name in last["epsilons"]
    }
    weights = load_weights(Path(this.weights))
    federated = baselines.federated(this.study, taking_part, weights)
    against = Against(federated)
    if with_baselines:
        measure = Measure(
            this.study,
            this.simulation.baseline,
            taking_part,
            this.keep_baselines,
            this.screen.baseline,
        )
        against = measure.all(federated, weights)
    alone, pooled = against.alone, against.pooled
    sites = [
        SiteResult(
            name=site.name,
            declared_patients=site.declared_patients,
            local=alone[site.name].whole if site.name in alone else None,
            federated=federated.sites.get(site.name),
            pooled=pooled.sites.get(site.name) if pooled else None,
            epsilon=last["epsilons"].get(site.name),
            refused=this.broken.get(site.name, this.refused.get(site.name))
            or (None if site.name in taking_part else "did not answer"),
            left_out=this.left_out.get(site.name, {}),
            split=site.split.said(site.at(site.data)) if site.name in taking_part else "",
            others=against.others_at(site.name),
            intervals=against.intervals_at(site.name),
            outputs=against.outputs_at(site.name),
            joining=against.joining(site.name, metric=leading(len(this.study.outputs))[1]),
        )
        for site in sorted(this.sites, key=lambda site: site.name)
    ]
    whole = federated.whole.model_dump(include=set(Final.model_fields))
    return Result(
        study=this.study.name,
        digest=this.study.digest,
        engine=this.engine,
        privacy=this.study.privacy.kind,
        sites=tuple(sites),
        rounds=tuple(
            RoundResult.model_validate({key: event[key] for key in RoundResult.model_fields})
            for event in trained
        ),
        untrained=Metrics.model_validate(this.rounds[0]["metrics"]),
        final=Final(**whole, epsilon=last["epsilon"], delta=promise.delta if promise else None),
        local=baselines.mean({name: of.whole for name, of in alone.items()}) if alone else None,
        pooled=pooled.whole if pooled else None,
        detail=federated.detail,
        others=against.others(),
        intervals=against.intervals(),
        outputs=against.outputs(),
        weights=this.weights,
        seconds=time.monotonic() - began,
    )
