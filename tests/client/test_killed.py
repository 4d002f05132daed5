"""Killed before every SQL statement that writes, and every other change of a file: it heals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]

# In a process of its own, which imports once and forks for each moment of death.
DRIVER = '''
import json, os, shutil, signal, sqlite3, sys, traceback
from pathlib import Path

import tomli_w
from builders import patient, site_table, study_table

from client import cohort, local
from client.purge import purge_everything, purge_patient, purge_study
from client.site import Site
from client.withdrawn import keyed_hash, withdrawn
from privacy.errors import SiteError
from privacy.files import drafts
from tasks.study import Study

home, PATIENTS = Path(sys.argv[1]), 3
study = Study.parse_table(study_table(), where="tiny")
other = Study.parse_table(study_table(name="other", steps=4), where="other")


def site_in(folder):
    return Site.read(folder / "site.toml")


def numbers(site, study):
    bags = local.load_bags(site, study)
    every = [*bags.train, *bags.tune, *bags.heldout]
    return sorted((bag.targets, [v.tobytes() for v in bag.vectors]) for bag in every)


def contains(folder, *needles):
    content = b"\\0".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    return any(n in content or n.hex().encode() in content for n in needles)


def die_at(moment):
    """Kills this process at the nth statement, or other change of a file."""
    count = 0

    def step(sql=""):
        nonlocal count
        if sql.lstrip().startswith("SELECT"):
            return  # changes nothing: the moment before it is the one after the last
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    connect = sqlite3.connect

    def traced(*args, **options):
        database = connect(*args, **options)
        if "ledger" not in str(args[0]):  # has tests of its own
            database.set_trace_callback(step)
        return database

    sqlite3.connect = traced

    def hook(event, args):
        if event in {"os.remove", "os.rename", "os.link", "os.chmod", "fcntl.flock"}:
            step()
        elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            step()

    sys.addaudithook(hook)


# What is done to a folder, and what must hold after that was killed.

def check_prepare(site):
    cohort.prepare(site, study)
    assert numbers(site, study) == whole
    assert drafts(site.at(site.cohorts)) == []
    assert purge_study(site, study.digest).records > 0
    with sqlite3.connect(site.at(site.vectors)) as database:
        assert database.execute("SELECT count(*) FROM record").fetchone() == (0,)
    database.close()


def check_study(site):
    assert numbers(site, other) == whole
    assert purge_study(site, study.digest).remaining == 0
    assert numbers(site, other) == whole
    # Their business is to know of it for good: that it was charged, and revoked.
    for path in [*site.folder.glob("ledger.sqlite*"), *site.folder.glob("audit.jsonl*")]:
        path.unlink()
    assert not contains(site.folder, bytes.fromhex(study.digest))


def check_patient(site):
    if gone in withdrawn(site):
        cohort.prepare(site, study)
        assert len(numbers(site, study)) == PATIENTS - 1
    else:
        assert numbers(site, study) == whole
    purge_patient(site, "p0")
    for each in (study, other):
        assert len(numbers(site, each)) == PATIENTS - 1
    site.at(site.withdrawn).unlink()
    assert not contains(site.folder, gone, note)


def check_everything(site):
    try:
        local.load_bags(site, study)
    except SiteError as error:
        said = str(error)
        assert "purge everything" in said or "prepare" in said, said
    assert purge_everything(site).bytes_after == 0
    assert not contains(site.folder, note)
    cohort.prepare(site, study)
    assert numbers(site, study) == whole


def killed_everywhere(template, act, check):
    moment = 0
    while True:
        moment += 1
        folder = home / str(moment)
        shutil.copytree(template, folder)
        child = os.fork()
        if child == 0:
            try:
                die_at(moment)
                act(site_in(folder))
            except BaseException:
                traceback.print_exc()
                os._exit(3)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        try:
            check(site_in(folder))
        except BaseException:
            print(check.__name__, "after", moment, "steps", file=sys.stderr)
            raise
        shutil.rmtree(folder)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            print(check.__name__, moment - 1)
            return
        assert os.WTERMSIG(status) == signal.SIGKILL


lines = home / "patients.jsonl"
lines.write_text("".join(json.dumps(patient(n)) + "\\n" for n in range(PATIENTS)))
empty, full = home / "empty", home / "full"
empty.mkdir()
table = site_table("ash", source={"kind": "jsonl", "paths": [str(lines)]})
table |= {"policy": {"lifetime": {"epsilon": 8.0}}, "test_seed": 5}
(empty / "site.toml").write_text(tomli_w.dumps(table))
shutil.copytree(empty, full)
for each in (study, other):
    cohort.prepare(site_in(full), each)
whole = numbers(site_in(full), study)
assert numbers(site_in(full), other) == whole
gone = keyed_hash("p0", secret=site_in(full).key("patient"))
text = cohort.cohort_path(site_in(full), study).read_text()
row = next(r for r in map(json.loads, text.splitlines()[1:]) if r["patient"] == gone.hex())
note = bytes.fromhex(row["stays"][0][0][0])
assert contains(full, note)

killed_everywhere(empty, lambda site: cohort.prepare(site, study), check_prepare)
killed_everywhere(full, lambda site: purge_study(site, study.digest), check_study)
killed_everywhere(full, lambda site: purge_patient(site, "p0"), check_patient)
killed_everywhere(full, purge_everything, check_everything)
'''


@pytest.mark.slow
def test_killed_at_any_moment_a_site_heals():
    # In memory where there is such a place: a kill, unlike a power cut, loses nothing written.
    shared = "/dev/shm"  # noqa: S108 - a folder of its own in it
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        done = driven(folder)
    assert done.returncode == 0, done.stderr
    moments = {name: int(number) for name, number in map(str.split, done.stdout.splitlines())}
    assert moments.keys() == {"check_prepare", "check_study", "check_patient", "check_everything"}
    assert min(moments.values()) >= 12, moments


def driven(folder: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, folder],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
