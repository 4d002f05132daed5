"""Approval of a study by the people who answer for a site's patients.

A study that awaits approval is kept under its digest in the site's folder of studies. Decisions
stand in the ledger, in its hash chain; the latest one on a digest counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from client import wanted
from client.differences import Change, Near, changes, near
from client.heldout_cost import HeldoutCost, heldout_cost
from client.promises import dangers, leaves, never_leaves, starts
from client.site import Site
from privacy import accounting
from privacy.budget import Spend
from privacy.entries import Entry, EntryKind
from privacy.errors import SiteError, StudyRefused
from privacy.files import replacing
from privacy.ledger import Ledger
from privacy.spec import Spec
from tasks import noised, tallies
from tasks.study import Study

# So that whoever can reach the site cannot fill its disk with studies.
MOST_WAITING = 50


class Page(Spec):
    """What somebody who decides on a study needs to know, worked out from the study alone.

    Attributes:
        study: The study's name.
        digest: What is approved: this and nothing else.
        coordinator: Who asks, by the study's own word.
        contact: The same.
        purpose: The same.
        asks: What is predicted.
        outputs: All that is predicted, by name.
        titles: What each of these means, and each output of the studies compared with.
        reads: Which notes.
        encoder: What turns notes into vectors, on the site's own machine.
        starts: Where round 1 starts, in words.
        rounds: Rounds of training.
        leaves: What leaves in each round, a sentence each.
        never_leaves: What does not.
        bytes_a_round: What a round's release holds.
        bytes_total: What the whole study's releases hold.
        mechanism: How privacy is kept.
        noise_multiplier: Of each step; 0 where there is none.
        delta: Of the epsilons that follow, which are all of training patients.
        epsilon_a_round: What one round by itself costs; None is infinite.
        epsilon_study: What the study by itself costs; None is infinite.
        spare_rounds: Rounds that may be charged beyond its own, for such as were broken off.
        epsilon_most: What the study by itself costs with all of these.
        epsilon_before: What all studies so far cost.
        epsilon_after: What they will have cost with this one.
        epsilon_lifetime: The ceiling.
        heldout: What it costs tune and held-out patients.
        dangers: What can be computed from what leaves, a sentence each.
        broken: Rules of the policy that it breaks; it cannot run while there is one.
        compared: Name and digest of the study that was approved last.
        missing: The same, where that study's file is lost or was changed.
        changes: What differs from the one that was approved last.
        near: Studies that ran or were approved here and ask almost the same.
        not_compared: How many others ran or were approved here whose files are not here.
    """

    study: str
    digest: str
    coordinator: str
    contact: str
    purpose: str
    asks: str
    outputs: tuple[str, ...]
    titles: dict[str, str]
    reads: str
    encoder: str
    starts: str
    rounds: int
    leaves: tuple[str, ...]
    never_leaves: tuple[str, ...]
    bytes_a_round: int
    bytes_total: int
    mechanism: str
    noise_multiplier: float
    delta: float
    epsilon_a_round: float | None
    epsilon_study: float | None
    spare_rounds: int
    epsilon_most: float | None
    epsilon_before: float | None
    epsilon_after: float | None
    epsilon_lifetime: float | None
    heldout: HeldoutCost
    dangers: tuple[str, ...]
    broken: tuple[str, ...]
    compared: tuple[str, str] | None
    missing: tuple[str, str] | None
    changes: tuple[Change, ...]
    near: tuple[Near, ...]
    not_compared: int


def wait(site: Site, study: Study) -> None:
    """Keeps a study for a decision.

    Raises:
        StudyRefused: As many wait as may. None makes room for another: whoever sends studies
            could push out one that somebody is about to decide on.
    """
    folder = site.at(site.studies)
    if (folder / f"{study.digest}.json").exists():
        return
    decided = _decided(site.open_ledger().entries())
    if sum(path.stem not in decided for path in folder.glob("*.json")) >= MOST_WAITING:
        raise StudyRefused(
            f"{MOST_WAITING} studies await approval at {site.name}, and it keeps no more; its "
            "operator decides on them with `fedward site approve`; ask again after that"
        )
    keep(site, study)


def keep(site: Site, study: Study) -> None:
    """Keeps a study in the site's folder of studies."""
    folder = site.at(site.studies)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{study.digest}.json"
    if not path.exists():
        with replacing(path) as file:
            file.write(study.canonical())


def waiting(site: Site) -> list[Study]:
    """Studies that came and were not decided on, oldest first; none where none needs a decision."""
    if site.policy.studies == "any":
        return []
    folder = site.at(site.studies)
    decided = _decided(site.open_ledger().entries())
    paths = [path for path in folder.glob("*.json") if path.stem not in decided]
    return [find(site, path.stem) for path in sorted(paths, key=lambda p: p.stat().st_mtime)]


def taken(site: Site) -> list[str]:
    """Digests of the studies kept here that this site takes, as far as decisions go; oldest first.

    Those approved and not revoked; where the policy takes any study, also those that nobody
    decided on.
    """
    latest = {entry.body["study"]: entry.kind for entry in _decisions(site.open_ledger().entries())}
    fit = {"approved", None} if site.policy.studies == "any" else {"approved"}
    paths = sorted(site.at(site.studies).glob("*.json"), key=lambda path: path.stat().st_mtime)
    return [path.stem for path in paths if latest.get(path.stem) in fit]


def find(site: Site, start: str) -> Study:
    """The study at the site whose digest starts like this.

    Raises:
        SiteError: There is none, or several, or its file was changed.
    """
    found = sorted(site.at(site.studies).glob(f"{start}*.json")) if start.isalnum() else []
    if len(found) != 1:
        which = "several studies" if found else "no study"
        raise SiteError(
            f"{which} at {site.name} with a digest that starts with {start!r}; "
            "`fedward site approve` without a digest lists those that wait"
        )
    study = Study.received(found[0].read_text("ascii"))
    if study.digest != found[0].stem:
        raise SiteError(f"{found[0].name} is not the study that came under this digest; remove it")
    return study


def approved(ledger: Ledger, digest: str) -> bool:
    """Whether the latest decision on a study lets it run."""
    return _latest(ledger, digest) == "approved"


def decide(site: Site, study: Study, *, approve: bool) -> None:
    """Writes a decision into the ledger and the audit log.

    Raises:
        StudyRefused: It is to be approved, but breaks the policy.
    """
    if approve:
        site.policy.admit(study, declared_patients=site.declared_patients)
        keep(site, study)  # for comparison with later ones
    kind: Literal["approved", "revoked"] = "approved" if approve else "revoked"
    site.open_ledger().record(kind, {"study": study.digest, "name": study.name})
    site.open_log().write(kind, study=study.digest, name=study.name)
    if approve and site.coordinator is not None:
        wanted.want(site, study.digest)


def revoke(site: Site, digest: str) -> bool:
    """Takes back whatever lets a study run, also where its file is gone, as a purge does.

    Returns:
        Whether it was not revoked already.
    """
    ledger = site.open_ledger()
    if _latest(ledger, digest) == "revoked":
        return False
    try:
        name = find(site, digest).name
    except SiteError:
        name = ""
    ledger.record("revoked", {"study": digest, "name": name})
    site.open_log().write("revoked", study=digest, name=name)
    return True


def check(site: Site, study: Study, ledger: Ledger) -> None:
    """Lets an approved study through; keeps any other for a decision.

    Where the policy takes any study, it takes those that nobody decided on, not those revoked.

    Raises:
        StudyRefused: It was not approved, was revoked, or cannot even wait; says what the
            operator runs.
    """
    latest = _latest(ledger, study.digest)
    if latest == "approved" or (latest is None and site.policy.studies == "any"):
        return
    wait(site, study)
    raise StudyRefused(
        f"study {study.name} awaits approval at {site.name}; its operator runs "
        f"`fedward site approve {study.digest}`"
    )


def refuse_revoked(study: Study, ledger: Ledger) -> None:
    """Stops work on a study that was revoked meanwhile.

    Raises:
        StudyRefused: It was.
    """
    if _latest(ledger, study.digest) == "revoked":
        raise StudyRefused(f"study {study.name} was revoked")


def page(site: Site, study: Study) -> Page:
    """The page of a study."""
    entries = site.open_ledger().entries()
    out, counts = study.numbers * 4, _tally_bytes(site, study)
    tallied = [entry.spend for entry in entries if entry.cohort == "heldout"]
    return Page(
        study=study.name,
        digest=study.digest,
        **study.about.model_dump(),
        asks=study.task.summary,
        outputs=study.outputs,
        reads=study.task.reads,
        encoder=f"{study.encoder.kind} {getattr(study.encoder, 'model', '')}".strip(),
        starts=starts(study),
        rounds=study.rounds,
        leaves=leaves(site, study),
        never_leaves=never_leaves(site, study),
        bytes_a_round=out + counts,
        bytes_total=(out + counts) * study.rounds + counts,
        mechanism=study.privacy.kind,
        **_costs(site, entries, study),
        heldout=heldout_cost(site, study, tallied),
        dangers=dangers(site, study),
        broken=tuple(site.policy.broken(study, declared_patients=site.declared_patients)),
        **_comparison(site, entries, study),
    )


def _costs(site: Site, entries: Sequence[Entry], study: Study) -> dict[str, Any]:
    """What the study costs training patients: the page's fields by name."""
    lifetime, planned = site.policy.lifetime, list(study.spends())
    spent = [entry.spend for entry in entries if entry.cohort == "train"]
    done = {spend.round for spend in spent if spend.study == study.digest}
    left = [spend for spend in planned if spend.round not in done]
    spare = site.policy.most_charges(study, "train") - study.rounds

    def cost(spends: list[Spend]) -> float | None:
        found = accounting.epsilon(spends, delta=lifetime.delta)
        return None if math.isinf(found) else found

    return {
        "noise_multiplier": planned[0].noise_multiplier,
        "delta": lifetime.delta,
        "epsilon_a_round": cost(planned[:1]),
        "epsilon_study": cost(planned),
        "spare_rounds": spare,
        "epsilon_most": cost([*planned, *planned[:1] * spare]),
        "epsilon_before": cost(spent),
        "epsilon_after": cost([*spent, *left]),
        "epsilon_lifetime": None if math.isinf(lifetime.epsilon) else lifetime.epsilon,
    }


def _latest(ledger: Ledger, digest: str) -> EntryKind | None:
    """The latest decision on a study."""
    mine = [e.kind for e in _decisions(ledger.entries()) if e.body["study"] == digest]
    return mine[-1] if mine else None


def _comparison(site: Site, entries: Sequence[Entry], study: Study) -> dict[str, Any]:
    """What tells the study from those before it: the page's fields by name."""
    last, missing = _last(site, entries, study)
    others, lost = _others(site, entries, study)
    found = {other: alike for other in others if (alike := near(other, study)) is not None}
    titles: dict[str, str] = {}
    for one in [study, *([] if last is None else [last]), *found]:
        titles |= dict(zip(one.outputs, one.task.questions, strict=True))
    return {
        "titles": titles,
        "compared": None if last is None else (last.name, last.digest),
        "missing": missing,
        "changes": () if last is None else tuple(changes(last, study)),
        "near": tuple(found.values()),
        "not_compared": lost,
    }


def _decisions(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.kind in {"approved", "revoked"}]


def _decided(entries: Sequence[Entry]) -> set[str]:
    return {entry.body["study"] for entry in _decisions(entries)}


def _last(
    site: Site, entries: Sequence[Entry], study: Study
) -> tuple[Study | None, tuple[str, str] | None]:
    """The study that was approved last, other than this one.

    Its name and digest alone where its file is not here any more, or is not what it was.
    """
    for entry in reversed(entries):
        if entry.kind == "approved" and entry.body["study"] != study.digest:
            digest = entry.body["study"]
            try:
                return find(site, digest), None
            except SiteError:
                return None, (entry.body.get("name", ""), digest)
    return None, None


def _others(site: Site, entries: Sequence[Entry], study: Study) -> tuple[list[Study], int]:
    """Every other study that was ever approved or charged here, and how many have no file."""
    ran = [e.body["study"] for e in entries if e.kind in {"approved", "spend"}]
    found, lost = [], 0
    for digest in dict.fromkeys(ran):
        if digest == study.digest:
            continue
        try:
            found.append(find(site, digest))
        except SiteError:
            lost += 1
    return found, lost


def _tally_bytes(site: Site, study: Study) -> int:
    shapes = {
        "withheld": {},
        "exact": tallies.shapes(len(study.outputs)),
        "noised": noised.shapes(),
    }[site.policy.metrics]
    return sum(8 * math.prod(shape) for shape, _ in shapes.values())
