"""A study that a site alone can learn in, and a site at which it has ended."""

from __future__ import annotations

import numpy as np
import pytest
from builders import study_table
from own_head_sites import PATIENTS, ask, line, prepare

from client.personalise import personalise
from tasks.study import Study


@pytest.fixture
def study() -> Study:
    """A study with more steps than the tiny one, so that a site alone can learn in it."""
    return Study.parse_table(study_table(steps=12, sample_rate=0.5), where="tiny")


@pytest.fixture
def site(deployed, write_lines):
    path = write_lines(*map(line, range(PATIENTS)), name="words.jsonl")
    return deployed(source={"kind": "jsonl", "paths": [str(path)]})


@pytest.fixture
def start(study) -> dict[str, np.ndarray]:
    """A federation's head that knows nothing of these diseases."""
    return study.initial()


@pytest.fixture
def ended(site, study, start):
    """A site at which the study has ended."""
    prepare(site, study)
    ask(site, study, start)
    return site


@pytest.fixture
def kept(ended, study):
    """A site with a head of its own."""
    made = personalise(ended, study.digest)
    assert made.kept is not None
    return ended
