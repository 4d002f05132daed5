"""Small studies and sites for the tests: no model to load, seconds to run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before anything imports Flower: no telemetry, no update check, no install at run time.
os.environ |= {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
}

import pytest
import tomli_w
from builders import Tables, policy_table, simulation_table, site_table, study_table
from hypothesis import settings

from client.site import Site
from privacy.keys import make_key
from tasks.study import Study

if TYPE_CHECKING:
    from postgres import Server

# The same examples each time, and none fails for being slow: a failure is the code's, not the
# day's. `pytest --hypothesis-profile=default` draws others.
settings.load_profile("ci")


@pytest.fixture
def study() -> Study:
    """The tiny private study."""
    return Study.parse_table(study_table(), where="tiny")


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a study file with a simulation; gives its path."""

    def write(simulation: Tables | None = None, **changes: Any) -> Path:
        path = tmp_path / "tiny.toml"
        table = study_table(**changes) | {"simulation": simulation or simulation_table()}
        path.write_text(tomli_w.dumps(table), "utf-8")
        return path

    return write


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """Writes a site.toml in a folder of its own and reads it.

    Its key follows from its name: whom it trains on is the same each time.
    """

    def make(name: str = "ash", **changes: Any) -> Site:
        table = site_table(name) | {
            "policy": policy_table(),
            "test_seed": 5,
        }
        path = tmp_path / "sites" / name / "site.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = {key: value for key, value in (table | changes).items() if value is not None}
        path.write_text(tomli_w.dumps(table), "utf-8")
        site = Site.read(path)
        make_key(site.at(site.secret), hashlib.sha256(name.encode()).digest())
        return site

    return make


@pytest.fixture
def write_lines(tmp_path: Path) -> Callable[..., Path]:
    """Writes JSON lines; a string is written as it is."""

    def write(*lines: object, name: str = "patients.jsonl") -> Path:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        path = tmp_path / name
        path.write_text(text + "\n", "utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A PostgreSQL server of this test run's own."""
    import postgres

    if postgres.programs() is None:
        said = "no PostgreSQL server here; Debian's package is `postgresql`"
        if os.environ.get("CI"):
            pytest.fail(said)
        pytest.skip(said)
    with postgres.running() as server:
        yield server
