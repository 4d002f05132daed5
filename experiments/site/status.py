"""A site's status: everything that its operator wants to know first. It stays at the site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from client import approval
from client.promises import shown as epsilon
from client.site import Site
from experiments.site.look import (
    CA_ENDS_SOON,
    GB,
    LedgerLook,
    LogLook,
    Spent,
    StoreLook,
    ailments,
    ca_ends,
    free_bytes,
    look_at_epsilon,
    look_at_ledger,
    look_at_log,
    look_at_store,
)
from experiments.site.pages import epsilon_left
from experiments.site.rounds import Figures, Rounds
from experiments.site.state import ChildState, Daemon, node_ailment, running
from privacy.entries import Cohort
from privacy.errors import SiteError
from privacy.spec import Spec, printable

DAY = timedelta(days=1)
NEARLY_FULL = 0.9


class StudyLook(Spec):
    """The study that was let in last.

    Attributes:
        name: Empty where its file is not at the site.
        digest: Its digest.
        round: Asked for last; 0 where it was only introduced.
        rounds: Of the study; None where its file is not at the site.
    """

    name: str
    digest: str
    round: int
    rounds: int | None


class Status(Spec):
    """A site at one moment.

    Attributes:
        site: Its name.
        at: When it was looked at, UTC.
        coordinator: HOST:PORT; None where site.toml has none.
        daemon: That runs; None where none does.
        study: That was let in last; None where none ever was.
        last_request: When the last request came.
        last_release: When the last release left.
        rounds_trained: Since the audit log began.
        ledger: The ledger, and studies that await a decision.
        epsilon: What was spent and is left, by cohort; empty where the ledger is broken.
        audit_log: The audit log.
        refusals: Of the last 24 hours, by class of error.
        store: The embedding store, true numbers.
        disk_free: Bytes.
        ca_ends: When the coordinator's CA ends.
        wrong: What is wrong, a sentence each.
        notes: What should be known, a sentence each.
    """

    site: str
    at: datetime
    coordinator: str | None
    daemon: Daemon | None
    study: StudyLook | None
    last_request: datetime | None
    last_release: datetime | None
    rounds_trained: int
    ledger: LedgerLook
    epsilon: Mapping[Cohort, Spent]
    audit_log: LogLook
    refusals: Mapping[str, int]
    store: StoreLook
    disk_free: int
    ca_ends: datetime | None
    wrong: tuple[str, ...]
    notes: tuple[str, ...]


def status_of(site: Site) -> Status:
    """Looks at a site; takes seconds where the accountants have to be asked."""
    now, rounds = datetime.now(UTC), Rounds(site.at(site.audit_log))
    rounds.follow()
    figures, ledger, log = rounds.figures, look_at_ledger(site), look_at_log(site)
    store, free, ca = look_at_store(site), free_bytes(site), ca_ends(site)
    daemon, trouble = _daemon(site)
    wrong = [*trouble, *ailments(ledger=ledger, log=log, free=free, ca=ca)]
    return Status(
        site=site.name,
        at=now,
        coordinator=None if site.coordinator is None else site.coordinator.superlink,
        daemon=daemon,
        study=_study(site, figures),
        last_request=figures.request,
        last_release=figures.release,
        rounds_trained=figures.trained,
        ledger=ledger,
        epsilon=look_at_epsilon(site),
        audit_log=log,
        refusals=figures.refused_since(now - DAY),
        store=store,
        disk_free=free,
        ca_ends=ca,
        wrong=tuple(wrong),
        notes=tuple(_notes(store, ca, now)),
    )


def _daemon(site: Site) -> tuple[Daemon | None, list[str]]:
    """The daemon, and what is wrong with it."""
    if site.coordinator is None:
        return None, ["site.toml has no table [coordinator]; fedward site init writes one"]
    try:
        daemon = running(site.folder)
    except (OSError, ValueError) as error:
        return None, [f"the daemon's state cannot be read: {error}"]
    if daemon is None:
        return None, ["the daemon does not run; start it: fedward site run"]
    wrong = node_ailment(daemon.children.get("node"))
    for name, child in daemon.children.items():
        if name != "node" and child.state == "waiting":
            wrong.append(f"{name} does not run: {child.why}")
    return daemon, wrong


def _study(site: Site, figures: Figures) -> StudyLook | None:
    digest = figures.study
    if digest is None:
        return None
    try:
        study = approval.find(site, digest)
    except (SiteError, OSError, ValueError):
        return StudyLook(name="", digest=digest, round=figures.round, rounds=None)
    return StudyLook(name=study.name, digest=digest, round=figures.round, rounds=study.rounds)


def _notes(store: StoreLook, ca: datetime | None, now: datetime) -> Iterator[str]:
    if store.quota is not None and store.bytes > NEARLY_FULL * store.quota:
        yield "embeddings fill more than nine tenths of quota_gb; raise it or purge"
    if ca is not None and timedelta() < ca - now < CA_ENDS_SOON:
        yield f"the coordinator's CA ends on {ca:%Y-%m-%d}; ask for the new ca.crt"


def print_status(status: Status) -> None:
    """The status as a table, and what is wrong."""
    console = Console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(status):
        table.add_row(name, Text(value))
    console.print(table)
    for note in status.notes:
        console.print(Text(f"note: {printable(note, 1000)}", style="yellow"), soft_wrap=True)
    for reason in status.wrong:
        console.print(Text(f"WRONG: {printable(reason, 1000)}", style="bold red"), soft_wrap=True)
    if not status.wrong:
        console.print("nothing is wrong", style="green")


def _rows(status: Status) -> Iterator[tuple[str, str]]:
    now, daemon = status.at, status.daemon
    yield "Site", status.site
    yield "Coordinator", status.coordinator or "none"
    if daemon is None:
        yield "Daemon", "does not run"
    else:
        where = "" if daemon.monitor is None else f"; monitored at 127.0.0.1:{daemon.monitor}"
        said = f"process {daemon.process}, runs since {_time(daemon.since, now)}"
        yield "Daemon", f"{said}{where}"
        for name, child in daemon.children.items():
            yield f"  {name}", _child(child, now)
    yield "Study", _said_of(status.study)
    yield "Last request", _time(status.last_request, now)
    yield "Last release", _time(status.last_release, now)
    yield "Rounds trained", f"{status.rounds_trained:,}"
    yield from _epsilons(status.epsilon)
    yield "Ledger", _intact(status.ledger, status.ledger.entries, "entry", "entries")
    yield "Audit log", _intact(status.audit_log, status.audit_log.lines, "line", "lines")
    refused = ", ".join(f"{number:,} {kind}" for kind, number in sorted(status.refusals.items()))
    yield "Refused in 24 h", refused or "nothing"
    waiting = [f"{name} {digest[:12]}" for name, digest in status.ledger.waiting]
    yield "Await approval", ", ".join(waiting) or "none"
    yield "Embeddings", _store(status.store)
    yield "Disk", f"{status.disk_free / GB:,.0f} GB free"
    if status.ca_ends is not None:
        yield "CA ends", f"{status.ca_ends:%Y-%m-%d}, in {(status.ca_ends - now).days:,} days"


def _child(child: ChildState, now: datetime) -> str:
    why = f": {printable(child.why, 400)}" if child.why else ""
    process = "" if child.process is None else f", process {child.process}"
    again = f", started {child.starts} times" if child.restarts else ""
    return f"{child.state} since {_time(child.since, now)}{process}{again}{why}"


def _said_of(study: StudyLook | None) -> str:
    if study is None:
        return "none was ever let in"
    of = "" if study.rounds is None else f" of {study.rounds}"
    done = f"round {study.round}{of}" if study.round else "introduced, no round yet"
    return f"{study.name} {study.digest[:12]}, {done}".strip()


def _epsilons(epsilons: Mapping[Cohort, Spent]) -> Iterator[tuple[str, str]]:
    for cohort, found in epsilons.items():
        ceiling = epsilon(found.lifetime, none="no ceiling")
        left = "" if found.lifetime is None else f"; {epsilon_left(found.left)} left"
        spent = f"{epsilon(found.spent)} spent of {ceiling}{left} (delta {found.delta:g})"
        yield f"Epsilon, {'training' if cohort == 'train' else 'held-out'}", spent


def _intact(look: LedgerLook | LogLook, number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}, intact" if look.intact else "BROKEN"


def _store(store: StoreLook) -> str:
    texts = "a number of" if store.texts is None else f"{store.texts:,}"
    quota = "no quota" if store.quota is None else f"quota {store.quota / GB:g} GB"
    return f"{texts} texts, {store.bytes / GB:.2g} GB, {quota}"


def _time(at: datetime | None, now: datetime) -> str:
    """A time, UTC, and how long ago that was."""
    if at is None:
        return "never"
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{at:%Y-%m-%d %H:%M} UTC, {seconds // size} {unit} ago"
    return f"{at:%Y-%m-%d %H:%M} UTC, {seconds} s ago"
