"""A study that starts where an earlier one ended, whole: ridge, then steps from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders import policy_table, simulation_table, study_table
from typer.testing import CliRunner

from experiments import baselines
from experiments.audit.run import prepared
from experiments.command import app
from experiments.compare.grid import Grid
from experiments.compare.run import How, _check_start
from experiments.simulate.result import Result
from server.start import StartBroken
from tasks.study import Study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]
POLICY = policy_table(lifetime={"epsilon": float("inf")}, mechanisms=["off"])
RIDGE = {"kind": "ridge", "scale": 12.0}
SUMMED = {"rounds": 1, "steps": 1, "sample_rate": 1.0, "head": RIDGE, "privacy": {"kind": "off"}}


def written(path: Path, *axes: Any, **changes: Any) -> Path:
    table = study_table(**({"privacy": {"kind": "off"}} | changes))
    table["simulation"] = simulation_table(policy=POLICY)
    if axes:
        table["compare"] = {"axis": list(axes)}
    path.write_text(tomli_w.dumps(table), "utf-8")
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("start")


@pytest.fixture(scope="module")
def run(home) -> Callable[..., Result]:
    """Simulates from the command; without baselines."""

    def call(study: Path, *words: object) -> Result:
        places = ["--data", str(home), "--home", str(home / "home"), "--no-baselines"]
        out = home / "out.json"
        given = ["lab", "simulate", str(study), *places, "--json", str(out), *map(str, words)]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == 0, result.stderr
        return Result.model_validate(json.loads(out.read_text("utf-8")))

    return call


@pytest.fixture(scope="module")
def summed(home, run) -> Result:
    """The earlier study: ridge, without noise."""
    return run(written(home / "ridge.toml", **SUMMED))


@pytest.fixture(scope="module")
def start(summed) -> dict[str, Any]:
    pin = hashlib.sha256(Path(summed.weights).read_bytes()).hexdigest()
    return {"weights_sha256": pin, "head": RIDGE}


def test_before_its_first_round_a_linear_head_scores_as_the_ridge_does(home, run, summed, start):
    study = written(home / "linear.toml", rounds=1, start=start)
    result = run(study, "--start", summed.weights)
    scores = set(type(summed.untrained).model_fields) & set(type(summed.final).model_fields)
    assert scores >= {"micro_f1", "map", "auroc"}
    for name in scores:
        found, expected = getattr(result.untrained, name), getattr(summed.final, name)
        assert found == pytest.approx(expected, abs=1e-6), name
    assert result.untrained.micro_f1 != summed.untrained.micro_f1
    assert result.digest == Study.read(study).digest != summed.digest


@pytest.mark.parametrize("given", [True, False])
def test_the_command_says_which_file_before_anything_is_read(given, home, summed, start):
    study = written(home / "other.toml", start=start | {"weights_sha256": "0" * 64})
    words = ["--start", summed.weights] if given else []
    places = ["--data", str(home), "--home", str(home / "untouched")]
    result = CliRunner().invoke(app, ["lab", "simulate", str(study), *places, *words])
    assert result.exit_code == 1
    assert ("and the study tiny starts from a file with 0000" in result.stderr) is given
    assert ("with SHA-256 0000" in result.stderr) is not given
    assert result.stderr.count("\n") == 1
    assert not (home / "untouched").exists()


def test_baselines_start_from_nothing():
    study = Study.parse_table(study_table(start={"weights_sha256": "0" * 64}), where="t")
    plain = Study.parse_table(study_table(), where="t")
    assert baselines.without_privacy(study, None) == baselines.without_privacy(plain, None)


def test_an_audit_says_that_it_starts_from_nothing(home):
    study = written(home / "audited.toml", start={"weights_sha256": "0" * 64})
    with (
        pytest.raises(ValueError, match=r"take the table \[start\] away"),
        prepared(study, data=home, home=home, site=None, progress=lambda *_: None),
    ):
        pass


def test_a_grid_has_cells_that_start_there_beside_others(home, summed, start):
    axis = {
        "name": "start",
        "value": [{"name": "own"}, {"name": "ridge", "set": {"start": start}}],
    }
    grid = Grid.read(written(home / "grid.toml", axis), data=home)
    own, started = grid.cells
    assert own.digest != started.digest
    assert own.unaided == started.unaided
    assert own.texts == started.texts
    how = How(data=home, home=home, start=Path(summed.weights))
    assert _check_start(grid, how.start) is None
    with pytest.raises(StartBroken, match="with --start"):
        _check_start(grid, None)
    alone = Grid.read(written(home / "alone.toml", {"name": "seed", "seeds": [1]}), data=home)
    with pytest.raises(StartBroken, match="has no table"):
        _check_start(alone, how.start)
