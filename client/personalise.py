"""A deployed site's own head for a study that has ended, made and kept at the site.

Guarantees:
    - Nothing leaves: this reads the site's own files and writes its own folder of heads. So
      nothing is charged, and the ledger is as before.
    - Only training patients are trained on; tune patients choose, and held-out patients do
      neither, by the split that the site's studies are bound to.
    - A study that was revoked, purged or never let in gets no head, and neither does a patient
      who has withdrawn.
    - While a head is made no purge goes on; a purge that waits ends the work, and no head is kept.
    - A head that the tune patients do not prefer to the federation's is not kept, and the one
      that was kept before goes.
Not guaranteed:
    Privacy of the head itself: it is trained without noise, so it may tell of the patients who
    made it what their records would. It is for use at the site that has these records, and so are
    its scores.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from client import approval, final_weights, local, own_heads, personal
from client import cohort as cohorts
from client.local import Bags
from client.personal import Personal
from client.site import Site
from client.unreleased import unclipped
from client.withdrawn import withdrawn
from embeddings.store_file import in_use, purge_waits
from privacy.errors import SiteError, StoreBroken
from privacy.files import WAIT_SECONDS
from privacy.fingerprint import code_fingerprint
from tasks.heads.head import Weights, weights_of
from tasks.study import Study

Progress = Callable[[int, int], None]
"""(done, of how many)."""


@dataclass(frozen=True, slots=True)
class Made:
    """What came of it; private.

    Attributes:
        digest: Of the study.
        study: As the heads were trained: without privacy.
        bags: The site's patients.
        heads: The federation's head, then those of the site's own.
        preferred: Which of them the tune patients prefer.
        kept: File of the head that was kept; None where the federation's is preferred.
        removed: Whether a head that was kept before is gone.
    """

    digest: str
    study: Study
    bags: Bags
    heads: tuple[Personal, ...]
    preferred: Personal
    kept: Path | None
    removed: bool


def personalise(
    site: Site,
    digest: str,
    *,
    weights: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Made:
    """Goes on from a study's final weights with the site's own patients, and keeps the better head.

    Args:
        site: Whose.
        digest: Of the study, or its first letters.
        weights: The coordinator's `final.safetensors`, where the study's last question has not
            come here or is not to be taken.
        progress: Is told how far it is.

    Raises:
        StudyRefused: The study was revoked or not let in.
        SiteError: The study's head cannot be gone on with, or something that it takes is not at
            the site; says what, and what to do.
        EncoderDiffers: The weights are of other vectors than the site's.
        StoreBroken: A purge goes on.
    """
    study = _taken(site, digest)
    with in_use(site.at(site.vectors), wait=WAIT_SECONDS), local.on_threads(site.threads):
        cohort = _cohort(site, study)
        start = final_weights.read(site, study, identity=cohort.identity, file=weights)
        bags = local.bags_of(site, study, cohort)
        alone = unclipped(study)
        heads = _heads(site, alone, bags, start, progress=progress)
        preferred = personal.preferred(heads)
        _let_a_purge_go_first(site)
        if preferred.kind == "federated":
            kept, removed = None, bool(own_heads.forget(site, study.digest))
        else:
            facts = _facts(site, study, cohort.identity, preferred, start)
            made_by = {*cohort.patients["train"], *cohort.patients["tune"]}
            made = weights_of(preferred.head)
            kept, removed = own_heads.keep(site, facts, made, patients=made_by), False
    site.open_log().write("personalised", study=study.digest, kind=preferred.kind)
    return Made(study.digest, alone, bags, heads, preferred, kept, removed)


def _taken(site: Site, digest: str) -> Study:
    """The study, if the site takes it and its head has steps to go on with."""
    study = approval.find(site, digest)
    ledger = site.open_ledger()
    approval.refuse_revoked(study, ledger)
    approval.check(site, study, ledger)
    if study.head.by_sums:
        raise SiteError(
            f"the head {study.head.kind!r} of study {study.name} follows from sums over patients "
            "and has no steps to go on with: there is no head of the site's own to make from it"
        )
    return study


def _cohort(site: Site, study: Study) -> cohorts.Cohort:
    """The study's patients, none of whom has withdrawn, with all their vectors."""
    found = cohorts.prepared(site, study)
    if found is None:
        cohorts.load(site, study)  # which says what is wrong with the file
        raise SiteError(
            f"notes of study {study.name} are not embedded at {site.name}; `fedward site embed` "
            "does it"
        )
    if not withdrawn(site).isdisjoint(itertools.chain(*found.patients.values())):
        raise SiteError(
            f"the cohort of study {study.name} still has a patient who has withdrawn; "
            "`fedward site embed` makes it again"
        )
    return found


def _heads(
    site: Site, study: Study, bags: Bags, start: Weights, *, progress: Progress
) -> tuple[Personal, ...]:
    done, total = 0, personal.tries(study)

    def tell() -> None:
        nonlocal done
        _let_a_purge_go_first(site)
        progress(done, total)
        done += 1

    found = (
        personal.federated(study, bags, start=start),
        personal.fine_tuned(study, site.name, bags, start=start, tell=tell),
        personal.mean_regularised(study, site.name, bags, start=start, tell=tell),
    )
    progress(total, total)
    return found


def _let_a_purge_go_first(site: Site) -> None:
    if purge_waits(site.at(site.vectors)):
        raise StoreBroken("a purge waits; no head was kept; make it again when that is done")


def _facts(
    site: Site, study: Study, identity: str, head: Personal, start: Weights
) -> own_heads.Facts:
    digest = hashlib.sha256()
    for name in sorted(start):
        digest.update(f"{name}\0{start[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(start[name]).data)
    return own_heads.Facts(
        site=site.name,
        study=study.digest,
        encoder=identity,
        kind=head.kind,
        pull=head.pull,
        threshold=head.threshold,
        start=digest.hexdigest(),
        code=code_fingerprint(),
        at=datetime.now(UTC),
    )
