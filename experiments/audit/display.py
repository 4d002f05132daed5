"""What an audit looks like in a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from experiments.audit.inversion import Inversion
from experiments.audit.run import Audited, AuditResult, Plan, declared


class Bars:
    """One bar for each thing that takes time."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,} of {task.total:,}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, what: str, done: int, total: int) -> None:
        """Moves a bar; `total` is 0 where it is not known."""
        if what not in self._tasks:
            self._progress.start()
            self._tasks[what] = self._progress.add_task(what)
        self._progress.update(self._tasks[what], completed=done, total=max(total, done))

    def close(self) -> None:
        """Takes the bars off the screen; also after an error."""
        self._progress.stop()


def audit_table(this: Audited, plan: Plan, result: AuditResult) -> Table:
    """The result for people, with the verdict below."""
    ledger, own = result.ledger_epsilon, this.site.declared_patients
    expected = declared(this.site, plan) - own
    table = Table(
        title=f"audit of {this.study.name} at {this.site.name}",
        caption=verdict(result),
        caption_style="bold red" if result.broken else "bold",
        box=box.SIMPLE_HEAD,
        show_header=False,
    )
    table.add_column("what")
    table.add_column("value", justify="right")
    for what, value in (
        ("lower bound on epsilon", f"{result.lower_bound:.3f}"),
        ("ledger epsilon", "infinite" if ledger is None else f"{ledger:.3f}"),
        ("delta", f"{result.delta:g}"),
        ("canaries", f"{result.canaries:,}"),
        ("guesses", f"{result.guesses:,}"),
        ("correct", f"{result.correct:,}"),
        ("confidence", f"{result.confidence:g}"),
        ("most that could be certified", f"{result.most:.3f}"),
        ("sites", f"{this.site.name} (one, alone)"),
        ("training patients", f"{len(this.bags.train):,} and the canaries that are in"),
        ("declared patients", f"{own + expected:,}: {own:,} and {expected:,} expected canaries"),
    ):
        table.add_row(what, value)
    return table


def verdict(result: AuditResult) -> str:
    """One sentence."""
    if result.ledger_epsilon is None:
        return (
            "consistent: the ledger's epsilon is infinite, nothing is promised that could be "
            "broken; the audit only informs"
        )
    if result.broken:
        return (
            f"BROKEN: at least epsilon {result.lower_bound:.3f} leaked, "
            f"the ledger says {result.ledger_epsilon:.3f}"
        )
    return "consistent: these guesses do not refute what the ledger says"


def limits(result: AuditResult) -> str:
    """What the audit can show and what it cannot."""
    said = (
        "An audit finds gross mistakes and proves nothing small: a low bound may only mean a weak "
        f"attack. With {result.canaries:,} canaries and {result.guesses:,} guesses it can certify "
        f"epsilon {result.most:.2f} at most."
    )
    ledger = result.ledger_epsilon
    if ledger is not None and ledger >= result.most:
        said += " That is no more than the ledger's: this audit could not have called it broken."
    return said


def inversion_table(inversion: Inversion) -> Table:
    """Shares and cosines of a gradient inversion."""
    table = Table(
        title=f"gradient inversion, {inversion.head} head, one patient a step",
        caption=f"chance {inversion.chance:.2%}: one of {inversion.notes:,} notes",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("privacy")
    table.add_column("notes found", justify="right")
    table.add_column("median cosine", justify="right")
    for name, found in (("off", inversion.off), ("on", inversion.on)):
        if found is not None:
            middle = sorted(found.cosines.tolist())[len(found.cosines) // 2]
            table.add_row(name, f"{found.share:.1%}", f"{middle:.3f}")
    return table
