"""`fedward site embed`, as it is shown."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.verbs import JsonFile, SiteFile, opened_site, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from client.embed import Embedded
    from client.site import Site
    from tasks.study import Study


def embed(  # noqa: PLR0917 - typer passes them by name
    site: SiteFile = Path("site.toml"),
    study: Annotated[
        Path | None, typer.Option(help="A study file: prepares this one, also ahead of approval.")
    ] = None,
    watch: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--watch", help="Go on: take in new notes and studies that wait.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=1, help="Seconds between looks at the source, with --watch.")
    ] = 60.0,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait while the daemon embeds something else.")
    ] = 60.0,
    json: JsonFile = None,
) -> None:
    """Embed the notes of every study that this site takes, so that it can train.

    Nothing leaves the site. A study file is held against the policy; nobody has to have approved
    it yet.
    """
    from rich.console import Console

    from tasks.study import Study

    if watch and study is not None:
        typer.echo("give --study or --watch", err=True)
        raise typer.Exit(2)
    console = Console()
    with opened_site(site) as opened:
        if watch:
            _watch(site, every, console, json)
        asked = None if study is None else Study.read(study)
        found = _once(opened, asked, console, wait=wait)
    write_json(json, found, private=True)
    if not found:
        console.print("no study waits here: one is taken in once it is approved, or with --study")
    if any(one.reason for one in found):
        raise typer.Exit(1)


def _once(site: Site, study: Study | None, console: Console, *, wait: float) -> list[Embedded]:
    from client.embed import Embedder, alone, due

    screen = Bars(console)
    try:
        with alone(site, wait=wait), screen:
            embedder = Embedder(site, screen)
            return [embedder.prepare(one) for one in (due(site) if study is None else [study])]
    except TimeoutError:
        raise ValueError("another process of this site still embeds; try again later") from None


def _watch(site: Path, every: float, console: Console, json: Path | None) -> None:
    from client.watch import LOOK_SECONDS, Watch

    console.print(f"watches {site} until Ctrl-C", soft_wrap=True, highlight=False)
    watch = Watch(site, every=every, screen=(screen := Bars(console)))
    while True:
        with screen:
            found = watch.step()
        if found:
            write_json(json, found, private=True)
        time.sleep(LOOK_SECONDS)


class Bars:
    """A `Screen` on a console: a bar for what is under way, a line for what is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        """Takes the bars off the screen; also after an error."""
        if self._bars is not None:
            self._bars.stop()
        self._bars, self._tasks = None, {}

    def begins(self, study: Study) -> None:
        """See `Screen.begins`."""
        del study
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.__exit__()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._bars.start()

    def progress(self, name: str, what: str, done: int, total: int) -> None:
        """See `Screen.progress`."""
        if what not in self._tasks:
            unit = "patients" if what == "reading" else "notes"
            self._tasks[what] = self._bars.add_task(f"{name}: {what} {unit}", total=None)
        self._bars.update(self._tasks[what], completed=done, total=total or None)

    def ended(self, one: Embedded) -> None:
        """See `Screen.ended`."""
        self.__exit__()
        style = "red" if one.reason else "green" if one.notes else ""
        self._console.print(one.said, style=style, soft_wrap=True, markup=False, highlight=False)

    def trouble(self, reason: str) -> None:
        """See `Screen.trouble`."""
        self._console.print(reason, style="red", soft_wrap=True, markup=False)
