"""docs/compare.md: its commands are parsed, its example is read, every key and file is named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from commands import commands, parse

from client.partition import Dirichlet, Iid, Quantity
from client.simulation import Cut, Simulation
from experiments.compare import figures
from experiments.compare.grid import Axis, Compare, Value

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"
TEXT = PAGE.read_text("utf-8")


def test_its_commands_are_those_of_the_command():
    found = commands(PAGE)
    assert len(found) == 2
    for words in found:
        assert words[0] == "fedward"
        parse(words[1:])


EXAMPLES = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_its_example_is_a_grid():
    example = EXAMPLES[0]
    compare = Compare.parse_table(tomllib.loads(example)["compare"], where="docs")
    assert len(compare.combinations) == 2 * 2 * 3 - 3


def test_its_partitions_are_read():
    [table, axis] = map(tomllib.loads, EXAMPLES[1:])
    values = Axis.parse_table(axis["compare"]["axis"][0], where="docs").values
    found = [table, *(value.set for value in values)]
    source = {"kind": "synthetic", "hospital": "h", "patient_count": 1}
    kinds = [
        Simulation.parse_table({"source": source, **one["simulation"]}, where="docs").partition
        for one in found
    ]
    assert [kind.kind for kind in kinds] == ["dirichlet", "iid", "dirichlet"]


@pytest.mark.parametrize("spec", [Compare, Axis, Value, Cut, Iid, Quantity, Dirichlet])
def test_every_key_is_named(spec):
    assert [key for key in spec.model_fields if not re.search(rf"\b{key}\b", TEXT)] == []


def test_every_figure_is_named():
    assert set(re.findall(r"`(\w+\.png)`", figures.__doc__)) == set(
        re.findall(r"^\| `(\w+\.png)`", TEXT, re.MULTILINE)
    )
