"""Splits: from a file of ids, by time, and stratified. Nobody is ever in two parts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import patient as line

from client import cohort
from client.simulation import Simulation
from client.sources.source import Attrition
from client.split import Split
from client.split_file import read_split_file, write_split_file
from client.stratify import Stratified, stratify
from privacy.errors import SiteError, SourceBroken
from tasks.records import Patient, Stay

SECRET = b"s" * 32


def came(name: str, *days: str, part: Any = None) -> Patient:
    times = [datetime.fromisoformat(day).replace(tzinfo=UTC) for day in days]
    stays = tuple(
        Stay(id=f"{n}", admitted=at, discharged=at + timedelta(days=1))
        for n, at in enumerate(times)
    )
    return Patient(id=name, stays=stays, notes=(), part=part)


# A file of ids


def test_a_file_says_who_is_where_whatever_the_source_says(tmp_path):
    (tmp_path / "ids.csv").write_text("id,part\na,train\nb,heldout\n", "utf-8")
    split = Split(file="ids.csv")
    people = [came("a", part="heldout"), came("b"), came("c")]
    parts = [split.part(one, secret=SECRET, root=tmp_path) for one in people]
    assert parts == ["train", "heldout", None]
    digest = hashlib.sha256((tmp_path / "ids.csv").read_bytes()).hexdigest()
    assert digest in split.said(tmp_path)
    assert split.rule(root=tmp_path)["file"] == digest


def test_a_written_file_is_read_as_it_was_meant(tmp_path):
    parts = {'odd,"id"': "train", "ü 1": "tune", "0042": "heldout"}
    write_split_file(tmp_path / "ids.csv", parts)
    assert read_split_file(tmp_path / "ids.csv").parts == parts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: must be the columns id,part"),
        ("patient,part\nsecret,train\n", "line 1: must be the columns id,part"),
        ("id,part\nsecret,test\n", "line 2: part must be one of train, tune, heldout"),
        ("id,part\nok,train\nsecret,tune\nsecret,train\n", "line 4: this id stood before"),
        ("id,part\nsecret\n", "line 2: must be an id and a part"),
        ("id,part\n,train\n", "line 2: must be an id and a part"),
        ('id,part\n"secret,train\n', "is not CSV"),
    ],
)
def test_a_file_that_is_none_is_refused_by_line_and_without_an_id(tmp_path, text, said):
    (tmp_path / "ids.csv").write_text(text, "utf-8")
    with pytest.raises(SourceBroken, match=said) as caught:
        Split(file="ids.csv").part(came("a"), secret=SECRET, root=tmp_path)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_utf8_is_refused(tmp_path):
    with pytest.raises(SourceBroken, match="cannot be read"):
        Split(file="ids.csv").said(tmp_path)
    (tmp_path / "ids.csv").write_bytes(b"id,part\n\xfc,train\n")
    with pytest.raises(SourceBroken, match="must be UTF-8"):
        Split(file="ids.csv").said(tmp_path)


def test_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "ids.csv"
    path.write_text("id,part\na,train\n", "utf-8")
    before = read_split_file(path)
    path.write_text("id,part\na,heldout\n", "utf-8")
    assert read_split_file(path).parts == {"a": "heldout"}
    assert read_split_file(path).sha256 != before.sha256


def test_a_site_keeps_to_its_file_of_ids_and_counts_who_is_not_in_it(make_site, study):
    site = make_site(source={"kind": "jsonl", "paths": ["notes.jsonl"]}, split={"file": "ids.csv"})
    lines = [json.dumps(line(number)) for number in range(12)]
    (site.folder / "notes.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    rows = [f"p{n},{'train' if n < 7 else 'heldout'}" for n in range(10)]
    (site.folder / "ids.csv").write_text("\n".join(["id,part", *rows]) + "\n", "utf-8")
    attrition = cohort.prepare(site, study)
    assert attrition.counts["patients kept to train"] == 7
    assert attrition.counts["patients kept to heldout"] == 3
    assert attrition.counts["patients not in the split's file"] == 2
    rows[0] = "p0,heldout"
    (site.folder / "ids.csv").write_text("\n".join(["id,part", *rows]) + "\n", "utf-8")
    with pytest.raises(SiteError, match="split has changed since its first study"):
        cohort.prepare(site, study)


def test_a_site_without_a_file_settles_what_it_always_did():
    assert Split().rule(root=Path()) == {"tune": 0.15, "heldout": 0.15}


# Time


def test_who_came_from_the_day_on_is_held_out():
    split = Split(before=date(2020, 1, 1), tune=0.0)
    early, late = came("a", "2019-12-31T23:59"), came("b", "2020-01-01T00:00")
    both = came("c", "2019-01-01", "2020-06-01")
    assert [split.part(one, secret=SECRET) for one in (early, late, both)] == [
        "train",
        "heldout",
        "heldout",
    ]
    first = Split(before=date(2020, 1, 1), by="first", tune=0.0)
    assert [first.part(one, secret=SECRET) for one in (early, late, both)] == [
        "train",
        "heldout",
        "train",
    ]


def test_some_of_those_who_came_before_tune():
    split = Split(before=date(2020, 1, 1), tune=0.2)
    parts = Counter(split.part(came(f"{n}", "2019-01-01"), secret=SECRET) for n in range(5000))
    assert parts["tune"] / 5000 == pytest.approx(0.2, abs=0.02)
    assert parts["heldout"] == 0


def test_a_file_and_a_day_are_not_given_together():
    with pytest.raises(ValueError, match="not both"):
        Split(file="ids.csv", before=date(2020, 1, 1))
    with pytest.raises(ValueError, match="give before, too"):
        Split(by="first")


# Stratification

OUTPUTS = tuple(f"o{n}" for n in range(30))


def labelled(seed: int = 0, patients: int = 400) -> dict[str, dict[str, frozenset[str]]]:
    """Two sites; from frequent outputs to those of a dozen patients."""
    numbers = np.random.default_rng(seed)
    rates = np.geomspace(0.4, 0.03, len(OUTPUTS))
    truth = numbers.random((patients, len(OUTPUTS))) < rates
    sites: dict[str, dict[str, frozenset[str]]] = {"ash": {}, "birch": {}}
    for n, row in enumerate(truth):
        name = "ash" if n % 3 else "birch"
        sites[name][f"p{n}"] = frozenset(np.array(OUTPUTS)[row].tolist())
    return sites


def shares(sites: Any, parts: Any) -> np.ndarray:
    """How far each output's share of held-out patients lies from 16%."""
    carried, held = Counter(), Counter()
    for site, people in sites.items():
        for one, outputs in people.items():
            carried.update(outputs)
            held.update(outputs if parts[site][one] == "heldout" else ())
    return np.array([abs(held[o] / carried[o] - 0.16) for o in OUTPUTS])


def test_every_patient_is_in_one_part_and_parts_have_their_shares():
    sites = labelled()
    parts = stratify(sites, OUTPUTS, how=Stratified())
    assert {site: set(found) for site, found in parts.items()} == {
        site: set(people) for site, people in sites.items()
    }
    counts = Counter(part for found in parts.values() for part in found.values())
    assert counts["heldout"] / 400 == pytest.approx(0.16, abs=0.03)
    assert counts["tune"] / 400 == pytest.approx(0.11, abs=0.03)


def test_the_same_seed_deals_alike_whatever_the_order_and_ten_seeds_deal_ten_ways():
    sites = labelled()
    turned = {site: dict(reversed(sites[site].items())) for site in reversed(sites)}
    assert stratify(sites, OUTPUTS, how=Stratified(seed=4)) == stratify(
        turned, OUTPUTS, how=Stratified(seed=4)
    )
    deals = [stratify(sites, OUTPUTS, how=Stratified(seed=seed)) for seed in range(10)]
    assert len({json.dumps(deal, sort_keys=True) for deal in deals}) == 10


def test_stratified_parts_keep_the_outputs_shares_closer_than_hashed_ones():
    sites = labelled()
    dealt = stratify(sites, OUTPUTS, how=Stratified())
    hashed = {
        site: {one: Split(tune=0.11, heldout=0.16).part(came(one), secret=SECRET) for one in people}
        for site, people in sites.items()
    }
    assert shares(sites, dealt).mean() < shares(sites, hashed).mean() / 2


def test_a_stratified_simulation_divides_all_its_sites(study_file, tmp_path):
    from builders import simulation_table

    from client.site import Site
    from tasks.places import Places

    path = study_file(simulation_table(stratified={"seed": 3}))
    simulation = Simulation.read(path)
    digests = []
    for run in ("one", "two"):
        places = Places(path, tmp_path, tmp_path / "home", tmp_path / "home" / "runs" / run)
        for number in (0, 1):
            site = Site.read(simulation.make(number, places))
            found = read_split_file(Path(site.split.file or ""))
            digests.append(found.sha256)
            people = site.source.patients(root=tmp_path, attrition=Attrition())
            assert {one.id for one in people} == set(found.parts)
    assert digests[:2] == digests[2:]
