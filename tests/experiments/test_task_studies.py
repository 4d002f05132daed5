"""The study file of each task on synthetic hospitals: every one runs to its end and learns."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.command import app
from experiments.simulate.result import Result
from tasks.kinds import TASKS
from tasks.study import Study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]
STUDIES = Path(__file__).parents[2] / "experiments" / "studies"
OF_TASKS = sorted(STUDIES.glob("synthetic-*.toml"))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Of all of them: most read the same notes, and MLflow's tables are made once."""
    return tmp_path_factory.mktemp("home")


def test_every_task_has_one():
    found = {Study.read(path).task.kind for path in OF_TASKS}
    # Coding has demo.toml; terms are drawn from published records (test_vaers.py).
    assert found | {"icd-coding", "term-coding"} == set(TASKS._ours)


@pytest.mark.parametrize("path", OF_TASKS, ids=lambda path: path.stem.removeprefix("synthetic-"))
def test_it_runs_to_its_end(path, home, tmp_path):
    words = ["lab", "simulate", str(path), "--home", str(home), "--json", str(tmp_path / "r")]
    shown = CliRunner().invoke(app, [*words, "--no-baselines"])
    assert shown.exit_code == 0, shown.output
    result = Result.model_validate_json((tmp_path / "r").read_text("utf-8"))
    assert result.final.epsilon == pytest.approx(8, abs=0.1)
    assert [site.name for site in result.sites] == ["harbour", "hillside"]
    assert len(result.rounds) == 3
    assert result.final.auprc is not None
    assert result.final.auroc is not None
