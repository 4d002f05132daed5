"""Names that a simulation draws from its training patients."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tomli_w

from client.drawn import Drawn, before, named
from client.simulation import Draws, Simulation
from privacy.spec import read_toml
from tasks.places import Places
from tasks.records import Code, Part, Patient, Stay
from tasks.study import Study

AT = datetime(1995, 6, 1, tzinfo=UTC)
STUDY = {
    "name": "terms",
    "rounds": 1,
    "steps": 1,
    "sample_rate": 0.5,
    "task": {"kind": "term-coding"},
    "encoder": {"kind": "sentence-transformer"},
    "head": {"kind": "linear"},
    "privacy": {"kind": "off"},
    "simulation": {
        "names": {"most": 2},
        "sites": [
            {
                "name": "one",
                "declared_patients": 10,
                "source": {"kind": "synthetic", "hospital": "harbour", "patient_count": 20},
            }
        ],
    },
}


def patient(number: int, *names: str, part: Part | None = "train") -> Patient:
    codes = tuple(Code("meddra-term", name) for name in names)
    return Patient(str(number), (Stay("s", AT, AT, codes), Stay("t", AT, AT, codes)), (), part)


def test_the_most_frequent_of_the_training_patients_ties_by_name():
    patients = [
        patient(1, "Rash", "Pyrexia"),
        patient(2, "Rash", "Agitation"),
        patient(3, "Nausea", "Nausea", part="heldout"),
        patient(4, "Nausea", part="tune"),
        patient(5, "Pyrexia", part=None),
    ]
    names = Drawn(most=3).names(patients, system="meddra-term")
    assert names == ("Pyrexia", "Rash", "Agitation")  # a patient counts once, whatever the stays
    with pytest.raises(ValueError, match=r"have 3 terms of meddra-term, not 4$"):
        Drawn(most=4).names(patients, system="meddra-term")
    with pytest.raises(ValueError, match=r"have 0 terms of snomed-ct"):
        Drawn(most=1).names(patients, system="snomed-ct")


def without_names() -> dict[str, object]:
    return {key: value for key, value in STUDY["simulation"].items() if key != "names"}


def written(folder: Path, **changed: object) -> Path:
    path = folder / "study.toml"
    path.write_text(tomli_w.dumps(STUDY | changed), "utf-8")
    return path


def drawing(**simulation: object) -> dict[str, object]:
    """Names from the codes of the synthetic hospital's patients."""
    task = {"kind": "term-coding", "system": "icd-10-cm"}
    return {"task": task, "simulation": STUDY["simulation"] | simulation}


def test_a_study_waits_for_its_names_until_it_has_them(tmp_path):
    path = written(tmp_path)
    study, waits = before(path)
    assert (study.name, waits) == ("terms", True)
    table = named(read_toml(path), ["Rash"])
    assert table["task"] == STUDY["task"] | {"names": ["Rash"]}
    assert table["simulation"] == without_names()
    assert read_toml(path) == STUDY


def test_the_runs_own_study_has_the_names_and_is_simulated_again_as_it_is(tmp_path):
    path = written(tmp_path, **drawing())
    places = Places(path, tmp_path, tmp_path, tmp_path / "run")
    once = Simulation.read(path).with_names(places)
    assert once.study == tmp_path / "run" / "study.toml"
    names = Study.read(once.study).outputs
    assert len(names) == 2
    again = replace(once, run=tmp_path / "again")
    assert Simulation.read(once.study).with_names(again) == again
    wider = written(tmp_path, **drawing(names={"most": 3}))
    more = Simulation.read(wider).with_names(replace(places, run=tmp_path / "more"))
    assert Study.read(more.study).outputs[:2] == names


def test_the_same_names_are_drawn_once(tmp_path, monkeypatch):
    read = Simulation.read(written(tmp_path, **drawing()))
    drawn: Draws = {}
    table = drawing()
    first = read.named(table, data=tmp_path, where="here", drawn=drawn)
    monkeypatch.setattr(Drawn, "names", lambda *_, **__: pytest.fail("drawn again"))
    assert read.named(table, data=tmp_path, where="here", drawn=drawn) == first
    others = [
        (read, table, tmp_path / "elsewhere"),
        (read, table | {"task": table["task"] | {"system": "icd-9-cm"}}, tmp_path),
        (read.model_copy(update={"names": Drawn(most=3)}), table, tmp_path),
    ]
    for simulation, asked, data in others:
        with pytest.raises(pytest.fail.Exception, match="drawn again"):
            simulation.named(asked, data=data, where="here", drawn=drawn)


@pytest.mark.parametrize("given", [True, False])
def test_names_are_listed_or_drawn_and_never_both_or_neither(tmp_path, given: bool):
    task = STUDY["task"] | ({"names": ["Rash"]} if given else {})
    simulation = STUDY["simulation"] if given else without_names()
    path = written(tmp_path, task=task, simulation=simulation)
    places = Places(path, tmp_path, tmp_path, tmp_path / "run")
    with pytest.raises(ValueError, match=r"or have simulation\.names draw them; one of the two$"):
        Simulation.read(path).with_names(places)
    assert not (tmp_path / "run").exists()


def test_a_study_that_waits_for_nothing_stays_as_it_is(tmp_path):
    task = STUDY["task"] | {"names": ["Rash"]}
    simulation = without_names()
    path = written(tmp_path, task=task, simulation=simulation)
    places = Places(path, tmp_path, tmp_path, tmp_path / "run")
    assert Simulation.read(path).with_names(places) == places


STUDIES = Path(__file__).parents[2] / "experiments" / "studies"


WHOLE = [
    path for path in STUDIES.glob("*.toml") if "base" not in read_toml(path).get("compare", {})
]
"""Without grids that say only what differs from another file."""


@pytest.mark.parametrize("path", sorted(WHOLE), ids=lambda path: path.stem)
def test_every_study_and_grid_that_comes_along_can_be_simulated(path: Path):
    study, waits = before(path)
    assert study.name == path.stem
    assert waits is (Simulation.read(path).names is not None)
