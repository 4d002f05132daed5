"""What is shipped: the Flower bundle, the wheel, the environment."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("client", "embeddings", "experiments", "privacy", "server", "tasks")


def tracked(*patterns: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for pattern in patterns
        for path in ROOT.glob(pattern)
        if "__pycache__" not in path.parts
    }


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_bundle_is_the_code_of_both_sides_and_nothing_else():
    from flwr.cli.build import build_fab_from_disk

    bundle = zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT)))
    floors = ("client", "embeddings", "privacy", "server", "tasks")
    expected = tracked(
        *(f"{floor}/**/*.py" for floor in floors),
        "embeddings/references/*.json",
        "experiments/studies/*.toml",
    )
    assert set(bundle.namelist()) == expected | {"pyproject.toml", ".info/CONTENT"}


def test_the_wheel_installs_the_floors_and_nothing_else(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("fedward-*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == tracked(
        *(f"{floor}/**/*.py" for floor in FLOORS),
        "embeddings/references/*.json",
        "experiments/studies/*.toml",
    )


def test_every_package_is_listed_and_every_init_holds_a_docstring_only():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for floor in FLOORS
        for path in (ROOT / floor).rglob("__init__.py")
    }
    assert set(listed) == found
    for name in listed:
        text = (ROOT / name.replace(".", "/") / "__init__.py").read_text()
        assert re.fullmatch(r'"""[^"]+"""\n', text), name


def test_flower_finds_both_apps():
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    import client.app
    import server.app

    assert isinstance(client.app.app, ClientApp)
    assert isinstance(server.app.app, ServerApp)
    # Flower's own check reads the source: it sees plain assignments only.
    assert re.search(r"^app = ClientApp\(", (ROOT / "client" / "app.py").read_text(), re.MULTILINE)
    assert re.search(r"^app = ServerApp\(", (ROOT / "server" / "app.py").read_text(), re.MULTILINE)


def test_pins_and_ranges_agree():
    from packaging.requirements import Requirement

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[name.lower().replace("_", "-")] = version
    assert pins["torch"] == "2.13.0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        pin = pins[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(pin), f"{requirement} and {pin}"


def test_tests_are_no_packages():
    assert tracked("tests/**/__init__.py") == set()
