"""fhir on an export that others made: Synthea's ten living patients and three dead ones.

It is looked for in `FEDWARD_DATA/fhir_r4_synthea10`, by default beside the checkout in
`shared/data`.
"""

from __future__ import annotations

import gzip
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from client.sources.fhir import Fhir
from client.sources.source import Attrition

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("FEDWARD_DATA") or ROOT.parent / "shared" / "data")
EXPORT = DATA / "fhir_r4_synthea10"

pytestmark = pytest.mark.skipif(
    not EXPORT.is_dir(), reason=f"{EXPORT} is not there; say FEDWARD_DATA"
)

ALL = {"superseded": "keep", "classes": ["AMB", "EMER", "HH", "IMP", "VR"]}


def read(folder=EXPORT, **fields):
    attrition = Attrition()
    found = list(Fhir.model_validate(fields).patients(root=folder, attrition=attrition))
    return found, attrition.counts


def test_every_note_comes_where_superseded_ones_are_kept():
    found, counts = read(superseded="keep")
    assert (len(found), sum(len(one.notes) for one in found)) == (13, 1215)
    assert sum(len(one.stays) for one in found) == 49
    assert Counter(note.kind for one in found for note in one.notes) == {
        "history and physical": 912,
        "emergency": 303,
    }
    assert counts == {
        "encounters of other classes": 1166,
        "conditions of encounters that are not stays": 551,
        "notes that are superseded (kept)": 1202,
        "notes of a stay that is not there (kept)": 1166,
    }
    assert all(note.text.strip() and note.stay for one in found for note in one.notes)
    assert sum(one.died is not None for one in found) == 3


def test_the_last_note_of_each_comes_where_superseded_ones_are_dropped():
    found, counts = read()
    assert [len(one.notes) for one in found] == [1] * 13
    assert counts["notes that are superseded"] == 1202


def test_every_encounter_is_a_stay_where_the_site_says_so():
    found, counts = read(**ALL)
    stays = [stay for one in found for stay in one.stays]
    assert len(stays) == 1215
    assert Counter(code.system for stay in stays for code in stay.codes) == {"snomed-ct": 555}
    assert counts == {
        "notes that are superseded (kept)": 1202,
        "stays that overlap another (kept)": 2,
    }
    # Synthea says no disposition of those who died; the times say it.
    assert Counter(stay.died for stay in stays)[True] == 3


def test_a_gzipped_export_is_the_same(tmp_path):
    for path in EXPORT.glob("*.ndjson"):
        with path.open("rb") as plain, gzip.open(tmp_path / f"{path.name}.gz", "wb", 1) as packed:
            shutil.copyfileobj(plain, packed)
    assert read(tmp_path, **ALL) == read(**ALL)
