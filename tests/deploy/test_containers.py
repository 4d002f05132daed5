"""The image and the compose file: linters find nothing, and every command in them exists."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from commands import commands, parse
from compose_spec import PyCompose
from docker.utils.build import exclude_paths
from federation import BIN, ROOT, free_port

from client.site import Site
from server.deployment.config import ServerConfig

COMPOSE = ROOT / "deploy" / "compose.yaml"
CONTAINERFILE = ROOT / "deploy" / "container" / "Containerfile"
SITES = ("ash", "birch", "cedar")
ACCEPTED = {"CL-0019"}
"""Of compose-lint: an image that is built on the machine has no digest in a registry."""


def composed() -> dict[str, Any]:
    """The compose file as Compose reads it: anchors merged, variables at their defaults."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text("utf-8"))
    found = yaml.safe_load(text)
    assert "$" not in json.dumps(found)
    return found


SERVICES: dict[str, dict[str, Any]] = composed()["services"]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)


def test_it_keeps_to_the_compose_specification():
    read = PyCompose.from_yaml(yaml.safe_dump(composed()))
    assert sorted(read.service_names()) == ["ash", "birch", "cedar", "coordinator", "mlflow"]


def test_docker_reads_it_where_there_is_a_docker_with_compose():
    if shutil.which("docker") is None or run("docker", "compose", "version").returncode:
        return  # the specification is checked above
    shown = run("docker", "compose", "--file", COMPOSE, "config", "--quiet")
    assert (shown.returncode, shown.stderr) == (0, "")


def test_compose_lint_finds_nothing_else():
    shown = run(BIN / "compose-lint", "--format=json", "--fail-on=critical", COMPOSE)
    assert shown.returncode == 0, shown.stderr
    found = set(re.findall(r"CL-\d{4}", shown.stdout))
    assert found == ACCEPTED, shown.stdout


def test_hadolint_finds_nothing():
    shown = run(BIN / "hadolint", "--failure-threshold=style", CONTAINERFILE)
    assert (shown.returncode, shown.stdout) == (0, ""), shown.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_shut_in(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == "10001:10001"
    assert {"mem_limit", "pids_limit", "cpus", "init", "stop_grace_period"} <= set(service)
    assert all("noexec" in mount for mount in service["tmpfs"])
    forbidden = {
        "ports",
        "privileged",
        "cap_add",
        "network_mode",
        "devices",
        "pid",
        "ipc",
        "expose",
    }
    assert forbidden.isdisjoint(service)
    binds = [mount for mount in service["volumes"] if mount.startswith((".", "/"))]
    assert all(mount.endswith(":ro") for mount in binds)


def test_sites_reach_the_coordinator_and_neither_mlflow_nor_each_other():
    networks = {name: set(SERVICES[name]["networks"]) for name in SERVICES}
    assert all(given == {"internal": True} for given in composed()["networks"].values())
    for one, other in combinations(SERVICES, 2):
        together = networks[one] & networks[other]
        assert bool(together) == ("coordinator" in {one, other}), (one, other)


@pytest.mark.parametrize("name", SITES)
def test_a_site_has_volumes_of_its_own(name):
    own = {f"{name}:/var/lib/fedward", f"{name}-mark:/var/lib/fedward-mark"}
    assert set(SERVICES[name]["volumes"]) == own | {f"./notes/{name}:/srv/notes:ro"}


@pytest.mark.parametrize("name", ["coordinator", *SITES])
def test_every_daemon_is_started_by_a_command_that_there_is(name):
    parse(SERVICES[name]["command"])
    (variable,) = SERVICES[name]["environment"]
    assert variable == ("FEDWARD_SERVER" if name == "coordinator" else "FEDWARD_SITE")


def test_every_command_of_the_readme_is_one_that_there_is():
    found = set()
    for words in commands(ROOT / "deploy" / "README.md"):
        if "compose" in words[:2] and words[2] in {"run", "exec"} and "--entrypoint" not in words:
            place = next(number for number, word in enumerate(words) if word in SERVICES)
            rest = words[place + 1 :]
            parse(rest[1:] if words[2] == "exec" else rest)
            assert words[2] == "run" or rest[0] == "fedward"
            found.add(tuple(word for word in rest if word != "fedward")[:2])
        elif "/opt/fedward/bin/fedward" in words:
            parse(words[words.index("/opt/fedward/bin/fedward") + 1 :])
        elif "install" in words and "-m" in words and "pip" not in words:
            sources = [word for word in words if word.startswith("deploy/")]
            assert sources
            assert all((ROOT / source).is_file() for source in sources)
        else:
            known = {"docker", "sudo"}
            assert words[0] in known, words
    assert {("server", "init"), ("server", "enrol"), ("site", "init"), ("site", "check")} <= found


def test_volumes_and_folders_are_those_of_the_image():
    text = CONTAINERFILE.read_text("utf-8")
    (made,) = re.findall(r"install -d -m 0700 -o 10001 -g 10001 (.+)$", text, re.MULTILINE)
    mounted = {
        mount.split(":")[1]
        for service in SERVICES.values()
        for mount in service["volumes"]
        if not mount.startswith(".")
    }
    assert mounted == set(made.split())
    assert 'ENTRYPOINT ["fedward"]' in text
    assert "USER 10001:10001" in text


def test_the_base_is_named_by_a_whole_version():
    (base,) = re.findall(r"^ARG BASE=(.+)$", CONTAINERFILE.read_text("utf-8"), re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)


def context(folder: Path) -> set[str]:
    """Files below a folder that Docker's client would send to a build there."""
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    return {path for path in exclude_paths(folder, patterns) if (folder / path).is_file()}


def test_an_image_gets_sources_and_nothing_else(tmp_path):
    sources = {
        "pyproject.toml",
        "client/site.py",
        "embeddings/references/all-MiniLM-L6-v2.json",
        "experiments/studies/demo.toml",
    }
    others = {
        "client/__pycache__/site.pyc",
        "site/site.toml",
        "site/node.key",
        "notes/patients.jsonl",
        ".git/config",
        "tests/conftest.py",
        "deploy/notes/ash/patients.jsonl",
        "fedward-runs/mlflow.db",
    }
    for name in sources | others:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert context(tmp_path) - {".dockerignore"} == sources


def test_an_image_gets_everything_that_is_installed():
    """What .dockerignore lets through is what the wheel is built from."""
    given = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    sent = context(ROOT)
    needed = {given["project"]["readme"], *given["project"]["license-files"], "constraints.txt"}
    for package in given["tool"]["setuptools"]["packages"]:
        folder = ROOT / package.replace(".", "/")
        needed |= {str(path.relative_to(ROOT)) for path in folder.glob("*.py")}
        for pattern in given["tool"]["setuptools"]["package-data"].get(package, []):
            needed |= {str(path.relative_to(ROOT)) for path in folder.glob(pattern)}
    assert needed <= sent
    # .dockerignore itself is always sent.
    most = {path.split("/")[0] for path in needed} | {"pyproject.toml", ".dockerignore"}
    assert {path.split("/")[0] for path in sent} == most


def test_the_healthchecks_ask_what_the_daemons_answer():
    """Ports and files of the checks are those that the commands make by default."""
    text = COMPOSE.read_text("utf-8")
    server = SERVICES["coordinator"]["environment"]["FEDWARD_SERVER"]
    ca = Path(server).parent / ServerConfig.model_fields["ca"].default
    assert f"cafile='{ca}'" in text
    for words in commands(ROOT / "deploy" / "README.md"):
        if "init" in words and "server" in words and "docker" in words:
            assert words[words.index("init") + 1] == str(Path(server).parent)
        if "init" in words and "site" in words:
            folder = words[words.index("init") + 1]
            assert SERVICES["ash"]["environment"]["FEDWARD_SITE"] == f"{folder}/site.toml"
            assert (
                Path(words[words.index("--mark") + 1]).name
                == Site.model_fields["mark"].default.name
            )
    for name in ("coordinator", "mlflow"):
        compile(SERVICES[name]["healthcheck"]["test"][3], name, "exec")
    (check,) = re.findall(r"CMD (\[\"python.+\])$", CONTAINERFILE.read_text("utf-8"), re.MULTILINE)
    compile(json.loads(check)[2], "site", "exec")


@pytest.mark.slow
def test_mlflow_answers_under_the_names_of_the_compose_file_only(tmp_path):
    """The very flags of the service, with another port and folder."""
    port = free_port()
    words = [
        word.replace("=0.0.0.0", "=127.0.0.1").replace("5000", str(port))
        .replace("/var/lib/mlflow", str(tmp_path))
        for word in SERVICES["mlflow"]["command"]
    ]  # fmt: skip
    with (tmp_path / "said.txt").open("wb") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words],
            cwd=tmp_path, stdout=said, stderr=said, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            for _ in range(300):
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/health").status_code == 200:
                        break
                assert server.poll() is None, (tmp_path / "said.txt").read_text()
                time.sleep(0.2)
            url = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
            for host, status in ((f"mlflow:{port}", 200), (f"evil.example:{port}", 403)):
                assert client.get(url, headers={"Host": host}).status_code == status, host
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
