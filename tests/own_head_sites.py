"""A site whose patients have words of their own, asked as a coordinator asks at a study's end."""

from __future__ import annotations

import numpy as np
from builders import patient

from client import approval, cohort, local
from client.withdrawn import keyed_hash
from privacy.fingerprint import code_fingerprint
from privacy.release import RequestHeader
from tasks.study import Study

PATIENTS = 42
DISEASES = {"I10": "essential hypertension", "E11": "diabetes mellitus", "J18": "pneumonia"}


def line(number: int) -> dict[str, object]:
    """A patient with one of three diseases, in words of this hospital."""
    code, words = list(DISEASES.items())[number % 3]
    one = patient(number)
    one["stays"][0]["codes"] = [code]
    one["notes"][0]["text"] = f"{words} {words} {words}, course {number}"
    return one


def prepare(site, study: Study) -> cohort.Cohort:
    """The study is approved and its notes are embedded."""
    approval.decide(site, study, approve=True)
    cohort.prepare(site, study)
    return cohort.load(site, study)


def ask(site, study: Study, weights: dict[str, np.ndarray], *, round: int = 2) -> None:
    """The coordinator asks for tallies of weights."""
    identity = cohort.load(site, study).identity
    header = RequestHeader(
        study=study.canonical(), round=round, code=code_fingerprint(), encoder=identity
    )
    local.evaluate(site, study, header, weights)


def made_by(site, study: Study) -> list[str]:
    """Ids of the patients of whom the study's cohort says that they train or tune."""
    found = cohort.load(site, study).patients
    hashes = {*found["train"], *found["tune"]}
    secret = site.key("patient")
    return [f"p{n}" for n in range(PATIENTS) if keyed_hash(f"p{n}", secret=secret) in hashes]
