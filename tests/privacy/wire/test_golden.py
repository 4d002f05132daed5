"""The golden list: everything that leaves and enters a site, by name and type.

A small study is run against the real client app, and every message is written down and compared
with `golden.json`. Whoever lets something new out has to write it there.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import tomli_w
from builders import site_table, study_table
from flwr.app import Array, Message, RecordDict

from client.app import app
from experiments.simulate.in_process import InProcessGrid, _identity
from server.journal import Journal
from server.outbox import Outbox
from server.rounds import Rounds, TooFewSites
from tasks.study import Study

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden.json").read_text("utf-8"))

Messages = dict[str, RecordDict]

NAMES = {
    ("query.hello", "down"): "hello question",
    ("query.hello", "up"): "hello answer",
    ("train", "down"): "train request",
    ("train", "up"): "train release",
    ("evaluate", "down"): "evaluate request",
    ("evaluate", "up"): "evaluate release",
}


class Watched(InProcessGrid):
    """Keeps the first message of every sort, both ways."""

    def __init__(self, site: Path) -> None:
        super().__init__(app, nodes=1, run_config={}, run_id=1)
        for context in self._contexts.values():
            context.node_config = {"site": str(site)}
        self.seen: Messages = {}

    def _answer(self, message: Message) -> Message:
        kind = message.metadata.message_type
        self.seen.setdefault(NAMES[kind, "down"], message.content)
        reply = super()._answer(message)
        assert reply.has_content(), reply.error
        self.seen.setdefault(NAMES[kind, "up"], reply.content)
        return reply


POLICY = {
    "exact": {"metrics": "exact", "smallest_count": 0},
    "noised": {"metrics": "noised", "heldout": {"epsilon": 4.0}},
    "withheld": {"metrics": "withheld"},
    "refusing": {"tasks": []},
}
PRIVACY: dict[str, Any] = {
    "dp-sgd": {"kind": "dp-sgd", "epsilon": 8.0, "clip": 0.5},
    "off": {"kind": "off"},
}


@cache
def messages(privacy: str, policy: str) -> Messages:
    """Every sort of message of a study with one real site: its own file, no seed."""
    with TemporaryDirectory() as folder:
        site = Path(folder) / "site" / "site.toml"
        site.parent.mkdir()
        allowed = {
            "studies": "any",
            "lifetime": {"epsilon": float("inf")},
            "mechanisms": ["dp-sgd", "off"],
        }
        table = site_table("ash", policy=allowed | POLICY[policy])
        site.write_text(tomli_w.dumps(table), "utf-8")
        study = Study.parse_table(study_table(rounds=1, privacy=PRIVACY[privacy]), where="golden")
        grid, journal = Watched(site), Journal(Path(folder) / "journal.jsonl")
        outbox = Outbox(Path(folder) / "outbox.jsonl")
        try:
            with _identity(run_id=1, node_id=1):
                Rounds(study, grid, Path(folder), journal, outbox).run()
        except TooFewSites:
            assert policy == "refusing"
        finally:
            journal.close()
            outbox.close()
        return grid.seen


def typed(value: Any) -> Any:
    """A JSON value as its type; of an object each key with its type."""
    if isinstance(value, dict):
        return {key: typed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return ["text" if isinstance(inner, str) else "?" for inner in value[:1]]
    names = {bool: "true or false", int: "int", float: "float", str: "text", type(None): "null"}
    return names[type(value)]


def listed(content: RecordDict) -> dict[str, Any]:
    """A message as the golden list has it."""
    found: dict[str, Any] = {}
    for name, record in content.items():
        found[name] = {}
        for key, value in record.items():
            if isinstance(value, Array):
                assert value.stype == "numpy.ndarray"
                found[name][key] = [value.dtype, *value.shape]
            else:
                assert type(value) is str
                found[name][key] = typed(json.loads(value))
    return found


SORTS = sorted(NAMES.values())
RUNS = [(privacy, policy) for privacy in PRIVACY for policy in ("exact", "noised", "withheld")]


@pytest.mark.parametrize(("privacy", "policy"), RUNS)
@pytest.mark.parametrize("sort", ["hello question", "hello answer", "train request"])
def test_what_is_asked_and_said_at_first_is_what_is_listed(sort, privacy, policy):
    assert listed(messages(privacy, policy)[sort]) == GOLDEN[sort]


@pytest.mark.parametrize(("privacy", "policy"), RUNS)
def test_an_evaluation_is_asked_for_as_training_is(privacy, policy):
    assert listed(messages(privacy, policy)["evaluate request"]) == GOLDEN["train request"]


@pytest.mark.parametrize(("privacy", "policy"), RUNS)
@pytest.mark.parametrize("sort", ["train release", "evaluate release"])
def test_a_release_holds_what_is_listed_and_nothing_else(sort, privacy, policy):
    assert listed(messages(privacy, policy)[sort]) == GOLDEN[f"{sort}, {policy}"]


def test_a_refusal_holds_what_is_listed_and_nothing_else():
    seen = messages("dp-sgd", "refusing")
    assert set(seen) == {"hello question", "hello answer"}
    assert listed(seen["hello answer"]) == GOLDEN["refusal"]


def test_every_sort_of_message_is_listed_once():
    releases = {f"{sort} release, {policy}" for sort in ("train", "evaluate") for _, policy in RUNS}
    asked = {"hello question", "hello answer", "train request", "refusal"}
    assert set(GOLDEN) == releases | asked
    assert set(messages("dp-sgd", "exact")) == set(SORTS)


def test_without_privacy_the_release_says_so():
    for policy in ("exact", "withheld"):
        said = json.loads(messages("off", policy)["train release"]["header"]["json"])
        assert said["noise_multiplier"] == 0
        said = json.loads(messages("dp-sgd", policy)["train release"]["header"]["json"])
        assert said["noise_multiplier"] > 0.5


def test_no_number_of_patients_leaves_beside_noised_or_withheld_tallies():
    for policy, found in (("noised", {0}), ("withheld", set())):
        for sort in ("train release", "evaluate release"):
            said = json.loads(messages("dp-sgd", policy)[sort]["header"]["json"])
            assert set(said["patients"].values()) == found
            assert said["declared_patients"] == 40
