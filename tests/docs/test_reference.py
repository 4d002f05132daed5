"""docs/sources.md, tasks.md, strategies.md, heads.md: every kind and key, examples read."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from client.sources.jsonl import Jsonl
from client.sources.kinds import SOURCES
from client.sources.source import Attrition
from privacy.mechanisms import MECHANISMS
from tasks.heads.kinds import HEADS
from tasks.kinds import TASKS
from tasks.strategy import STRATEGIES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    ("sources.md", SOURCES),
    ("tasks.md", TASKS),
    ("strategies.md", STRATEGIES),
    ("heads.md", HEADS),
    ("heads.md", MECHANISMS),
]
KINDS = [
    pytest.param(page, registry, kind, id=kind)
    for page, registry in PAGES
    for kind in registry._ours
]


def section(page: str, kind: str) -> str:
    """What stands under a kind's heading."""
    text = (DOCS / page).read_text("utf-8")
    found = re.search(rf"^## {re.escape(kind)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {kind}"
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "registry", "kind"), KINDS)
def test_every_kind_has_an_example_that_is_read(page, registry, kind):
    examples = blocks(section(page, kind), "toml")
    assert examples
    for example in examples:
        made = registry.parse(tomllib.loads(example))
        assert made.kind == kind


@pytest.mark.parametrize(("page", "registry", "kind"), KINDS)
def test_every_key_is_named(page, registry, kind):
    text = (DOCS / page).read_text("utf-8")
    keys = registry.kinds()[kind].model_fields
    named = r"`{0}\b|^\[?{0}\b|\b{0} = "
    assert not [key for key in keys if not re.search(named.format(key), text, re.MULTILINE)]


def test_the_line_of_a_patient_is_read(tmp_path):
    [line] = blocks(section("sources.md", "jsonl"), "json")
    (tmp_path / "p.jsonl").write_text(json.dumps(json.loads(line)), "utf-8")
    attrition = Attrition()
    [patient] = Jsonl(paths=("p.jsonl",)).patients(root=tmp_path, attrition=attrition)
    assert patient.deaths_known
    assert patient.stays[0].facts == {"ward": "medical"}
    assert not attrition.counts
