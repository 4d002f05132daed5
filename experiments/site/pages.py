"""What `fedward site` prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from client.approval import Page
from client.differences import Change, Near
from client.promises import odds
from client.promises import shown as epsilon
from client.purge import Proof
from client.statement import Account, said_of
from tasks.study import Study

MOST_LISTED = 60
"""So many outputs are listed on a page, one a line; --json has them all."""


def print_account(account: Account, *, where: Path) -> None:
    """The ledger as a table, and what is left."""
    console = Console()
    table = Table(title=f"{account.site}: ledger of {account.dataset}", title_justify="left")
    for name in ("entry", "when (UTC)", "patients", "study", "round", "noise", "rate", "steps"):
        table.add_column(name, justify="left" if name in {"patients", "study"} else "right")
    table.add_column("epsilon so far", justify="right")
    for line in account.lines:
        table.add_row(
            str(line.id),
            line.at[:16].replace("T", " "),
            "training" if line.cohort == "train" else "held out",
            f"{line.name} {line.study[:8]}" if line.name else line.study[:12],
            str(line.round),
            f"{line.noise_multiplier:.3g}" if line.noise_multiplier else "none",
            f"{line.sample_rate:g}",
            str(line.steps),
            epsilon(line.epsilon),
        )
    if account.lines:
        console.print(table)
    else:
        console.print(f"{account.site}: nothing was ever spent on {account.dataset}")
    lifetime = epsilon(account.lifetime, none="no ceiling")
    left = epsilon_left(account.left)
    console.print(
        f"Training patients: epsilon {epsilon(account.spent)} spent of {lifetime} at delta "
        f"{account.delta:g}; {left} left"
    )
    ceiling = "" if account.heldout_lifetime is None else f" of {epsilon(account.heldout_lifetime)}"
    console.print(
        f"Tune and held-out patients: epsilon {epsilon(account.heldout_spent)}{ceiling} at delta "
        f"{account.heldout_delta:g}"
    )
    entries = f"{account.entries} entr{'y' if account.entries == 1 else 'ies'}"
    for other in account.others:
        console.print(Text(f"Other dataset in this file: {said_of(other)}"), soft_wrap=True)
    console.print(f"{where}: {entries}, the hash chain holds", soft_wrap=True)
    for warning in account.warnings:
        console.print(Text(f"WARNING: {warning}.", style="bold red"), soft_wrap=True)


def epsilon_left(value: float | None) -> str:
    """What is left; rounded down, so that it never promises more than there is."""
    return "everything" if value is None else f"{int(value * 100) / 100:.2f}"


def print_waiting(studies: Sequence[Study], site: str) -> None:
    """Studies that await a decision."""
    console = Console()
    if not studies:
        console.print(f"no study awaits approval at {site}")
        return
    table = Table("study", "digest", "coordinator", "asks", title=f"Waiting at {site}")
    for study in studies:
        table.add_row(
            Text(study.name),
            study.digest[:16],
            Text(_plain(study.about.coordinator) or "not said"),
            Text(_plain(study.task.summary)),
        )
    console.print(table)
    console.print("fedward site approve DIGEST shows one and asks")


def print_page(page: Page) -> None:
    """A study as somebody reads it who has to answer for the patients; warnings come last."""
    console = Console()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(page):
        table.add_row(name, Text(value))
    console.print(table)
    _print_changes(console, page)
    for warning in [*page.dangers, *(_near(near, page) for near in page.near)]:
        console.print(Text(f"WARNING: {warning}.", style="bold red"))
    if page.not_compared:
        console.print(
            f"WARNING: {_many(page.not_compared, 'study', 'studies')} ran or had approval here "
            "without a file here: nobody can tell whether this one asks almost the same.",
            style="bold red",
        )


def _rows(page: Page) -> list[tuple[str, str]]:
    private = page.epsilon_study is not None
    noise = f", noise multiplier {page.noise_multiplier:.3g}" if private else ": NONE"
    one, all_ = epsilon(page.epsilon_a_round), epsilon(page.epsilon_study)
    before, after = epsilon(page.epsilon_before), epsilon(page.epsilon_after)
    lifetime = epsilon(page.epsilon_lifetime, none="no ceiling")
    spent = f"{before} spent before, {after} after, of {lifetime}; {_left_after(page)} left"
    cost = f"{one} for one round alone, {all_} for all {page.rounds} (delta {page.delta:g})"
    if page.spare_rounds:
        cost += (
            f"; at most {epsilon(page.epsilon_most)}, if {page.spare_rounds} more are charged "
            "because as many were broken off"
        )
    return [
        ("Study", page.study),
        ("Digest", page.digest),
        ("Who asks", _claimed(page.coordinator)),
        ("Contact", _claimed(page.contact)),
        ("Purpose", _claimed(page.purpose)),
        ("Predicts", _plain(page.asks)),
        ("All of them", _outputs(page)),
        ("Reads", _plain(page.reads)),
        ("Encoder", f"{_plain(page.encoder)}, on this site's own machine"),
        ("Starts from", page.starts),
        ("Leaves each round", "\n".join(page.leaves)),
        ("Never leaves", "\n".join(page.never_leaves)),
        ("How much", f"{_bytes(page.bytes_a_round)} a round, {_bytes(page.bytes_total)} in all"),
        ("Privacy", f"{page.mechanism}{noise}"),
        ("Epsilon, training", cost),
        ("Ledger, training", spent),
        *_heldout_rows(page),
        ("In words", f"training patients: {_in_words(page)}"),
        ("", f"tune and held-out patients: {page.heldout.in_words}"),
        ("Policy", "\n".join(page.broken) if page.broken else "keeps every rule of site.toml"),
    ]


def _outputs(page: Page) -> str:
    """Every output with its title, one a line, or where to find them."""
    if len(page.outputs) > MOST_LISTED:
        return (
            f"{len(page.outputs):,}, too many for here; fedward site approve {page.digest[:12]} "
            "--json FILE writes them all, with titles"
        )
    return "\n".join(_titled(name, page) for name in page.outputs)


def _titled(name: str, page: Page) -> str:
    title = page.titles.get(name, "")
    return _plain(f"{name} {title}" if title not in {"", name} else name)


def _heldout_rows(page: Page) -> list[tuple[str, str]]:
    cost = page.heldout
    before, after = epsilon(cost.epsilon_before), epsilon(cost.epsilon_after)
    if cost.metrics == "withheld":
        return [("Epsilon, held-out", "0: nothing of tune and held-out patients leaves")]
    if cost.metrics == "exact":
        return [("Epsilon, held-out", f"infinite: exact counts leave ({before} spent before)")]
    lifetime = epsilon(cost.epsilon_lifetime, none="no ceiling")
    one, all_ = epsilon(cost.epsilon_a_release), epsilon(cost.epsilon_study)
    price = (
        f"{one} for one release alone, at most {all_} for {cost.releases}, which is as many as "
        f"may be asked for (delta {cost.delta:g})"
    )
    spent = (
        f"{before} spent before, {after} after, of {lifetime}; {epsilon_left(cost.left)} left; "
        "nothing leaves when nothing is left"
    )
    return [("Epsilon, held-out", price), ("Ledger, held-out", spent)]


def _near(near: Near, page: Page) -> str:
    """Differencing, said of one study."""
    apart = [
        *(f"+ {_titled(name, page)}" for name in near.put_in),
        *(f"- {_titled(name, page)}" for name in near.taken_out),
        *(f"another {_plain(key)}" for key in near.keys),
    ]
    protected = page.heldout.metrics != "exact" and page.epsilon_study is not None
    return (
        f"differencing: {near.study} ({near.digest[:12]}), which ran or was approved here, asks "
        f"almost the same ({', '.join(apart)}); what the two differ in is about few patients, and "
        + (
            "only the noise protects these, as far as the epsilons above say"
            if protected
            else "can be worked out from what leaves of both"
        )
    )


def _print_changes(console: Console, page: Page) -> None:
    if page.missing is not None:
        name, digest = page.missing
        text = f"the study approved last is missing here ({name} {digest[:12]}), so there is"
        console.print(
            Text(f"WARNING: {text} nothing to compare with.", style="bold red"), soft_wrap=True
        )
        return
    if page.compared is None:
        console.print("No study was approved before, so there is nothing to compare with.")
        return
    name, digest = page.compared
    if not page.changes:
        console.print(f"The same as {name} ({digest[:12]}), which was approved last.")
        return
    table = Table()
    for column in ("key", "approved before", "asked now"):
        table.add_column(column, overflow="fold")  # nothing that differs is cut
    for change in page.changes:
        before, now = _sides(change, page)
        table.add_row(Text(_plain(change.key)), Text(before, style="red"), Text(now, style="green"))
    console.print(Text(f"Different from {name} ({digest[:12]}), which was approved last:"))
    console.print(table)


def _sides(change: Change, page: Page) -> tuple[str, str]:
    """A change as it stands in the two columns; of a list what only one side has, whole."""
    if change.same is None:
        return _plain(change.before or "-"), _plain(change.now or "-")
    before = [f"- {_titled(item, page)}" for item in change.taken_out]
    now = [f"+ {_titled(item, page)}" for item in change.put_in]
    now.append(f"{change.same:,} the same{', in another order' if change.moved else ''}")
    return "\n".join(before), "\n".join(now)


def print_proof(proof: Proof) -> None:
    """What a purge removed, and what was looked for afterwards."""
    console = Console()
    who = f" {proof.study}" if proof.study else ""
    records = "all" if proof.records is None else f"{proof.records:,}"
    searched = (
        f"{proof.needles:,} byte strings in {len(proof.searched)} files: {proof.remaining} found "
        f"(before: {proof.found_before:,})"
    )
    console.print(f"purged from {proof.site}: {proof.what}{who}", soft_wrap=True)
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("Notes whose vectors went", records),
        ("Notes that others need", f"{proof.kept:,}"),
        ("Kept releases that went", f"{proof.releases:,}"),
        ("Heads of its own that went", f"{proof.heads:,}"),
        ("Approval taken back", "yes" if proof.revoked else "no"),
        ("Key of the store destroyed", "yes" if proof.key_destroyed else "no"),
        ("Bytes", f"{_bytes(proof.bytes_before)} before, {_bytes(proof.bytes_after)} after"),
        ("Searched afterwards", searched),
    ):
        table.add_row(name, value)
    console.print(table)
    console.print("Backups and snapshots are not covered; weights that have left stay as they are.")


def print_log(lines: Sequence[dict[str, Any]], *, last: int, where: Path) -> None:
    """The end of the audit log."""
    console = Console()
    shown = {"number", "at", "site", "event", "hash", "severity"}
    table = Table("line", "when (UTC)", "event", "what")
    for line in lines[-last:]:
        what = "  ".join(f"{key}={_log_value(v)}" for key, v in line.items() if key not in shown)
        table.add_row(
            str(line["number"]), line["at"][:19].replace("T", " "), line["event"], Text(what)
        )
    if lines:
        console.print(table)
    console.print(f"{where}: {_many(len(lines), 'line')}, the hash chain holds", soft_wrap=True)


def _many(count: int, what: str, several: str = "") -> str:
    return f"{count:,} {what if count == 1 else several or what + 's'}"


def _log_value(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text


def _in_words(page: Page) -> str:
    """What the epsilon after this study means, as odds: that is what epsilon bounds."""
    if page.epsilon_after is None:
        return "nothing limits what can be found out about one of them from what leaves"
    return (
        "whoever sees all that has ever left this site may bet better on whether somebody is one "
        f"of them, or has a code: odds change by a factor of {odds(page.epsilon_after)} at most"
    )


def _left_after(page: Page) -> str:
    if page.epsilon_lifetime is None:
        return "everything"
    after = page.epsilon_after
    return epsilon_left(0.0 if after is None else max(0.0, page.epsilon_lifetime - after))


def _claimed(text: str) -> str:
    return f"{_plain(text)}   (the study's own word)" if text else "the study does not say"


def _plain(text: str) -> str:
    """The text on one line, with what cannot be seen written out: a study wrote it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
