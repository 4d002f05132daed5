"""What the terminal says of hospitals that joined, from results made by hand."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiments.columns import columns
from experiments.joining import Gain, Joining, Verdict
from experiments.simulate import verdicts
from experiments.simulate.display import Terminal
from experiments.simulate.result import Final, Result, SiteResult
from tasks.metrics import Metrics
from tasks.per_output import OutputMetrics
from tasks.places import Places

FEW = columns(5)
NOTHING = dict.fromkeys(Final.model_fields)


def site(name: str, verdict: Verdict | None, *, taken: Any = "federated") -> SiteResult:
    gain = Gain(difference=0.0, interval=(-1.0, 1.0), verdict=verdict)
    tune = {"federated": 0.5, "fine_tuned": 0.6, "mean_regularised": 0.4}
    joining = Joining(metric="auroc_macro", tune=tune, taken=taken, gains={taken: gain})
    metrics = Metrics(micro_f1=0.25, auroc_macro=0.75, patients=12)
    return SiteResult(
        name=name, declared_patients=40, local=metrics, federated=metrics, joining=joining,
        others={"fine_tuned": metrics.model_copy(update={"micro_f1": 0.123})},
    )  # fmt: skip


def result(*sites: SiteResult, **changes: Any) -> Result:
    row = OutputMetrics(output="hospital", support=1234, auroc=0.905)
    rare = OutputMetrics(output="died", support=0)
    table: dict[str, Any] = {
        "study": "x", "digest": "d", "engine": "in-process", "privacy": "off", "sites": sites,
        "rounds": (), "untrained": Metrics(), "final": Final(**NOTHING), "weights": "",
        "seconds": 1, "outputs": {"federated": (row, rare), "local": (row, rare)},
    }  # fmt: skip
    return Result(**table | changes)


def shown(of: Result, *, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    screen = Terminal(console)
    screen._columns = FEW
    screen.result(of, Places(Path("s"), Path("d"), Path("h"), Path("r")))
    return console.file.getvalue()


def test_who_is_worse_off_is_named_first():
    found = result(
        site("ash", "better off"),
        site("birch", "worse off"),
        site("cedar", "not told apart"),
        site("dogwood", None),
        site("elm", "worse off"),
        SiteResult(name="fir", declared_patients=10, refused="did not answer"),
    )
    assert verdicts.sentence(found, FEW) == (
        "joining, by AUROC: worse off: birch, elm; better off: ash; not told apart: cedar; "
        "not known: dogwood"
    )


def test_that_nobody_is_worse_off_is_said():
    said = verdicts.sentence(result(site("ash", "not told apart")), FEW)
    assert said == "joining, by AUROC: no hospital is worse off; not told apart: ash"
    said = verdicts.sentence(result(site("ash", None)), FEW)
    assert said == "joining, by AUROC: no hospital is known to be worse off; not known: ash"


def test_without_baselines_nothing_is_said_of_joining():
    plain = site("ash", None).model_copy(update={"joining": None})
    assert verdicts.sentence(result(plain), FEW) == verdicts.legend(result(plain), FEW) == ""
    assert "tune patients prefer" not in shown(result(plain))


@pytest.mark.parametrize("verdict", verdicts.MARKS)
def test_a_hospitals_row_has_its_mark_and_the_head_it_would_use(verdict):
    found = shown(result(site("ash", verdict, taken="fine_tuned")))
    [row] = [line for line in found.splitlines() if line.split()[:1] == ["ash"]]
    words = row.split()
    assert words[:5] == ["ash", "40/12", ".250/.750", ".250/.750", ".123/.750"]
    assert words[5] == verdicts.MARKS[verdict]
    assert max(len(line) for line in found.splitlines() if "mlflow" not in line) <= 80


def test_few_outputs_have_a_row_each():
    rows = [line.split() for line in shown(result(site("ash", None))).splitlines()]
    assert ["hospital", "1,234", ".905", ".905"] in rows
    assert ["died", "0", "-", "-"] in rows
    assert "pooled" not in next(row for row in rows if row[:2] == ["output", "stays"])


def test_many_outputs_have_none():
    row = OutputMetrics(output="hospital", support=1)
    found = result(site("ash", None), outputs={"federated": (row,) * 13})
    assert "AUROC of each output" not in shown(found)
