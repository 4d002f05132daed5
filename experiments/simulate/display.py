"""What a simulation looks like in a terminal."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from client.site import Site
from experiments.columns import Columns, columns
from experiments.each_output import Outputs
from experiments.simulate import verdicts
from experiments.simulate.result import Engine, Final, Other, Result
from privacy import accounting
from tasks.metrics import Metrics
from tasks.places import Places
from tasks.study import Study

KEPT = "patients kept to "
STAYS = "stays kept"
FEW_ROWS = 12
"""Outputs up to which each has a row of its own."""


class Terminal:
    """A `Screen` on a console: bars while sites embed and train, a live table of rounds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._rounds = 0
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, Any] = {}
        self._live: Live | None = None
        self._columns = columns(0)
        self._table = _rounds_table(self._columns)
        self._sites: list[str] = []
        self._done = 0

    def close(self) -> None:
        """Takes the live parts off the screen; also after an error."""
        self._bars.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def study(self, study: Study, sites: list[Site], engine: Engine) -> None:
        """See `Screen.study`."""
        self._rounds = study.rounds
        self._columns = columns(len(study.outputs))
        self._table = _rounds_table(self._columns)
        self.console.print(
            f"[bold]{study.name}[/]  {len(sites)} sites, {study.task.kind} with "
            f"{len(study.outputs)} outputs, head {study.head.kind}, encoder {study.encoder.kind}, "
            f"engine {engine}\ndigest {study.digest}"
        )
        self.console.print(_privacy(study))
        self.console.print(_tallied(sites))
        self._bars.start()

    def preparing(self, site: str, what: str, done: int, total: int) -> None:
        """See `Screen.preparing`."""
        unit = "patients" if what == "reading" else "notes"
        self._bar(f"{site}: {what} {unit}", done, total or None)

    def prepared(self, left_out: Mapping[str, Mapping[str, int]]) -> None:
        """See `Screen.prepared`."""
        self._bars.stop()
        self.console.print(_sites_table(left_out))
        for site, counts in left_out.items():
            said = [
                f"{number:,} {rule}"
                for rule, number in counts.items()
                if KEPT not in rule and rule != STAYS
            ]
            if said:
                self.console.print(f"  {site} left out: {', '.join(said)}", style="yellow")
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=self.console
        )
        self._tasks = {"training": self._bars.add_task("training", total=None)}
        self._live = Live(
            Group(self._table, self._bars), console=self.console, refresh_per_second=4
        )
        self._live.start()

    def event(self, event: dict[str, Any]) -> None:
        """See `Screen.event`."""
        kind = event["event"]
        if kind == "site":
            self._sites.append(event["site"])
        elif kind == "refused":
            self.console.print(
                f"{event['site']} takes no part in round {event['round']}: {event['reason']}"
                if event["round"]
                else f"{event['site']} takes no part: {event['reason']}",
                style="red",
                markup=False,
            )
        elif kind == "reply":
            self._done += 1
            total = len(self._sites) * (self._rounds + 1)
            self._bars.update(
                self._tasks["training"],
                completed=self._done,
                total=total,
                description=f"round {event['round']} of {self._rounds}: {event['site']}",
            )
        elif kind == "round":
            self._table.add_row(*_round_row(event, self._columns))
        elif kind == "end" and self._live is not None:
            self._live.update(self._table)
            self.close()

    def baseline(self, what: str, done: int, total: int) -> None:
        """See `Screen.baseline`."""
        if not done:
            self._bars = Progress(
                TextColumn("{task.description}"), BarColumn(), console=self.console, transient=True
            )
            self._tasks = {"baselines": self._bars.add_task("baselines", total=total)}
            self._bars.start()
        self._bars.update(self._tasks["baselines"], completed=done, description=f"baseline: {what}")
        if done == total:
            self._bars.stop()

    def result(self, result: Result, places: Places) -> None:
        """See `Screen.result`."""
        self.console.print(_hospitals_table(result, self._columns))
        few = result.outputs.get("federated", ())
        if 0 < len(few) <= FEW_ROWS:
            self.console.print(_outputs_table(result, few))
        self.console.print(_headline(result, self._columns))
        self.console.print(
            "\nrounds, parameters and every site's metrics in the browser:", style="bold"
        )
        self.console.print(
            shlex.join(
                [
                    str(Path(sys.executable).with_name("mlflow")),
                    "ui",
                    "--backend-store-uri",
                    f"sqlite:///{places.home / 'mlflow.db'}",
                    "--host=127.0.0.1",
                    "--port=5000",
                ]
            ),
            soft_wrap=True,
            highlight=False,
        )

    def _bar(self, name: str, done: int, total: int | None) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)


def _privacy(study: Study) -> Text:
    promise = study.privacy.promise
    if promise is None:
        return Text(
            "PRIVACY IS OFF: updates carry whatever the notes taught them. For public or "
            "synthetic records only.",
            style="bold white on red",
        )
    first = study.spend(1)
    reached = accounting.epsilon(study.spends(), delta=promise.delta)
    return Text(
        f"privacy: {study.privacy.kind}, one patient with all notes, epsilon {reached:.2f} of "
        f"{promise.epsilon:g} at delta {promise.delta:g} for each site; noise multiplier "
        f"{first.noise_multiplier:.2f}, {study.rounds} rounds of {study.steps} steps at rate "
        f"{study.sample_rate:g}",
        style="green",
    )


def _tallied(sites: Sequence[Site]) -> Text:
    """What the tune and held-out patients pay for the metrics of the rounds."""
    policies = [site.policy for site in sites]
    said = []
    if any(policy.metrics == "exact" for policy in policies):
        said.append("exact, with no such bound")
    ceilings = [p.heldout.epsilon for p in policies if p.metrics == "noised" and p.heldout]
    if ceilings:
        said.append(
            f"with noise, for an epsilon of at most {max(ceilings):g}; metrics of rounds are rough"
        )
    if any(policy.metrics == "withheld" for policy in policies):
        said.append("withheld")
    return Text(f"tallies of tune and held-out patients: {'; '.join(said)}", style="green")


def _sites_table(left_out: Mapping[str, Mapping[str, int]]) -> Table:
    table = plain_table("patients in this simulation (a real site keeps these numbers)")
    table.add_column("site")
    parts = ("train", "tune", "heldout")
    for part in parts:
        table.add_column(part, justify="right")
    for site, counts in left_out.items():
        table.add_row(site, *(f"{counts.get(KEPT + part, 0):,}" for part in parts))
    return table


def _rounds_table(shown: Columns) -> Table:
    table = plain_table("rounds, from what left the sites; epsilon is the worst site's")
    for name in ("round", *(name for name, _ in shown), "epsilon"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("down", "up", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _round_row(event: Mapping[str, Any], shown: Columns) -> list[str]:
    found = event["metrics"]
    return [
        "start" if event["number"] == 0 else str(event["number"]),
        *(number_text(found[key]) for _, key in shown),
        epsilon_text(event["epsilon"]),
        size_text(event["bytes_down"]),
        size_text(event["bytes_up"]),
        f"{event['seconds']:.1f}",
    ]


def _hospitals_table(result: Result, shown: Columns) -> Table:
    named = "/".join(name for name, _ in _both(shown))
    table = plain_table(f"each hospital, on its own held-out patients: {named}")
    table.caption = (
        "size: training patients, as declared; held: patients held out. Alone and pooled train "
        "without privacy and keep their best round; the federation keeps its last. Own: the "
        "federation's head, trained on at the hospital, where it stays."
    ) + verdicts.legend(result, shown)
    table.add_column("hospital", no_wrap=True)
    for name in ("size/held", "alone", "federated", "own", "", "pooled", "epsilon"):
        table.add_column(name, justify="right", no_wrap=True)
    for site in result.sites:
        if site.federated is None:
            table.add_row(site.name, str(site.declared_patients), "", "took no part")
            continue
        joining = site.joining
        style = {joining.taken: verdicts.STYLES[joining.gain.verdict]} if joining else {}
        own = joining.own if joining else None
        scores = _two(site.others.get(own) if own else None, shown)
        table.add_row(
            site.name,
            f"{site.declared_patients}/{site.federated.patients}",
            _two(site.local, shown),
            Text(_two(site.federated, shown), style=style.get("federated", "")),
            Text(scores, style=style.get(own, "") if own else ""),
            verdicts.MARKS[joining.gain.verdict] if joining else "",
            _two(site.pooled, shown),
            epsilon_text(site.epsilon),
        )
    return table


def _outputs_table(result: Result, outputs: Outputs) -> Table:
    table = plain_table("AUROC of each output, over all held-out patients")
    ways = {"federated": "federated", "pooled": "pooled", "local": "alone (mean)"}
    shown = {key: name for key, name in ways.items() if key in result.outputs}
    table.add_column("output", overflow="fold")
    for name in ("stays", *shown.values()):
        table.add_column(name, justify="right", no_wrap=True)
    for number, output in enumerate(outputs):
        scores = (number_text(result.outputs[key][number].auroc) for key in shown)
        table.add_row(output.output, f"{output.support:,}", *scores)
    return table


def plain_table(title: str) -> Table:
    """A table that fits into 80 columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)


def epsilon_text(value: float | None) -> str:
    """An epsilon for people; None is no bound."""
    return "∞" if value is None else f"{value:.2f}"


def _headline(result: Result, shown: Columns) -> str:
    final = result.final
    said = [f"federated: {_all(final, shown)}"]
    interval = result.intervals.get("federated", {})
    between = [f"{name} {_between(interval[key])}" for name, key in shown if key in interval]
    if between:
        said.append(f"           95% over patients: {', '.join(between)}")
    if final.accuracy is not None:
        said.append(f"           {_classes(final, interval)}")
    if result.local is not None:
        said.append(f"alone:     {_all(result.local, shown)} (mean)")
    if result.pooled is not None:
        said.append(f"pooled:    {_all(result.pooled, shown)}")
    for name, words in OTHERS.items():
        if name in result.others:
            said.append(f"{words}:\n           {_all(result.others[name], shown)}")
    said += [worth] if (worth := verdicts.sentence(result, shown)) else []
    said.append(
        "privacy was off"
        if final.epsilon is None
        else f"epsilon {final.epsilon:.2f} at delta {final.delta:g} for each training patient"
    )
    return "\n".join(said)


OTHERS: Mapping[Other, str] = {
    "closed_form": "closed form (ridge on everybody's records)",
    "closed_form_alone": "closed form at each hospital alone (mean)",
    "untrained": "code-query without training",
    "fine_tuned": "federated, then trained on at each hospital (mean)",
    "mean_regularised": "the same, held near the federation's head (mean)",
}


def _all(of: Final | Metrics, shown: Columns) -> str:
    return ", ".join(f"{name} {number_text(getattr(of, key))}" for name, key in shown)


def _between(interval: tuple[float, float]) -> str:
    return "-".join(number_text(value) for value in interval)


def _classes(final: Final, intervals: Mapping[str, tuple[float, float]]) -> str:
    """What is asked of a task with one output, or one of several classes."""
    said = []
    for name, key in (("accuracy", "accuracy"), ("balanced accuracy", "balanced_accuracy")):
        between = f" ({_between(intervals[key])})" if key in intervals else ""
        said.append(f"{name} {number_text(getattr(final, key))}{between}")
    return ", ".join(said)


def _two(metrics: Metrics | None, shown: Columns) -> str:
    if metrics is None:
        return "-"
    return "/".join(number_text(getattr(metrics, key)) for _, key in _both(shown))


def _both(shown: Columns) -> Columns:
    """The two of a study's metrics for which a hospital's row has room: the first and the third,
    of which one counts decisions and the other ranks.
    """
    return (*shown[:1], *shown[2:3])


def number_text(value: float | None) -> str:
    """A metric for people; None is not known."""
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def size_text(number: int) -> str:
    """A number of bytes for people."""
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"
