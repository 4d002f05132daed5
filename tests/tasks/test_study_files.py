"""Study: files, canonical JSON, noise plan and contract."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from client.drawn import before
from privacy.accounting import epsilon
from privacy.errors import StudyRefused
from tasks.study import SIMULATION, OptimizerSpec, Study

FOLDER = Path(__file__).parents[2] / "experiments" / "studies"


def whole(path: Path) -> bool:
    """Not a grid over another file (tests/experiments/compare/test_grid), nor one whose names are
    drawn first (tests/client/test_drawn).
    """
    based = "base" in tomllib.loads(path.read_text("utf-8")).get("compare", {})
    return not based and not before(path)[1]


FILES = sorted(path for path in FOLDER.glob("*.toml") if whole(path))
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
SECRET = "Jane-Doe-4711"


def table() -> dict[str, Any]:
    """A small study that names every table."""
    return {
        "name": "small",
        "rounds": 3,
        "steps": 4,
        "sample_rate": 0.2,
        "seed": 7,
        "encoder": {"kind": "hashing", "dim": 4},
        "chunker": {"tokens": 8, "stride": 6},
        "bag": {"stays": 2, "chunks": 4},
        "head": {"kind": "linear"},
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "privacy": {"kind": "dp-sgd", "epsilon": 3.0},
        "strategy": {"kind": "fedavg"},
        "task": {"kind": "icd-coding", "codes": ["I10", "E11", "I50"]},
        "about": {"coordinator": "one"},
    }


def filed(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "study.toml"
    path.write_text(tomli_w.dumps(content), "utf-8")
    return path


def complaint(path: Path) -> str:
    with pytest.raises(ValueError, match=r"study\.toml: ") as caught:
        Study.read(path)
    return str(caught.value)


def test_the_studies_that_come_along_are_found():
    assert {path.stem for path in FILES} >= {"quick", "demo", "codiesp-category", "vaers-private"}


@every_file
def test_every_study_file_is_read_and_comes_back_from_its_json_the_same(path: Path):
    study = Study.read(path)
    text = study.canonical()
    again = Study.received(text)
    assert again == study
    assert again.canonical() == text
    assert again.digest == study.digest
    assert json.loads(text)["name"] == path.stem
    assert text.isascii()
    assert ": " not in text.replace(study.name, "")


@every_file
def test_the_digest_does_not_see_the_simulation_table(path: Path, tmp_path: Path):
    content = tomllib.loads(path.read_text("utf-8"))
    assert SIMULATION in content
    without = {key: value for key, value in content.items() if key != SIMULATION}
    other = without | {SIMULATION: {"seed": 99, "anything": [1, 2]}}
    for changed in (without, other):
        assert Study.read(filed(tmp_path, changed)).digest == Study.read(path).digest


def test_a_defaulted_key_written_out_gives_the_same_digest(tmp_path: Path):
    plain = Study.read(filed(tmp_path, table()))
    written = table()
    written["head"] |= {"scale": 1.0, "bias": -3.0}
    assert Study.read(filed(tmp_path, written)).digest == plain.digest


CHANGES = {
    "name": "other",
    "rounds": 4,
    "steps": 5,
    "sample_rate": 0.3,
    "seed": 8,
    "encoder": {"kind": "hashing", "dim": 5},
    "chunker": {"tokens": 8, "stride": 7},
    "bag": {"stays": 2, "chunks": 5},
    "head": {"kind": "linear", "scale": 2.0},
    "start": {"weights_sha256": "5" * 64},
    "optimizer": {"kind": "sgd", "learning_rate": 0.2},
    "privacy": {"kind": "dp-sgd", "epsilon": 4.0},
    "strategy": {"kind": "fedavg", "minimum_sites": 3},
    "task": {"kind": "icd-coding", "codes": ["E11", "I10", "I50"]},
    "about": {"coordinator": "another"},
}


@pytest.mark.parametrize("key", CHANGES)
def test_every_other_key_changes_the_digest(key: str, tmp_path: Path):
    assert CHANGES.keys() == set(Study.model_fields)
    plain = Study.read(filed(tmp_path, table()))
    assert Study.read(filed(tmp_path, table() | {key: CHANGES[key]})).digest != plain.digest


@pytest.mark.parametrize("where", ["", *(k for k, v in CHANGES.items() if isinstance(v, dict))])
def test_an_unknown_key_is_one_line_that_names_file_and_key_and_not_the_value(
    where: str, tmp_path: Path
):
    content = table()
    (content.setdefault(where, {}) if where else content)["colour"] = SECRET
    path = filed(tmp_path, content)
    said = complaint(path)
    assert said.startswith(f"{path}: {where}")
    assert "colour: no such key; check its spelling" in said
    assert "\n" not in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ("", "rounds"),
        ("", "sample_rate"),
        ("", "name"),
        ("encoder", "kind"),
        ("encoder", "dim"),
        ("chunker", "tokens"),
        ("bag", "stays"),
        ("head", "kind"),
        ("head", "scale"),
        ("optimizer", "kind"),
        ("optimizer", "learning_rate"),
        ("privacy", "kind"),
        ("privacy", "epsilon"),
        ("strategy", "timeout"),
        ("task", "level"),
        ("task", "hours_after_discharge"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_key_and_not_the_value(
    where: str, key: str, tmp_path: Path
):
    content = table()
    (content[where] if where else content)[key] = f"{SECRET} !"
    said = complaint(filed(tmp_path, content))
    assert where in said
    assert key in said
    assert "\n" not in said
    assert SECRET not in said


@pytest.mark.parametrize("key", ["rounds", "encoder", "head", "privacy", "task"])
def test_a_missing_key_is_named(key: str, tmp_path: Path):
    content = {name: value for name, value in table().items() if name != key}
    path = filed(tmp_path, content)
    assert complaint(path) == f"{path}: {key}: Field required"


def test_a_missing_file_and_a_file_that_is_not_toml_are_one_line_each(tmp_path: Path):
    path = tmp_path / "study.toml"
    assert complaint(path) == f"{path}: no such file"
    path.write_text("name = \n", "utf-8")
    assert complaint(path).startswith(f"{path}: not TOML: ")
    path.write_bytes(b"name = '\xff'")
    assert "\n" not in complaint(path)


def test_what_is_sent_and_does_not_fit_is_refused_without_its_value():
    sent = json.loads(Study.model_validate(table()).canonical()) | {"colour": SECRET}
    for text in (json.dumps(sent), f'"{SECRET}"', SECRET, ""):
        with pytest.raises(StudyRefused, match=r"^the study cannot be read here: ") as caught:
            Study.received(text)
        assert SECRET not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    "head",
    [
        {"kind": "linear", "scale": 1.0},
        {"kind": "mlp", "bias": 1.0},
        {"kind": "code-query", "sharpness": 1.0},
        {"kind": "code-query", "bias_scale": 1.0},
    ],
    ids=lambda head: "-".join(head)[5:],
)
def test_a_head_with_a_number_that_json_cannot_say_is_refused(
    head: dict[str, Any], number: float, tmp_path: Path
):
    key = list(head)[-1]
    content = table() | {"head": head | {key: number}}
    assert f"{key}: " in complaint(filed(tmp_path, content))


@every_file
def test_the_noise_plan_is_the_same_in_every_round_and_keeps_the_budget(path: Path):
    study = Study.read(path)
    spends = study.spends()
    assert [spend.round for spend in spends] == list(range(1, study.rounds + 1))
    assert {spend.study for spend in spends} == {study.digest}
    first = spends[0]
    assert all(spend == first.model_copy(update={"round": spend.round}) for spend in spends)
    assert (first.steps, first.sample_rate) == (study.steps, study.sample_rate)
    budget = study.privacy.promise
    if budget is None:
        assert first.noise_multiplier == 0
        return
    cost = epsilon(spends, delta=budget.delta)
    assert 0.97 * budget.epsilon < cost <= budget.epsilon
    weaker = [s.model_copy(update={"noise_multiplier": s.noise_multiplier * 0.98}) for s in spends]
    assert epsilon(weaker, delta=budget.delta) > budget.epsilon


TALLIES = {
    "tune/scores": ((2, 4098), "int64"),
    "tune/labels": ((2, 3, 66), "int64"),
    "heldout/scores": ((2, 4098), "int64"),
    "heldout/labels": ((2, 3, 16386), "int64"),
    "heldout/ranks": ((4,), "float64"),
    "heldout/tops": ((6,), "float64"),
    "heldout/sets": ((2, 65), "float64"),
    "tune/noised": ((2, 66), "float64"),
    "heldout/noised": ((2, 66), "float64"),
    "heldout/noised-ranks": ((4,), "float64"),
}


@pytest.mark.parametrize(
    ("head", "parameters"),
    [
        ({"kind": "linear"}, {"out.weight": (3, 4), "out.bias": (3,)}),
        (
            {"kind": "mlp", "hidden": [6, 5]},
            {
                "hidden.0.weight": (6, 4),
                "hidden.0.bias": (6,),
                "hidden.1.weight": (5, 6),
                "hidden.1.bias": (5,),
                "out.weight": (3, 5),
                "out.bias": (3,),
            },
        ),
        (
            {"kind": "code-query"},
            {"pick.weight": (4, 4), "score.weight": (4, 4), "bias.weight": (3, 1)},
        ),
        (
            {"kind": "code-query", "residual": True},
            {
                "pick.weight": (4, 4),
                "score.weight": (4, 4),
                "bias.weight": (3, 1),
                "residual.weight": (3, 4),
            },
        ),
    ],
    ids=["linear", "mlp", "code-query", "code-query-residual"],
)
def test_the_contract_names_what_leaves_and_the_start_keeps_to_it(
    head: dict[str, Any], parameters: dict[str, tuple[int, ...]]
):
    study = Study.model_validate(table() | {"head": head})
    contract = study.contract()
    assert contract.study == study.digest
    assert contract.parameters == parameters
    assert contract.tallies == TALLIES
    start = study.initial()
    assert {name: value.shape for name, value in start.items()} == parameters
    assert {str(value.dtype) for value in start.values()} == {"float32"}


def test_the_start_follows_the_seed_and_nothing_else():
    mlp = table() | {"head": {"kind": "mlp", "hidden": [6]}}
    one = Study.model_validate(mlp).initial()
    with torch.random.fork_rng():
        torch.manual_seed(123)
        again = Study.model_validate(mlp | {"name": "renamed", "rounds": 9}).initial()
    other = Study.model_validate(mlp | {"seed": 8}).initial()
    assert all((one[name] == again[name]).all() for name in one)
    assert (one["hidden.0.weight"] != other["hidden.0.weight"]).any()


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_rate_falls_from_round_to_round_where_it_decays(kind: str):
    def rates(decay: str) -> list[float]:
        spec = OptimizerSpec(kind=kind, learning_rate=0.8, decay=decay)
        built = [spec.build(iter([torch.zeros(1)]), round=n, rounds=4) for n in range(1, 5)]
        return [optimizer.param_groups[0]["lr"] for optimizer in built]

    assert rates("linear") == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert rates("none") == [0.8] * 4


@pytest.mark.parametrize(
    ("spec", "steps"),
    [
        (OptimizerSpec(kind="sgd", learning_rate=0.5), [0.5, 1.0]),
        (OptimizerSpec(kind="sgd", learning_rate=0.5, momentum=0.5), [0.5, 1.25]),
        (OptimizerSpec(kind="adam", learning_rate=0.5), [0.5, 1.0]),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_the_optimizer_steps_as_it_says(spec: OptimizerSpec, steps: list[float]):
    value = torch.nn.Parameter(torch.zeros(1))
    optimizer = spec.build(iter([value]))
    for expected in steps:
        optimizer.zero_grad()
        value.sum().backward()
        optimizer.step()
        assert value.item() == pytest.approx(-expected, rel=1e-6)
