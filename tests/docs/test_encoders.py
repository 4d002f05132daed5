"""docs/encoders.md: every kind and key, the presets as they are, commands that are parsed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from commands import commands, parse

from embeddings.encoders import ENCODERS
from embeddings.presets import PRESETS
from experiments.diagnose.probe import ProbeScore
from experiments.diagnose.run import Components, Diagnosis, EncoderPair, SitePair

PAGE = Path(__file__).parents[2] / "docs" / "encoders.md"
TEXT = PAGE.read_text("utf-8")
NAMES = {"study", "task", "encoder", "sites", "one", "other", "site", "pairs", "fitted", "scored"}


@pytest.mark.parametrize("kind", ENCODERS._ours)
def test_every_kind_has_an_example_that_is_read_and_every_key(kind):
    found = re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    [example] = re.findall(r"^```toml\n(.*?)^```", found[1], re.MULTILINE | re.DOTALL)
    assert ENCODERS.parse(tomllib.loads(example)).kind == kind
    keys = ENCODERS.kinds()[kind].model_fields
    assert [
        key for key in keys if not re.search(rf"`{key}\b|^{key} = ", found[1], re.MULTILINE)
    ] == []


def test_the_presets_are_those_there_are():
    row = r"^\| `([^`]+)` \| (\w+) \| (\d+) \| (\d+) \| (\w+)( \(no .*?\))? \| (.*?) \|$"
    rows = re.findall(row, TEXT, re.MULTILINE)
    assert [(n, g, int(d), int(c), p, bool(b), licence) for n, g, d, c, p, b, licence in rows] == [
        (n, p.group, p.dim, p.context, p.pooling, p.bare, p.licence) for n, p in PRESETS.items()
    ]


@pytest.mark.parametrize("spec", [Components, ProbeScore, SitePair, EncoderPair, Diagnosis])
def test_every_number_is_named(spec):
    fields = set(spec.model_fields) - NAMES - {"encoders"}
    assert [name for name in fields if f"`{name}`" not in TEXT] == []


def test_its_commands_are_those_of_the_command():
    found = commands(PAGE)
    assert len(found) == 2
    for words in found:
        assert words[0] == "fedward"
        parse(words[1:])
