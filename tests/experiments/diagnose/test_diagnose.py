"""`fedward lab diagnose`: probes, what is hidden, and a whole run on two synthetic hospitals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from builders import policy_table, simulation_table, site_table
from typer.testing import CliRunner

from experiments.command import app
from experiments.diagnose.probe import Part, Probe, part_of
from experiments.diagnose.run import Diagnosis, Seen, _pair, _probes, _site
from tasks.bags import PatientBag

OUTPUTS = 8
SOURCE = {"kind": "synthetic", "patient_count": 60}


def part(patients: int, *, seed: int, separable: bool = True) -> Part:
    """Each output has a direction of its own, or none has; two outputs a stay."""
    draw = np.random.default_rng(seed)
    axes = np.random.default_rng(0).normal(size=(OUTPUTS, 16))
    bags = []
    for _ in range(patients):
        target = tuple(sorted(draw.choice(OUTPUTS, 2, replace=False).tolist()))
        base = axes[list(target)].sum(0) if separable else np.zeros(16)
        bags.append(PatientBag(((base + draw.normal(0, 0.3, (3, 16))).astype("f4"),), (target,)))
    return part_of(bags, dim=16)


EVERY = np.ones(OUTPUTS, bool)


@pytest.mark.parametrize(("separable", "low", "high"), [(True, 0.98, 1), (False, 0.35, 0.65)])
def test_a_probe_finds_what_is_there_and_nothing_else(separable, low, high):
    train, tune, held = (
        part(n, seed=s, separable=separable) for s, n in enumerate((200, 60, 120), 1)
    )
    score = Probe(train, tune, outputs=OUTPUTS).score(held, shown=EVERY, fitted="a", scored="b")
    assert low <= score.auroc <= high
    assert score.chance == pytest.approx(2 / OUTPUTS)
    assert (score.auprc > 0.95) == separable


def test_an_output_that_may_not_be_shown_is_in_no_score():
    probe, held = Probe(part(99, seed=1), part(0, seed=2), outputs=OUTPUTS), part(60, seed=3)
    one = np.arange(OUTPUTS) == 4
    shown = probe.score(held, shown=one, fitted="a", scored="b")
    assert shown.chance == pytest.approx(held.truth(OUTPUTS)[:, 4].mean())
    assert probe.score(held, shown=~EVERY, fitted="a", scored="b") is None


class Stub:
    """What of a site is looked at."""

    def __init__(self, name: str, smallest: int) -> None:
        self.name, self.declared_patients, self.policy = name, 100, self
        self.smallest_count = smallest


def seen(name: str, *, smallest: int = 0, held: int = 60, far: int = 0, seed: int = 1) -> Seen:
    train = part(120, seed=seed)
    train.rows[:far] += 500.0
    return Seen(Stub(name, smallest), train, part(40, seed=seed + 1), part(held, seed=seed + 2))


@pytest.mark.parametrize(
    ("far", "smallest", "said"), [(0, 5, 0), (3, 5, None), (3, 3, 3), (3, 0, 3), (6, 5, 6)]
)
def test_few_patients_far_out_are_not_counted(far, smallest, said):
    made = _site(seen("a", far=far, smallest=smallest)).components
    assert made.outliers == said


def test_a_patient_with_two_far_stays_is_one():
    far = (np.full((1, 16), 400, "f4"), np.full((1, 16), 420, "f4"))
    usual = part(100, seed=1)
    both = part_of([PatientBag(far, ((0,), (1,)))], dim=16)
    made = _site(Seen(Stub("a", 0), usual, both, part(30, seed=2))).components
    assert made.outliers == 1


def test_few_heldout_patients_score_no_probe_and_few_carriers_show_no_output():
    sites = [seen("a", smallest=30), seen("b", smallest=30, held=29)]
    scores = list(_probes(sites, OUTPUTS, lambda *_: None))
    assert {score.scored for score in scores} <= {"a"}
    carriers = sites[0].heldout.carriers(OUTPUTS)
    assert 1 <= carriers.min() < 12 < carriers.max()
    some = seen("a", smallest=12)
    np.testing.assert_array_equal(some.shown(some.heldout, OUTPUTS), carriers >= 12)
    [score] = _probes([some], OUTPUTS, lambda *_: None)
    assert score.chance == pytest.approx(carriers[carriers >= 12].mean() / 60)


def test_sites_that_arrange_outputs_alike_are_alike_though_they_share_no_stay():
    one, other = seen("a"), seen("b", seed=11)
    pair = _pair(one, other, OUTPUTS)
    assert pair.cka > 0.8
    assert pair.shift < 0.5
    assert pair.covariance > 0.9
    turned = np.roll(np.arange(OUTPUTS), 3)
    targets = tuple(tuple(int(turned[n]) for n in target) for target in other.train.targets)
    mixed = Seen(other.site, *(Part(p.rows, t, p.owners) for p, t in (
        (other.train, targets), (part(0, seed=1), ()), (part(0, seed=1), ()))))  # fmt: skip
    assert _pair(one, mixed, OUTPUTS).cka < 0.6
    hidden = _pair(seen("a", smallest=90), other, OUTPUTS)
    assert (hidden.cka, hidden.shift is None) == (None, False)


def run(*words: object, study: Path, folder: Path):
    out = folder / "out.json"
    call = ["lab", "diagnose", study, "--home", folder / "home", "--json", out, *words]
    result = CliRunner().invoke(app, [str(word) for word in call], env={"COLUMNS": "120"})
    return result, Diagnosis.model_validate_json(out.read_text()) if out.exists() else None


# Without privacy there is no noise to calibrate, which takes longer than all else here.
OPEN = {"lifetime": {"epsilon": float("inf")}, "mechanisms": ["off"]}
OFF = {"privacy": {"kind": "off"}}


def simulation(**policy):
    sites = [site_table(name, source=SOURCE | {"hospital": name}) for name in ("ash", "birch")]
    split = {"tune": 0.1, "heldout": 0.45}
    return simulation_table(*sites, policy=policy_table(**OPEN | policy), split=split)


def test_a_whole_run_tells_numbers_alone(study_file, tmp_path):
    other = tmp_path / "wider.toml"
    other.write_text(tomli_w.dumps({"encoder": {"kind": "hashing", "dim": 512}}), "utf-8")
    picture = tmp_path / "all.png"
    result, found = run("--encoder", other, "--figure", picture,
                        study=study_file(simulation(), **OFF), folder=tmp_path)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert [site.name for site in found.sites] == ["ash", "birch"]
    for site in found.sites:
        shares = list(site.components.shares.values())
        assert shares == sorted(shares)
        assert 1 < site.components.effective_rank <= 64
    assert {(s.fitted, s.scored) for s in found.probes} == {
        (a, b) for a in ("ash", "birch") for b in ("ash", "birch")
    }
    assert len(found.pairs) == 1
    assert [(e.site, e.other) for e in found.encoders] == [
        ("ash", "hashing 512"), ("birch", "hashing 512")]  # fmt: skip
    assert all(0.3 < e.cka < 0.999 for e in found.encoders)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "far out" in result.stdout
    assert "Traceback" not in result.output
    for word in ("hypertension", "patient 1", "0-"):  # of the notes; of ids
        assert word not in json.dumps(found.model_dump(mode="json"))


def test_what_does_not_fit_is_one_line(study_file, tmp_path):
    study = study_file(simulation(), **OFF)
    nothing = tmp_path / "nothing.toml"
    nothing.write_text("x = 1", "utf-8")
    result, _ = run("--encoder", nothing, study=study, folder=tmp_path)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.endswith("nothing.toml: has no [encoder] table\n")
    result, _ = run("--figure", tmp_path / "x.doc", study=study, folder=tmp_path)
    assert result.exit_code == 2
    result, _ = run(study=study_file(simulation(encoders=[]), **OFF), folder=tmp_path)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "policy.encoders allows none" in result.stderr
