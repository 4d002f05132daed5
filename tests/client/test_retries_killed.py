"""A round that was killed, or asked of two processes at once: charged each time it trained."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import study_table
from forks import MEMORY, Forks
from ledgers import equal
from ready_sites import charges, events

from client import local
from client.site import Site
from tasks.study import Study

PREAMBLE = """
from builders import study_table
from client import local
from client.site import Site
from privacy.fingerprint import code_fingerprint
from privacy.release import RequestHeader
from ledgers import fingerprint
from tasks.study import Study

site = Site.read(folder / "site.toml")
study = Study.parse_table(study_table(), where="tiny")
encoder = (folder / "encoder").read_text()
request = RequestHeader(study=study.canonical(), round=1, code=code_fingerprint(), encoder=encoder)
"""

TRAIN = """
release = local.train(site, study, request, study.initial())
say([release.receipt.id, fingerprint(release)])
"""

DIE_AT_FIT = """
import os, signal
local.fit = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""

DIE_AT_PUT = """
import os, signal
from privacy.releases import Releases
Releases.put = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""

DIE_AFTER_PUT = """
import os, signal
from privacy.releases import Releases
put = Releases.put
def put_and_die(*arguments, **more):
    put(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)
Releases.put = put_and_die
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    # Calibration takes seconds; here it is done already.
    noise = Study.parse_table(study_table(), where="tiny").spend(1).noise_multiplier
    before = f"""
import builders, client.local, ledgers, opacus.accountants, opacus.grad_sample
import privacy.dp_sgd, privacy.clipped_sums, privacy.noisy_optimizer
privacy.dp_sgd.noise_multiplier = lambda *_, **__: {noise!r}
"""
    with Forks(before) as program:
        yield program


@pytest.fixture
def folder(study, ready) -> Path:
    """The folder of a site that is ready, for other processes."""
    site, request = ready
    (site.folder / "encoder").write_text(request.encoder)
    return site.folder


def test_two_processes_that_are_asked_the_same_at_once_are_charged_once(ready, forks, folder):
    site, _ = ready
    runs = forks.run(PREAMBLE + TRAIN, folder, times=2)
    assert runs[0].said == runs[1].said
    assert len(runs[0].said) == 1
    assert charges(site) == [("train", 1), ("heldout", 1)]
    assert events(site) == ["prepared", "spend", "spend", "replay"]


@pytest.mark.parametrize("code", [DIE_AT_FIT, DIE_AT_PUT], ids=["at fit", "at put"])
def test_a_round_that_was_killed_after_its_charge_is_charged_again(
    study, ready, forks, folder, code
):
    site, request = ready
    (run,) = forks.run(PREAMBLE + code + TRAIN, folder, die=-1)
    assert run.killed
    assert charges(site) == [("train", 1), ("heldout", 1)]
    spent = site.open_ledger().epsilon(delta=1e-5)
    release = local.train(site, study, request, study.initial())  # no lock is left either
    assert release.receipt.attempt == 2
    assert charges(site) == [("train", 1), ("heldout", 1)] * 2
    assert site.open_ledger().epsilon(delta=1e-5) > spent + 1
    assert equal(local.train(site, study, request, study.initial()), release)


def test_a_round_that_was_killed_after_it_was_kept_is_given_again(study, ready, forks, folder):
    site, request = ready
    (run,) = forks.run(PREAMBLE + DIE_AFTER_PUT + TRAIN, folder, die=-1)
    assert run.killed
    local.train(site, study, request, study.initial())
    assert charges(site) == [("train", 1), ("heldout", 1)]
    assert events(site)[-1] == "replay"


@pytest.mark.slow
def test_a_round_that_was_killed_anywhere_is_never_free_and_never_lost(study, forks, folder):
    """At a prime's steps through all its writing: ledger, mark, audit log and releases."""
    asked = 0
    for point in range(3, 10_000, 23):
        with tempfile.TemporaryDirectory(dir=MEMORY) as work:
            site = Site.read(shutil.copytree(folder, Path(work) / "site") / "site.toml")
            (run,) = forks.run(PREAMBLE + TRAIN, site.folder, die=point)
            if not run.killed:
                break
            before = charges(site)
            kept = site.open_releases().memory  # opens the file
            assert kept(study.digest, before=9) == {}
            (again,) = forks.run(PREAMBLE + TRAIN, site.folder)
            ((receipt, _),) = again.said
            after = charges(site)
            if "replay" in events(site):
                assert after == before
            else:
                assert after[len(before) :] == [("train", 1), ("heldout", 1)]
            assert site.open_ledger().entries()[receipt - 1].cohort == "train"
            asked += 1
    assert asked > 8
