"""Adding a kind: a package of somebody else's, installed, found, checked; and our own, checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import pytest

from client.sources.jsonl import Jsonl
from client.sources.synthetic.source import SyntheticSource
from experiments.extending.check_source import check_source
from experiments.extending.check_task import TASK_CHECKS
from tasks.icd_coding import IcdCoding
from tasks.kinds import TASKS
from tasks.records import Patient
from tasks.task import Label, LeftOut, Task
from tasks.term_coding import TermCoding

EXTENSION = Path(__file__).parents[2] / "extension"
FEDWARD = [sys.executable, "-m", "experiments.command"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the extension installed as pip would install it anywhere."""
    work = tmp_path_factory.mktemp("extension")
    source, target = work / "source", work / "installed"
    source.mkdir()
    for file in ("pyproject.toml", "fedward_sepsis.py"):
        (source / file).write_bytes((EXTENSION / file).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", target, source],
        check=True, capture_output=True,
    )  # fmt: skip
    return target


def fedward(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    parts = [str(Path(__file__).parents[3]), *([str(path)] if path else [])]
    surroundings = os.environ | {"PYTHONPATH": os.pathsep.join(parts), "COLUMNS": "200"}
    call = [sys.executable, "-c", "from experiments.command import main; main()", *arguments]
    return subprocess.run(call, capture_output=True, text=True, env=surroundings, check=False)


def test_the_extension_is_short():
    assert len((EXTENSION / "fedward_sepsis.py").read_text("utf-8").splitlines()) < 40


def test_a_task_of_another_package_is_found_and_checked(installed, tmp_path):
    assert fedward("lab", "check", "tasks", "sepsis").returncode == 1
    came = fedward("lab", "check", "tasks", "sepsis", "--json", str(tmp_path / "x"), path=installed)
    assert came.returncode == 0, came.stdout + came.stderr
    assert "sepsis holds to all" in came.stdout
    assert not any(one["broken"] for one in json.loads((tmp_path / "x").read_text("utf-8")))
    listed = fedward("lab", "kinds", "tasks", path=installed).stdout
    assert "sepsis" in listed
    assert "fedward_sepsis" in listed
    assert "icd-coding" in listed


NEED_MORE = {"icd-coding", "term-coding", "flag", "adverse-event"}
"""Kinds with no defaults, or whose facts the synthetic patients of the checks do not have."""


@pytest.mark.parametrize(
    "task",
    [
        IcdCoding(codes=("I10", "A41")),
        TermCoding(system="icd-10-cm", names=("I10", "A41.9")),
        *(cls() for kind, cls in TASKS.kinds().items() if kind not in NEED_MORE),
    ],
    ids=lambda task: task.kind,
)
def test_our_tasks_hold(task):
    assert not [one for one in TASK_CHECKS.run(task) if one.broken]


def cut(text: str) -> str:
    """Without every other word."""
    return " ".join(text.split()[::2])


class Odd(Task):
    """A task that can be made wrong in any one way."""

    kind: ClassVar[str] = "odd"
    exclusive_: bool = False
    outputs_: tuple[str, ...] = ("yes",)
    way: str = ""

    @property
    def outputs(self):
        return self.outputs_

    @property
    def questions(self):
        return ("Is it so?",)

    @property
    def exclusive(self):
        return self.exclusive_

    @property
    def summary(self):
        return "whether it is so" + ("." if self.way == "full stop" else "")

    @property
    def reads(self):
        return "all notes"

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        Odd.asked += 1
        for stay in patient.stays:
            at = stay.discharged
            match self.way:
                case "naive":
                    at = at.replace(tzinfo=None)
                case "names":
                    left_out(f"stays like {stay.id}")
                    continue
                case "silent":
                    continue
                case "raises":
                    raise KeyError("codes")
                case "chance":
                    at += timedelta(seconds=Odd.asked)
            future = any(note.at > stay.admitted for note in patient.notes)
            true = {"future": future, "else": False}.get(self.way, True)
            target = frozenset({"yes"} if true else ())
            if self.way == "future":
                at = stay.admitted
            view = {"writes": lambda text: f"{text} YES", "cuts": cut}.get(self.way)
            yield Label(at, frozenset({"maybe"}) if self.way == "target" else target, view=view)

    asked: ClassVar[int] = 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"outputs_": ("yes", "yes")}, "stands 2 times"),
        ({"outputs_": ()}, "outputs is empty"),
        ({"way": "full stop"}, "without a full stop"),
        ({"way": "naive"}, "no zone"),
        ({"way": "target"}, "not among the outputs"),
        ({"way": "chance"}, "depend on chance"),
        ({"way": "future"}, "changes when notes written after it"),
        ({"way": "silent"}, "no rule that says why"),
        ({"way": "writes"}, "puts words into a note"),
        ({"way": "names"}, "names a patient or a stay"),
        ({"way": "raises"}, "raises KeyError"),
        ({"way": "else", "exclusive_": True}, "0 true outputs"),
    ],
)
def test_each_way_of_being_wrong_is_found(fields, words):
    said = [said for one in TASK_CHECKS.run(Odd.model_validate(fields)) for said in one.broken]
    assert any(words in text for text in said), said


@pytest.mark.parametrize("way", ["", "cuts"])
def test_a_task_that_is_right_passes(way):
    assert not [one for one in TASK_CHECKS.run(Odd(way=way)) if one.broken]


def test_our_sources_hold(tmp_path):
    source = SyntheticSource(hospital="Northfield", patient_count=30, admission_notes=True)
    assert not [one for one in check_source(source, root=tmp_path) if one.broken]


def test_a_source_is_checked_where_it_is_pointed_at(tmp_path):
    line = {"id": "d1", "text": "words", "codes": ["I10"]}
    (tmp_path / "notes.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    table = 'paths = ["notes.jsonl"]\nlayout = "documents"\nundated = true\n'
    (tmp_path / "source.toml").write_text(table + '[columns]\npatient = "id"\n', "utf-8")
    options = ["--with", str(tmp_path / "source.toml"), "--data", str(tmp_path)]
    came = fedward("lab", "check", "sources", "jsonl", *options)
    assert (came.returncode, "jsonl holds to all" in came.stdout) == (0, True), came.stderr
    broken = fedward(
        "lab", "check", "sources", "jsonl", *options[:2], "--data", str(tmp_path / "x")
    )
    assert broken.returncode == 1
    assert "notes.jsonl: cannot be read" in broken.stderr
    assert "give its keys with --with" in fedward("lab", "check", "sources", "jsonl").stderr


class Shaky(Jsonl):
    """A source whose second reading is not like the first."""

    readings: ClassVar[int] = 0

    def patients(self, *, root, attrition):
        Shaky.readings += 1
        attrition.add("readings", number=Shaky.readings)
        yield Patient("p1", (), ())

    def state(self, *, root):
        return str(Shaky.readings)


def test_a_shaky_source_is_found(tmp_path):
    broken = {one.what for one in check_source(Shaky(paths=("x",)), root=tmp_path) if one.broken}
    assert len(broken) == 3
