"""Sites that connect to a coordinator, and simulated ones that are ready for a round."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from builders import CODES, patient, study_table
from ready_sites import Ready, header

from client.local import hello
from tasks.study import Study

COORDINATOR = {"superlink": "fed.example.org:9443"}
POLICY = {"lifetime": {"epsilon": 8.0}, "studies": "any", "smallest_count": 0}


@pytest.fixture
def notes(write_lines):
    return write_lines(*(patient(n) for n in range(12)))


@pytest.fixture
def deployed(make_site, notes):
    """Makes a site that connects to a coordinator, as far as its site.toml says."""

    def make(**changes: object):
        source = {"kind": "jsonl", "paths": [str(notes)]}
        told = {"source": source, "coordinator": COORDINATOR, "test_seed": None}
        return make_site("ash", **told | changes)

    return make


@pytest.fixture
def other() -> Study:
    """Another study with the same encoder and notes, which asks for one code more."""
    task = {"kind": "icd-coding", "codes": [*CODES, "E78"]}
    return Study.parse_table(study_table(name="other", task=task), where="other")


@pytest.fixture
def prepare(make_site) -> Callable[..., Ready]:
    """A site that has prepared a study, and a request for round 1."""

    def make(study: Study, name: str = "ash", **policy: object) -> Ready:
        site = make_site(name, policy=POLICY | policy)
        return site, header(study, encoder=hello(site, header(study)).encoder)

    return make


@pytest.fixture
def ready(study, prepare) -> Ready:
    return prepare(study)
