"""The folders of simulated sites: their keys, and the vectors that runs share."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from builders import simulation_table

from client import cohort
from client.purge import purge_everything
from client.simulation import Simulation
from client.site import Site
from client.sources.jsonl import Jsonl
from client.sources.source import Piece
from embeddings.store import VectorStore
from tasks.places import Places
from tasks.study import Study


@pytest.fixture
def made(study_file, tmp_path):
    """Makes the first site of a run."""

    def make(run: str = "one", *, home: str = "home", seed: int = 5) -> Site:
        path = study_file(simulation_table(seed=seed))
        home_folder = tmp_path / home
        places = Places(path, tmp_path, home_folder, home_folder / "runs" / run)
        return Site.read(Simulation.read(path).make(0, places))

    return make


def keys(site: Site) -> tuple[Path, Path]:
    return site.at(site.secret), site.at(site.store_key)


def test_both_keys_come_from_the_seed_and_are_for_their_owner_alone(made):
    site = made()
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys(site))
    contents = [path.read_bytes() for path in keys(site)]
    assert len(set(contents)) == 2
    assert [path.read_bytes() for path in keys(made(home="elsewhere"))] == contents
    others = [path.read_bytes() for path in keys(made(home="third", seed=6))]
    assert not set(others) & set(contents)


def test_the_next_run_opens_the_vectors_of_the_last(made, study: Study, monkeypatch):
    cohort.prepare(made("one"), study)
    monkeypatch.setattr(VectorStore, "put", lambda *_: pytest.fail("embedded again"))
    cohort.prepare(made("two"), study)


def test_after_a_purge_the_next_run_begins_anew(made, study: Study):
    site = made("one")
    cohort.prepare(site, study)
    purge_everything(site)
    cohort.prepare(site, study)
    cohort.prepare(made("two"), study)


def test_pooled_data_is_cut_into_sites_once_a_run(study_file, tmp_path, monkeypatch):
    rows = [
        {"id": f"p{number}", "site": site, "text": "Cough."}
        for number, site in enumerate(["ash"] * 30 + ["birch"] * 20)
    ]
    (tmp_path / "pooled.jsonl").write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    table = simulation_table()
    del table["sites"]
    table |= {
        "source": {
            "kind": "jsonl",
            "paths": ["pooled.jsonl"],
            "columns": {"patient": "id", "text": "text"},
        },
        "cut": {"column": "site", "largest": 1},
    }
    simulation = Simulation.read(study_file(table))
    asked: list[str] = []
    cut = Jsonl.cut

    def counted(self: Jsonl, column: str, **how: Any) -> list[Piece]:
        asked.append(column)
        return cut(self, column, **how)

    monkeypatch.setattr(Jsonl, "cut", counted)

    def names(run: str) -> list[str]:
        places = Places(tmp_path / "tiny.toml", tmp_path, tmp_path / "home", tmp_path / run)
        return [Site.read(simulation.make(number, places)).name for number in (1, 0, 1, 0)]

    assert names("one") == ["others", "ash", "others", "ash"]
    assert len(asked) == 1
    assert names("two") == ["others", "ash", "others", "ash"]
    assert len(asked) == 2
