"""Sites that connect to a coordinator."""

from __future__ import annotations

import pytest
from builders import CODES, patient, study_table

from tasks.study import Study

COORDINATOR = {"superlink": "fed.example.org:9443"}


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
