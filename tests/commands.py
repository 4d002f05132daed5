"""Commands as documents and deployments write them: found, and held against the real command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import typer

from experiments.command import app

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Words of each line that begins with `$ ` in a page's blocks of kind console, in order.

    A line that ends with a backslash goes on with the next.
    """
    text = "".join(_BLOCK.findall(page.read_text("utf-8"))).replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    return [shlex.split(line, comments=True) for line in lines]


def parse(words: Sequence[str]) -> None:
    """Parses the words behind `fedward`; runs nothing.

    Raises:
        click.exceptions.UsageError: There is no such verb, flag or value.
    """
    command, rest, context = typer.main.get_command(app), list(words), None
    while hasattr(command, "resolve_command"):
        context = command.make_context("fedward", rest, parent=context)
        rest = [*context._protected_args, *context.args]
        _, command, rest = command.resolve_command(context, rest)
    command.make_context("fedward", rest, parent=context)
