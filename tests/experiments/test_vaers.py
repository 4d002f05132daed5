"""Real reports: VAERS 1990-1999, cut into states. Needs CDC's zips; see the study file.

They are looked for in `FEDWARD_DATA/vaers_1990_1999`, by default beside the checkout in
`shared/data`.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from client.simulation import Simulation
from client.sources.source import Attrition
from client.sources.vaers import FLAGS
from tasks.scrubbing import without_outcomes
from tasks.study import Study

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "experiments" / "studies"
DATA = Path(os.environ.get("FEDWARD_DATA") or ROOT.parent / "shared" / "data") / "vaers_1990_1999"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"VAERS is not in {DATA}"),
]

# A wider net than the scrubber's own lists, so that the test can see what they lack.
DEATH = re.compile(
    r"\b(?:die[sd]?|dying|dead|death|deceas|expire|sids|autops|fatal|demise|doa|coroner|"
    r"passed away|post.?mortem|stillb|funeral|cod\b)",
    re.IGNORECASE,
)


class Whole:
    """What one pass over all reports counts."""

    def __init__(self) -> None:
        self.attrition = Attrition()
        self.parts: Counter[str | None] = Counter()
        self.ticked: Counter[str] = Counter()
        self.terms: Counter[str] = Counter()
        self.deaths: list[str] = []
        source = Simulation.read(STUDIES / "vaers.toml").source
        assert source is not None
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for one in source.patients(root=DATA, attrition=self.attrition):
            facts = one.stays[0].facts
            self.parts[one.part] += 1
            self.ticked.update(flag for flag in FLAGS if facts[flag])
            if one.part == "train":
                self.terms.update(code.code for code in one.stays[0].codes)
            if facts["died"]:
                self.deaths.append(one.notes[0].text)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        self.grown_mb = grown / (1024 * 1024 if sys.platform == "darwin" else 1024)


whole = cache(Whole)


PRIVATE_OR_NOT = [
    "vaers",
    "vaers-scrubbed",
    "vaers-private",
    "vaers-private-scrubbed",
    "vaers-ridge",
    "vaers-code-query",
]


def test_all_97064_reports_are_read_but_80_that_say_nothing():
    counts = {"notes without text": 80, "patients without notes": 80}
    assert whole().attrition.counts == counts
    assert whole().parts == {"train": 74_769, "heldout": 22_215}
    assert 74_769 + 22_215 + 80 == 97_064


def test_what_was_ticked_is_what_the_files_say():
    assert whole().ticked == {
        "emergency": 35_843,
        "hospital": 8_483,
        "life_threat": 1_823,
        "disability": 1_732,
        "died": 1_551,
        "prolonged_stay": 587,
    }


def test_reports_have_the_symptom_terms_that_were_counted_before():
    common = whole().terms.most_common(500)
    assert common[0] == ("Pyrexia", 22_658)
    assert round(sum(number for _, number in common) / whole().parts["train"], 1) == 3.2


def test_one_year_at_most_is_held_in_memory():
    assert whole().grown_mb < 100


def test_three_quarters_of_the_death_reports_say_so_and_none_once_scrubbed():
    deaths = whole().deaths
    assert sum(bool(DEATH.search(text)) for text in deaths) / len(deaths) > 0.73
    assert sum(bool(DEATH.search(without_outcomes(text))) for text in deaths) <= 0.01 * len(deaths)


def test_the_nine_largest_states_are_sites_and_the_rest_one_more():
    sites = Simulation.read(STUDIES / "vaers.toml").named_sites(DATA)
    assert [(site.name, site.declared_patients) for site in sites] == [
        ("CA", 5080),
        ("PA", 3860),
        ("NY", 3830),
        ("TX", 3470),
        ("OH", 2500),
        ("MI", 2450),
        ("FL", 2430),
        ("IL", 2350),
        ("GA", 2060),
        ("rest", 35520),
    ]


@pytest.mark.parametrize("name", ["vaers", "vaers-private"])
def test_raw_and_scrubbed_differ_in_their_name_and_in_scrubbing_only(name):
    files = [STUDIES / f"{one}.toml" for one in (name, f"{name}-scrubbed")]
    raw, scrubbed = (Study.read(file) for file in files)
    assert scrubbed.model_copy(update={"name": name, "task": raw.task}) == raw
    assert scrubbed.task == raw.task.model_copy(update={"scrub": True})
    simulations = [Simulation.read(file) for file in files]
    assert simulations[0] == simulations[1]


@pytest.mark.parametrize("name", ["vaers-private", "vaers-ridge", "vaers-code-query"])
def test_the_other_studies_read_the_same_vectors(name):
    other, plain = (Study.read(STUDIES / f"{one}.toml") for one in (name, "vaers"))
    assert (other.encoder, other.chunker) == (plain.encoder, plain.chunker)
    assert (other.bag, other.task) == (plain.bag, plain.task)


@pytest.mark.parametrize("name", PRIVATE_OR_NOT)
def test_the_simulated_sites_let_the_study_in(name):
    study, simulation = (kind.read(STUDIES / f"{name}.toml") for kind in (Study, Simulation))
    assert study.task.kind in simulation.policy.tasks
    assert study.privacy.kind in simulation.policy.mechanisms
