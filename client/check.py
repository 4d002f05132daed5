"""`fedward site check`: whether this site could take part, and what to do where it could not.

What is found stays here: it holds true numbers of patients.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from client.census import Census, Count, Taking, askable, roughly
from client.connection import proxy_of, trouble
from client.promises import heldout_share, shown
from client.site import Site
from client.sources.source import Attrition
from client.statement import account
from client.withdrawn import withdrawn
from embeddings.store_file import size
from privacy.errors import SiteError
from privacy.keys import read_key
from privacy.spec import Spec
from tasks.study import Study
from tasks.task import Task

State = Literal["ok", "warning", "wrong"]
Progress = Callable[[int], None]

GB = 1e9
LITTLE_ROOM = 5 * GB
FAR_OFF = 0.25
"""Share by which the declared number may lie beside the true one before it is worth a word."""
LARGE_EPSILON = 10.0


class Finding(Spec):
    """One thing that was looked at.

    Attributes:
        what: Its name.
        state: `ok`, `warning`: it works, but should be known; `wrong`: a study would fail.
        said: What was found, in a sentence.
    """

    what: str
    state: State
    said: str


@dataclass(frozen=True, slots=True)
class _Look:
    site: Site
    study: Study | None
    progress: Progress


def check(
    site: Site, *, study: Study | None = None, progress: Progress = lambda _: None
) -> Iterator[Finding]:
    """Looks at everything that a study needs; each finding as it is made.

    Args:
        site: As it stands in site.toml.
        study: Is also held against the policy, and its encoder looked for.
        progress: Gets the number of patients read so far.
    """
    look = _Look(site, study, progress)
    for what, find in (
        ("keys", _keys),
        ("source", _source),
        ("device", _device),
        ("encoder", _encoder),
        ("disk", _disk),
        ("ledger", _ledger),
        ("audit log", _log),
        ("policy", _policy),
        ("noise", _noise),
        ("coordinator", _coordinator),
    ):
        try:
            for state, said in find(look):
                yield Finding(what=what, state=state, said=said)
        except (SiteError, OSError, ValueError) as error:
            yield Finding(what=what, state="wrong", said=str(error))
        except Exception as error:  # noqa: BLE001 - its text may hold a patient's words
            said = f"a mistake of the program itself ({type(error).__name__}); report it"
            yield Finding(what=what, state="wrong", said=said)


Found = Iterator[tuple[State, str]]


def _keys(look: _Look) -> Found:
    site = look.site
    secret, store_key = site.at(site.secret), site.at(site.store_key)
    if not secret.exists():
        yield "wrong", f"{secret} is missing; restore it from a backup: another would move patients"
        return
    site.key("split")
    if store_key.exists():
        read_key(store_key)
    elif site.at(site.vectors).exists():
        yield "wrong", f"{store_key} is missing; restore it, or purge --everything and embed again"
        return
    yield "ok", f"{site.secret} and {site.store_key} are for their owner alone"


def _source(look: _Look) -> Found:
    site, attrition = look.site, Attrition()
    if not site.at(site.secret).exists():
        yield "warning", "not read: without its key nobody knows who is trained on"
        return
    secret, gone = site.key("split"), withdrawn(site)
    total = training = 0
    taking, root = Taking(_tasks(look.study)), site.at(site.data)
    patients = site.source.patients(root=root, attrition=attrition)
    for patient in taking.through(patients):
        total += 1
        training += site.split.part(patient, secret=secret, root=root) == "train"
        look.progress(total)
    if not total:
        yield "wrong", "not one patient in it; look at [source] in site.toml"
        return
    yield "ok", f"split: {site.split.said(root)}"
    without = f", {len(gone):,} of any source withdrawn" if gone else ""
    census = taking.done(attrition, floor=site.policy.smallest_count)
    about = _said(roughly(training, census.floor))
    yield "ok", f"{_said(census.patients)} patients, about {about} to train on{without}"
    yield from _counts(census)
    declared = site.declared_patients
    if abs(declared - training) > FAR_OFF * max(training, 1):
        yield (
            "warning",
            (
                f"declared_patients is {declared:,}, far from the {about} to train on: "
                "too low, and steps and their noise grow; too high, and less is learned. It is "
                "public: change it by hand, rounded"
            ),
        )


def _tasks(study: Study | None) -> dict[str, Task]:
    asked = {} if study is None else {f"{study.task.kind} of {study.name}": study.task}
    return asked | {kind: task for kind, task in askable().items() if kind not in asked}


def _said(count: Count) -> str:
    return "few" if count is None else f"{count:,}"


def _counts(census: Census) -> Found:
    def listed(counts: dict[str, Count]) -> str:
        return ", ".join(f"{_said(count)} {name}" for name, count in counts.items()) or "none"

    begun = "" if census.years is None else f", begun {census.years[0]} to {census.years[1]}"
    yield "ok", f"{_said(census.stays)} stays{begun}"
    yield "ok", f"notes by kind: {listed(census.notes)}"
    yield "ok", f"codes by system: {listed(census.codes)}"
    for rule, count in census.left_out.items():
        where = f", first at {census.first[rule]}" if rule in census.first else ""
        kept = "" if "(kept)" in rule else "left out: "
        yield "warning", f"{kept}{_said(count)} {rule}{where}"
    for task in census.tasks:
        yield "ok", f"for {task.kind}: {listed(task.counts)}"
    if census.floor > 1:
        yield "ok", f"few: fewer than {census.floor}, or hidden so that no other can be computed"


def _device(look: _Look) -> Found:
    import torch

    wanted = look.site.encoders.device
    if torch.cuda.is_available():
        yield "ok", f"{torch.cuda.get_device_name(0)} embeds, the CPU trains"
    elif wanted not in {"auto", "cpu"}:
        yield "wrong", f"encoders.device is {wanted}, and torch finds no such device here"
    else:
        yield "ok", f"no GPU: the CPU embeds, which takes far longer; {_threads(look.site)}"


def _threads(site: Site) -> str:
    return f"training takes {site.threads} thread{'s' if site.threads > 1 else ''}"


def _encoder(look: _Look) -> Found:
    site = look.site
    for name, path in site.encoders.paths.items():
        if not site.at(path).is_dir():
            yield "wrong", f"encoders.paths: {name} is not at {site.at(path)}"
    if look.study is not None:
        fingerprint = look.study.encoder.fingerprint(site.settings())
        yield "ok", f"the study's encoder is here, fingerprint {fingerprint[:16]}"
    else:
        named = ", ".join(site.encoders.paths) or "those that are installed"
        yield "ok", f"models here: {named}; --study FILE looks for a study's own"
    if site.encoders.hub:
        yield "warning", "hub = true: a study makes this site download from the Hugging Face hub"


def _disk(look: _Look) -> Found:
    site = look.site
    free, used = shutil.disk_usage(site.folder).free, size(site.at(site.vectors))
    quota = "no quota" if site.quota_gb is None else f"quota {site.quota_gb:g} GB"
    state: State = "warning" if free < LITTLE_ROOM else "ok"
    yield state, f"{free / GB:,.0f} GB free; embeddings take {used / GB:.2g} GB, {quota}"
    if site.quota_gb is not None and used > 0.9 * site.quota_gb * GB:
        yield "warning", "embeddings fill more than nine tenths of quota_gb; raise it or purge"


def _ledger(look: _Look) -> Found:
    found = account(look.site)
    yield (
        "ok",
        (
            f"{len(look.site.open_ledger().entries()):,} entries, the chain holds; epsilon "
            f"{shown(found.spent)} spent, of {shown(found.lifetime, none='no ceiling')}"
        ),
    )
    for warning in found.warnings:
        yield "warning", warning


def _log(look: _Look) -> Found:
    yield "ok", f"{len(look.site.open_log().lines()):,} lines, the chain holds"


def _policy(look: _Look) -> Found:
    site, policy = look.site, look.site.policy
    if look.study is not None:
        broken = list(policy.broken(look.study, declared_patients=site.declared_patients))
        for rule in broken:
            yield "wrong", f"{look.study.name}: {rule}"
        if not broken:
            yield "ok", f"{look.study.name} keeps every rule"
    if policy.metrics == "exact":
        yield (
            "warning",
            (
                'metrics = "exact": whoever controls the coordinator can compute note vectors of '
                f'tune and held-out patients ({heldout_share(site)}); "noised" and "withheld" '
                "prevent it"
            ),
        )
    if "off" in policy.mechanisms:
        yield "warning", 'mechanisms has "off": studies without any privacy may run here'
    if policy.studies == "any":
        yield "warning", 'studies = "any": studies run that nobody here has looked at'
    if math.isinf(policy.lifetime.epsilon) or policy.lifetime.epsilon > LARGE_EPSILON:
        size = "has no end" if math.isinf(policy.lifetime.epsilon) else "is large"
        yield "warning", f"lifetime.epsilon {size}: the claim to a patient would say little"
    if look.study is None:
        yield "ok", "site.toml is understood; --study FILE holds a study against it"


def _noise(look: _Look) -> Found:
    if look.site.test_seed is not None:
        yield (
            "wrong",
            (
                "test_seed IS SET: whoever knows it can take all noise off. A node refuses to run "
                "with it; take it out of site.toml"
            ),
        )
    else:
        yield "ok", "from the operating system's generator, a key for each charge"


def _coordinator(look: _Look) -> Found:
    coordinator = look.site.coordinator
    reason = trouble(look.site)
    if coordinator is None or reason:
        yield "wrong", reason
        return
    proxy = proxy_of(coordinator.superlink)
    by = f" by the proxy {proxy}" if proxy else ""
    yield "ok", f"{coordinator.superlink} answers over TLS{by}, its clock and ours agree"
