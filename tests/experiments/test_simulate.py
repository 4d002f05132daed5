"""Whole federations on synthetic hospitals: the result, the refusals, the two engines."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import CODES, patient, policy_table, simulation_table, site_table
from rich.console import Console

from client.simulation import Simulation
from client.site import Site
from experiments.joining import FEWEST, verdict
from experiments.simulate.display import Terminal, _tallied
from experiments.simulate.result import Result
from experiments.simulate.run import SimulationFailed, simulate
from server.checkpoint import load_weights
from server.journal import Follower
from tasks.places import Places

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]


class Silent:
    """A `Screen` that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.events: list[dict[str, Any]] = []

    def study(self, study, sites, engine) -> None:
        self.said.append("study")

    def preparing(self, site, what, done, total) -> None:
        self.said.append(what)

    def prepared(self, left_out) -> None:
        self.said.append("prepared")

    def event(self, event) -> None:
        self.events.append(event)

    def baseline(self, what, done, total) -> None:
        self.said.append(what)

    def result(self, result, places) -> None:
        self.run = places.run


def run(path: Path, home: Path, **options: Any) -> tuple[Result, Silent]:
    screen = Silent()
    options = {"engine": "in-process", "data": path.parent, "with_baselines": False} | options
    return simulate(path, home=home, screen=screen, **options), screen


def test_a_simulation_ends_with_the_result_that_is_promised(study_file, tmp_path):
    result, screen = run(study_file(), tmp_path / "home", with_baselines=True)
    table = json.loads(result.model_dump_json())
    assert set(table) >= {"study", "digest", "engine", "sites", "rounds", "final"}
    assert set(table["final"]) == {
        "micro_f1",
        "macro_f1",
        "map",
        "p_at_8",
        "auprc",
        "auroc",
        "auroc_macro",
        "auprc_macro",
        "accuracy",
        "balanced_accuracy",
        "epsilon",
        "delta",
    }
    assert [row["number"] for row in table["rounds"]] == [1, 2]
    assert {"metrics", "epsilon", "bytes_down", "bytes_up", "seconds"} <= set(table["rounds"][0])
    assert [site["name"] for site in table["sites"]] == ["ash", "birch"]
    for site in table["sites"]:
        assert site["epsilon"] == pytest.approx(table["final"]["epsilon"])
        for which in ("local", "federated", "pooled"):
            assert 0 < site[which]["map"] <= 1
    assert 7.8 < table["final"]["epsilon"] <= 8
    held = [site["local"]["patients"] for site in table["sites"]]
    mean = sum(s["local"]["map"] * n for s, n in zip(table["sites"], held, strict=True)) / sum(held)
    assert table["local"]["map"] == pytest.approx(mean)
    assert table["local"]["patients"] == table["pooled"]["patients"] == sum(held)
    assert table["final"]["map"] == table["rounds"][-1]["metrics"]["map"]
    for said in ("reading", "embedding", "ash alone", "pooled"):
        assert said in screen.said
    ledger = Site.read(screen.run / "sites" / "ash" / "site.toml").open_ledger()
    assert ledger.epsilon(delta=1e-5) == pytest.approx(table["final"]["epsilon"])
    for site in table["sites"]:
        _joined(site)
        assert set(site["outputs"]) == EACH == set(site["intervals"])
        for name, rows in site["outputs"].items():
            assert [row["output"] for row in rows] == list(CODES), name
            known = [row["auroc"] for row in rows if row["auroc"] is not None]
            whole = site["others"][name] if name in site["others"] else site[name]
            assert whole["auroc_macro"] == pytest.approx(np.mean(known))
    assert set(table["outputs"]) == EACH
    assert table["outputs"]["federated"] == table["detail"]["outputs"]
    stays = {name: [row["support"] for row in rows] for name, rows in table["outputs"].items()}
    assert all(of == stays["federated"] for of in stays.values())


EACH = {
    "federated",
    "local",
    "pooled",
    "closed_form",
    "closed_form_alone",
    "untrained",
    "fine_tuned",
    "mean_regularised",
}
"""Every way of training that is scored at a site."""


def _joined(site: dict[str, Any]) -> None:
    """What a site's line says of joining is what its heads scored."""
    joining = site["joining"]
    assert set(joining) == {"metric", "tune", "taken", "gains"}
    heads = {"federated": site["federated"]} | site["others"]
    assert joining["metric"] == "auroc_macro"  # eight outputs
    assert joining["taken"] in joining["gains"]
    assert set(joining["gains"]) == set(joining["tune"])
    best = max(value for value in joining["tune"].values())
    assert joining["tune"][joining["taken"]] == best
    for name, gain in joining["gains"].items():
        assert set(gain) == {"difference", "interval", "verdict"}
        difference = heads[name]["auroc_macro"] - site["local"]["auroc_macro"]
        assert gain["difference"] == pytest.approx(difference)
        low, high = gain["interval"]
        assert low - 0.01 <= difference <= high + 0.01
        true = sum(row["support"] for row in site["outputs"]["local"])
        few = min(site["federated"]["patients"], true) < FEWEST
        assert gain["verdict"] == (None if few else verdict((low, high)))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(study_file, tmp_path):
    path = study_file()
    first, _ = run(path, tmp_path)
    again, _ = run(path, tmp_path)
    other, _ = run(study_file(simulation_table(seed=6)), tmp_path)
    bits = [Path(found.weights).read_bytes() for found in (first, again, other)]
    assert bits[0] == bits[1]
    assert bits[0] != bits[2]


def test_both_engines_give_the_same_weights_bit_for_bit(study_file, tmp_path):
    path = study_file()
    here, _ = run(path, tmp_path / "home")
    ray, screen = run(path, tmp_path / "home", engine="flower")
    mine, theirs = load_weights(Path(here.weights)), load_weights(Path(ray.weights))
    assert set(mine) == set(theirs)
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name])
    assert [row.metrics for row in here.rounds] == [row.metrics for row in ray.rounds]
    assert here.final == ray.final
    # Two rounds and an evaluation of two sites came back from Ray's own processes.
    assert [e["event"] for e in screen.events].count("reply") == 6
    assert not _left_over(screen.run)


def _left_over(run_folder: Path) -> list[str]:
    """Command lines of processes that still name this run."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(run_folder) in line and int(process.name) != os.getpid():
            found.append(line)
    return found


def test_a_site_that_would_exceed_its_lifetime_refuses_and_the_others_finish(study_file, tmp_path):
    poor = site_table("poor", policy={"lifetime": {"epsilon": 2.0}, "smallest_count": 0})
    sites = simulation_table(site_table("ash"), site_table("birch"), poor)
    result, screen = run(study_file(sites), tmp_path / "home")
    by_name = {site.name: site for site in result.sites}
    assert "BudgetExhausted: lifetime epsilon is 2" in (by_name["poor"].refused or "")
    assert by_name["poor"].epsilon is None
    assert by_name["ash"].epsilon == by_name["birch"].epsilon == result.final.epsilon
    assert len(result.rounds) == 2
    ledger = Site.read(screen.run / "sites" / "poor" / "site.toml").open_ledger()
    assert ledger.spends() == ()


def test_a_site_whose_policy_does_not_name_off_refuses_training_without_privacy(
    study_file, tmp_path
):
    willing = {"lifetime": {"epsilon": float("inf")}, "mechanisms": ["off"], "smallest_count": 0}
    sites = simulation_table(site_table("ash", policy=willing), site_table("birch"))
    result, _ = run(study_file(sites, privacy={"kind": "off"}), tmp_path / "home")
    by_name = {site.name: site for site in result.sites}
    assert "policy.mechanisms allows dp-sgd" in (by_name["birch"].refused or "")
    assert by_name["ash"].refused is None
    assert result.final.epsilon is None


NOISED = {
    "lifetime": {"epsilon": 8.0},
    "metrics": "noised",
    "heldout": {"epsilon": 4.0},
    "tally_noise": 20.0,
}


def test_sites_with_noised_tallies_finish_and_the_screen_says_what_they_pay(study_file, tmp_path):
    # The second site's held-out patients can pay for one release of tallies only.
    soon_spent = NOISED | {"heldout": {"epsilon": 0.2}}
    sites = simulation_table(site_table("ash"), site_table("birch", policy=soon_spent))
    path = study_file(sites | {"policy": NOISED})
    console = Console(file=io.StringIO(), width=100)
    screen = Terminal(console)
    options = {"engine": "in-process", "data": tmp_path, "with_baselines": False}
    result = simulate(path, home=tmp_path / "home", screen=screen, **options)
    screen.close()
    said = " ".join(console.file.getvalue().split())
    assert "tallies of tune and held-out patients: with noise, for an epsilon of at most 4" in said
    assert "exact" not in said
    assert "takes no part" not in said
    for row in (result.untrained, *(row.metrics for row in result.rounds)):
        assert (row.macro_f1, row.macro_f1_all, row.auprc, row.patients) == (None, None, None, 0)
    # What the simulation itself counts at the end is exact, as its baselines are.
    assert 0 < result.final.micro_f1 <= 1
    assert [site.federated.patients > 0 for site in result.sites] == [True, True]
    run_folder = next((tmp_path / "home" / "runs").iterdir())
    charged = {}
    for name in ("ash", "birch"):
        ledger = Site.read(run_folder / "sites" / name / "site.toml").open_ledger()
        charged[name] = len(ledger.spends(cohort="heldout"))
        assert len(ledger.spends()) == 2
        assert 0 < ledger.epsilon(delta=1e-5, cohort="heldout") <= 4
    assert charged == {"ash": 3, "birch": 1}
    events = Follower(run_folder / "journal.jsonl").events()
    reported = [event["sites"]["birch"] for event in events if event["event"] == "round"]
    assert [found["micro_f1"] is None for found in reported[1:]] == [True, True]


def test_the_screen_says_of_each_sort_of_tally_what_it_costs(study_file, tmp_path):
    sites = simulation_table(
        site_table("ash"),
        site_table("birch", policy=NOISED),
        site_table("cedar", policy={"lifetime": {"epsilon": 8.0}, "metrics": "withheld"}),
    )
    simulation = Simulation.read(study_file(sites))
    places = Places(tmp_path / "tiny.toml", tmp_path, tmp_path / "home", tmp_path / "run")
    made = [Site.read(simulation.make(number, places)) for number in range(3)]
    assert _tallied(made).plain == (
        "tallies of tune and held-out patients: exact, with no such bound; with noise, for an "
        "epsilon of at most 4; metrics of rounds are rough; withheld"
    )
    assert _tallied(made[2:]).plain == "tallies of tune and held-out patients: withheld"


POOLED = {
    "synthetic": (
        {"kind": "synthetic", "hospital": "pooled", "patient_count": 90},
        {"kind": "dirichlet", "sites": 3, "alpha": 5.0},
    ),
    "jsonl": (
        {"kind": "jsonl", "paths": ["patients.jsonl"]},
        {"kind": "quantity", "sites": 3, "shares": [3, 2, 1]},
    ),
}


@pytest.mark.parametrize("which", POOLED)
def test_pooled_records_are_partitioned_and_nobody_is_lost(
    which, study_file, write_lines, tmp_path
):
    write_lines(*(patient(n) for n in range(90)))
    source, partition = POOLED[which]
    policy = policy_table(lifetime={"epsilon": float("inf")}, mechanisms=["off"])
    pooled = {"seed": 5, "policy": policy, "source": source, "partition": partition}
    result, screen = run(study_file(pooled, privacy={"kind": "off"}), tmp_path / "home")
    assert [site.name for site in result.sites] == ["site-1", "site-2", "site-3"]
    assert {site.refused for site in result.sites} == {None}
    kept = [
        number
        for site in result.sites
        for rule, number in site.left_out.items()
        if rule.startswith(("patients kept to", "patients without"))
    ]
    assert sum(kept) == 90
    assert [path.name for path in (screen.run.parents[1] / "vectors").glob("*.sqlite")] == [
        f"pooled-{(screen.run / 'sites/site-2/site.key').read_bytes().hex()[:12]}.sqlite"
    ]
    declared = [site.declared_patients for site in result.sites]
    assert declared == sorted(declared, reverse=True)


def test_when_nobody_takes_part_the_reasons_are_told(study_file, tmp_path):
    nobody = simulation_table(policy={"lifetime": {"epsilon": 0.5}})
    with pytest.raises(SimulationFailed, match=r"0 sites take part.*BudgetExhausted"):
        run(study_file(nobody), tmp_path / "home")


def test_a_site_with_broken_records_says_so_and_the_others_finish(study_file, tmp_path):
    (tmp_path / "broken.jsonl").write_text("{not json at all, Zebulon\n")
    broken = site_table("broken", source={"kind": "jsonl", "paths": ["broken.jsonl"]})
    sites = simulation_table(site_table("ash"), broken)
    result, _ = run(study_file(sites), tmp_path / "home")
    said = {site.name: site.refused for site in result.sites}
    assert said["ash"] is None
    assert "broken.jsonl line 1: is not JSON" in (said["broken"] or "")
    assert "Zebulon" not in result.model_dump_json()


def test_vectors_are_kept_between_runs(study_file, tmp_path):
    path = study_file()
    _, first = run(path, tmp_path / "home")
    _, second = run(path, tmp_path / "home")
    assert "embedding" in first.said
    assert "embedding" not in second.said
