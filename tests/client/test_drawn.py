"""Names that a simulation draws from its training patients."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import tomli_w

from client.drawn import Drawn, before, write_drawn
from client.simulation import Simulation
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


def test_the_runs_own_study_has_the_names(tmp_path):
    path = written(tmp_path)
    study, waits = before(path)
    assert (study.name, waits) == ("terms", True)
    to = write_drawn(path, ["Rash"], to=tmp_path / "runs" / "study.toml")
    assert Study.read(to).outputs == ("Rash",)
    assert read_toml(to)["simulation"] == STUDY["simulation"]


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


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_study_and_grid_that_comes_along_can_be_simulated(path: Path):
    if "base" in read_toml(path).get("compare", {}):
        pytest.skip("says only what differs from another study file")
    study, waits = before(path)
    assert study.name == path.stem
    assert not waits
