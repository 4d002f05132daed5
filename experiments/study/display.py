"""What a study on a coordinator looks like in a terminal, or in a file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from experiments.columns import columns
from experiments.simulate.display import epsilon_text, number_text, plain_table
from experiments.study.run import Outcome
from server.deployment.runs import Progress as Came


class Lines:
    """A `Watcher` that prints a line for each event, above a bar where there is a terminal."""

    def __init__(self, console: Console, *, outputs: int) -> None:
        self._console = console
        self._columns = columns(outputs)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("waiting for sites", total=None)
        self._headed = False
        self._bar.start()

    def close(self) -> None:
        """Takes the bar off the screen."""
        self._bar.stop()

    def note(self, text: str) -> None:
        """See `Watcher.note`."""
        self._print(Text(text, style="yellow"))

    def event(self, event: Mapping[str, Any]) -> None:
        """See `Watcher.event`."""
        kind = event["event"]
        if kind == "start":
            self._bar.update(self._task, total=event["rounds"], completed=event["round"] - 1)
            if event["round"] > 1:
                self.note(f"goes on with round {event['round']} of {event['rounds']}")
        elif kind == "round":
            self._round(event)
        elif kind == "asked":
            asked = f"round {event['round']}: {len(event['sites'])} sites train"
            self._bar.update(self._task, description=asked)
        elif kind in {"waiting", "site", "refused", "left", "back", "rests"}:
            self._print(_said(event))

    def _round(self, event: Mapping[str, Any]) -> None:
        if not self._headed:
            head = ("round", *(name for name, _ in self._columns), "epsilon", "sites", "s")
            self._print(Text("".join(f"{name:>9}" for name in head), style="bold"))
            self._headed = True
        self._bar.update(self._task, completed=event["number"])
        cells = [
            "start" if event["number"] == 0 else str(event["number"]),
            *(number_text(event["metrics"][key]) for _, key in self._columns),
            epsilon_text(event["epsilon"]),
            str(len(event["sites"])),
            f"{event['seconds']:.1f}",
        ]
        self._print(Text("".join(f"{cell:>9}" for cell in cells)))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
        sys.stdout.flush()


def _said(event: Mapping[str, Any]) -> Text:
    """An event about sites in words."""
    kind, site, style = event["event"], event.get("site", ""), "yellow"
    if kind == "waiting":
        said, style = f"{event['sites']} of {event['wanted']} sites are ready", ""
    elif kind == "site":
        declared = event["declared_patients"]
        said, style = f"{site} takes part, with {declared:,} declared patients", "green"
    elif kind == "left":
        said = f"{site}: its node went away"
    elif kind == "back":
        said, style = f"{site}: its node is back", "green"
    elif kind == "rests":
        every = event["every"]
        said = f"{site} answered none of the last rounds: it is asked for every {every}th only"
    elif event["round"]:
        said, style = f"round {event['round']} without {site}: {event['reason']}", "red"
    else:
        said, style = f"{site} takes no part yet: {event['reason']}", "red"
    return Text(said, style=style)


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Prints what a study came to."""
    table = plain_table("sites; epsilon is what the study cost a training patient at most")
    table.add_column("site", no_wrap=True)
    for name in ("declared", "rounds", "epsilon"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("said no")
    for site in outcome.sites:
        took_part = site.declared_patients is not None
        table.add_row(
            site.name,
            f"{site.declared_patients:,}" if took_part else "-",
            str(site.rounds),
            epsilon_text(site.epsilon) if took_part else "-",
            Text("; ".join(_times(*item) for item in site.refusals.items())),
        )
    console.print(table)
    console.print(f"weights: {outcome.weights}", soft_wrap=True, highlight=False)
    for line in _where(outcome):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _times(reason: str, times: int) -> str:
    return reason if times == 1 else f"{reason} ({times} times)"


def _where(outcome: Outcome) -> Sequence[str]:
    """Where rounds, parameters and each site's metrics can be looked at."""
    left = outcome.undelivered
    late = [f"MLflow does not have {left} entries yet; fedward server run delivers them"]
    if outcome.mlflow.startswith("http"):
        where = [f"MLflow: {outcome.mlflow}, experiment fedward, run {outcome.study}"]
    else:
        program = Path(sys.executable).with_name("mlflow")
        words = [str(program), "ui", "--backend-store-uri", outcome.mlflow, "--host=127.0.0.1"]
        where = ["rounds, parameters and every site's metrics in the browser:", shlex.join(words)]
    return where + (late if left else [])


def print_runs(console: Console, came: Sequence[Came]) -> None:
    """Prints a table of studies, the latest last."""
    table = plain_table("studies that were launched here")
    for name in ("run", "state", "round", "sites", "began (UTC)"):
        table.add_column(name, overflow="fold")
    styles = {"finished": "green", "running": "bold", "stopped": "red", "broken off": "red"}
    for one in came:
        state = Text(one.state, style=styles.get(one.state, ""))
        if one.reason:
            state.append(f": {one.reason}", style="")
        table.add_row(
            one.run, state, f"{one.done} of {one.rounds}", ", ".join(one.sites), one.began[:16]
        )
    console.print(table)
