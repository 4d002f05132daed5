"""Simulations that make sites of pooled records: who is where, under which key and vectors."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import CODES, patient, policy_table

from client import cohort
from client.simulation import Simulation, rounded
from client.site import Site
from client.sources.jsonl import Jsonl
from client.sources.source import Attrition
from embeddings.store import VectorStore
from tasks.places import Places
from tasks.study import Study

POOLED = {"kind": "jsonl", "paths": ["pooled.jsonl"]}
EVERY = {
    "iid": {"kind": "iid", "sites": 3},
    "dirichlet": {"kind": "dirichlet", "sites": 3, "alpha": 2.0},
    "quantity": {"kind": "quantity", "sites": 3, "shares": [6, 3, 1]},
}


def table(which: str = "iid", **changes: Any) -> dict[str, Any]:
    found = {"seed": 5, "policy": policy_table(), "source": POOLED, "partition": EVERY[which]}
    return {key: value for key, value in (found | changes).items() if value is not None}


def coded(number: int, *codes: str) -> dict[str, Any]:
    line = patient(number)
    line["stays"][0]["codes"] = codes
    return line


@pytest.fixture(autouse=True)
def pooled(write_lines) -> list[str]:
    """A hundred and twenty patients of three codes each; gives their ids."""
    lines = [coded(n, CODES[n % 8], CODES[n % 5], CODES[n % 3]) for n in range(120)]
    write_lines(*lines, name="pooled.jsonl")
    return [line["id"] for line in lines]


@pytest.fixture
def made(study_file, tmp_path):
    """Makes every site of a run."""

    def make(simulation: dict[str, Any], run: str = "one") -> list[Site]:
        path = study_file(simulation)
        read = Simulation.read(path)
        places = Places(path, tmp_path, tmp_path / "home", tmp_path / "home" / "runs" / run)
        number = len(read.names_of_sites(tmp_path))
        return [Site.read(read.make(index, places)) for index in range(number)]

    return make


def patients(site: Site) -> list[Any]:
    return list(site.source.patients(root=site.at(site.data), attrition=Attrition()))


def parts(sites: list[Site]) -> dict[str, Any]:
    """Each patient's part, by id."""
    return {
        one.id: site.split.part(one, secret=site.key("split"), root=site.at(site.data))
        for site in sites
        for one in patients(site)
    }


@pytest.mark.parametrize("which", EVERY)
def test_every_patient_is_at_one_site_which_declares_those_it_trains(which, made, pooled):
    sites = made(table(which))
    assert [site.name for site in sites] == ["site-1", "site-2", "site-3"]
    ids = [one.id for site in sites for one in patients(site)]
    assert sorted(ids) == sorted(pooled)
    for site in sites:
        trained = Counter(parts([site]).values())["train"]
        assert site.declared_patients == rounded(trained)
    again = made(table(which), "two")
    assert [patients(site) for site in again] == [patients(site) for site in sites]


def test_the_pooled_records_are_read_once_to_deal_them_out(made, monkeypatch):
    calls, read = [], Jsonl.patients

    def counted(self, **given):
        calls.append(1)
        return read(self, **given)

    monkeypatch.setattr(Jsonl, "patients", counted)
    sites = made(table())
    assert len(calls) == 1
    assert [len(patients(site)) for site in sites] == [40, 40, 40]


def test_another_partition_holds_out_the_same_patients_and_embeds_none_again(
    made, study: Study, monkeypatch
):
    first = made(table("iid"), "one")
    for site in first:
        cohort.prepare(site, study)
    monkeypatch.setattr(VectorStore, "put", lambda *_: pytest.fail("embedded again"))
    second = made(table("dirichlet"), "two")
    for site in second:
        cohort.prepare(site, study)
    assert parts(first) == parts(second)
    assert {one.id for one in patients(first[0])} != {one.id for one in patients(second[0])}

    def members(sites: list[Site]) -> list[Any]:
        """Whom the cohorts hold, by keyed hash and with what they are labelled."""
        found = [
            line
            for site in sites
            for line in cohort.cohort_path(site, study).read_text().splitlines()[1:]
        ]
        return sorted(found)

    assert members(first) == members(second)


def test_keys_and_vectors_are_those_of_the_pooled_records_and_seed(made):
    def kept(run: str, **changes: Any) -> set[tuple[bytes, Path]]:
        return {
            (site.at(site.secret).read_bytes(), site.at(site.vectors))
            for site in made(table(**changes), run)
        }

    other = POOLED | {"deaths_known": True}
    found = [kept("1"), kept("2", seed=6), kept("3", source=other)]
    assert [len(one) for one in found] == [1, 1, 1]
    assert len(set.union(*found)) == 3
    assert kept("4", partition=EVERY["iid"] | {"seed": 8}) == found[0]


def test_sites_of_one_key_draw_their_own_noise(made):
    charge = SimpleNamespace(
        cohort="train", attempt=1, spend=SimpleNamespace(study="one study", round=1)
    )
    draws = [site.stream(charge).normal((4,)).tolist() for site in made(table())]
    assert all(one != other for one, other in pairwise(sorted(draws)))


def test_a_stratified_split_of_a_partition_declares_whom_it_trains(made):
    sites = made(table(stratified={"seed": 3}))
    found = parts(sites)
    assert Counter(found.values())["heldout"] == pytest.approx(0.16 * 120, abs=3)
    for site in sites:
        trained = Counter(parts([site]).values())["train"]
        assert site.declared_patients == rounded(trained)


def test_dirichlet_follows_the_outputs_of_the_studys_task(made, write_lines):
    path = write_lines(*(coded(n, CODES[n % 2]) for n in range(80)))
    source = {"kind": "jsonl", "paths": [path.name]}
    how = {"kind": "dirichlet", "sites": 4, "alpha": 0.001}

    def most(partition: dict[str, Any], run: str) -> int:
        counted = [
            Counter(one.stays[0].codes[0].code for one in patients(site))
            for site in made(table(source=source, partition=partition), run)
        ]
        return max(max(one.values()) for one in counted)

    assert most(how, "one") == 20
    assert most(how | {"alpha": 1e5}, "two") < 18


WAYS = {
    "no way": {"partition": None},
    "two ways": {"cut": {"column": "x", "largest": 1}},
    "no source": {"source": None},
    "sites too": {"sites": [{"name": "a", "declared_patients": 10, "source": POOLED}]},
}


@pytest.mark.parametrize("which", WAYS)
def test_pooled_records_become_sites_in_one_way(which, study_file):
    with pytest.raises(ValueError, match="give either sites, or both source and cut or partition"):
        Simulation.read(study_file(table(**WAYS[which])))


def test_too_few_patients_say_so(made):
    partition = {"kind": "iid", "sites": 13}
    with pytest.raises(ValueError, match=r"13 sites of at least 10 patients cannot be made of 120"):
        made(table(partition=partition))


def test_what_a_killed_process_left_is_dealt_out_again(made, tmp_path):
    sites = made(table())
    folder = tmp_path / "home" / "runs" / "one" / "partition"
    before = {path.name: path.read_bytes() for path in folder.glob("*.json")}
    assert json.loads(before["training-patients.json"]).keys() == {site.name for site in sites}
    (folder / "training-patients.json").unlink()
    (folder / "site-1.json").write_text("[")
    made(table())
    assert {path.name: path.read_bytes() for path in folder.glob("*.json")} == before
