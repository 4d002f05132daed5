"""`fedward lab kinds` and `fedward lab check`."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.verbs import JsonFile, fail, in_one_line, write_json

if TYPE_CHECKING:
    from experiments.extending.checks import Checked
    from privacy.spec import Kind, Registry


class SeamName(StrEnum):
    """What others may add kinds of."""

    tasks = "tasks"
    sources = "sources"
    encoders = "encoders"
    heads = "heads"
    mechanisms = "mechanisms"
    strategies = "strategies"


class CheckedSeam(StrEnum):
    """What there are checks for."""

    tasks = "tasks"
    sources = "sources"


def kinds(
    seam: Annotated[SeamName | None, typer.Argument(help="Of one seam only.")] = None,
    json: JsonFile = None,
) -> None:
    """List every installed kind: tasks, sources, encoders, heads, mechanisms, strategies.

    Presets of the encoder `sentence-transformer` stand with the encoders.
    """
    from rich.console import Console
    from rich.table import Table

    rows = []
    with in_one_line():
        for name in [seam] if seam is not None else list(SeamName):
            for kind, cls in _registry(name).kinds().items():
                rows.append({"seam": name.value, "kind": kind, "what": _first_sentence(cls),
                             "from": _package(cls)})  # fmt: skip
            rows += _presets() if name is SeamName.encoders else []
    table = Table("seam", "kind", "what it is", "package")
    for row in rows:
        table.add_row(row["seam"], row["kind"], row["what"], row["from"])
    Console().print(table)
    write_json(json, rows)


def check(
    seam: Annotated[CheckedSeam, typer.Argument(help="Of what it is a kind.")],
    name: Annotated[str, typer.Argument(help="Its kind, as a study or site.toml names it.")],
    table: Annotated[
        Path | None,
        typer.Option("--with", help="TOML file with the kind's keys, where it needs some."),
    ] = None,
    data: Annotated[Path, typer.Option(help="For sources: where relative paths start.")] = Path(),
    json: JsonFile = None,
) -> None:
    """Hold a task or a source to what fedward asks of each; exit status 1 where one fails."""
    from rich.console import Console
    from rich.text import Text

    with in_one_line():
        made = _made(seam, name, table)
    console, found = Console(), []
    for one in _checks(seam, made, data):
        found.append(one)
        line = Text()
        line.append("ok     " if not one.broken else "BROKEN ",
                    style="green" if not one.broken else "bold red")  # fmt: skip
        line.append(one.what)
        for said in one.broken:
            line.append(f"\n         {said}")
        console.print(line, soft_wrap=True)
    write_json(json, found)
    broken = sum(bool(one.broken) for one in found)
    if broken:
        fail(f"{name} breaks {broken} of {len(found)} checks")
    console.print(f"{name} holds to all {len(found)} checks", style="green")


def _made(seam: CheckedSeam, name: str, table: Path | None) -> Kind:
    from pydantic import ValidationError

    from privacy.spec import one_line, read_toml

    registry = _registry(SeamName(seam.value))
    known = registry.kinds()
    if name not in known:
        fail(f"no installed package has a kind {name!r} of {seam}; there are {', '.join(known)}")
    given: dict[str, Any] = {} if table is None else read_toml(table)
    try:
        made: Kind = known[name].model_validate({k: v for k, v in given.items() if k != "kind"})
    except ValidationError as error:
        hint = "" if table is not None else "; give its keys with --with FILE.toml"
        fail(f"{name}: {one_line(error)}{hint}")
    return made


def _checks(seam: CheckedSeam, made: Kind, data: Path) -> Iterator[Checked]:
    from client.sources.source import Source
    from experiments.extending.check_source import check_source
    from experiments.extending.check_task import TASK_CHECKS
    from privacy.errors import SiteError
    from tasks.task import Task

    if seam is CheckedSeam.tasks and isinstance(made, Task):
        yield from TASK_CHECKS.run(made)
    elif isinstance(made, Source):
        try:
            yield from check_source(made, root=data)
        except (SiteError, OSError) as error:
            fail(str(error))


def _registry(seam: SeamName) -> Registry[Any]:
    from client.sources.kinds import SOURCES
    from embeddings.encoders import ENCODERS
    from privacy.mechanisms import MECHANISMS
    from tasks.heads.kinds import HEADS
    from tasks.kinds import TASKS
    from tasks.strategy import STRATEGIES

    registries: dict[SeamName, Registry[Any]] = {
        SeamName.tasks: TASKS,
        SeamName.sources: SOURCES,
        SeamName.encoders: ENCODERS,
        SeamName.heads: HEADS,
        SeamName.mechanisms: MECHANISMS,
        SeamName.strategies: STRATEGIES,
    }
    return registries[seam]


def _presets() -> list[dict[str, str]]:
    from embeddings.presets import PRESETS

    return [
        {"seam": "encoder presets", "kind": name, "what": preset.said, "from": "fedward"}
        for name, preset in PRESETS.items()
    ]


def _first_sentence(cls: type[Kind]) -> str:
    paragraph = " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


def _package(cls: type[Kind]) -> str:
    root = cls.__module__.partition(".")[0]
    return "fedward" if root in {"client", "embeddings", "privacy", "tasks"} else root
