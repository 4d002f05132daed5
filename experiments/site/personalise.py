"""What `fedward site personalise` finds, and how it is shown.

Its scores are counted without noise on the site's own patients: they are for the people who
decide there which head to use, and small groups of patients are hidden all the same.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from client import personalise
from client.census import Count, hidden
from client.local import on_threads
from client.personal import Kind, Personal
from client.personalise import Made
from client.site import Site
from experiments.baselines import scored
from privacy.spec import Spec
from tasks.metrics import Metrics

SHOWN = {"micro_f1": "micro-F1", "macro_f1": "macro-F1", "map": "MAP", "auroc": "AUROC"}


class HeadScores(Spec):
    """How well a head does at this site.

    Attributes:
        kind: How it was made.
        pull: Of `mean-regularised`, the weight of the pull; None where no pull was preferred.
        threshold: At which tune patients prefer it, and it is scored; a logit.
        tune_f1: Micro-F1 on the tune patients, who choose; None where they are too few to show.
        scores: On the held-out patients; None where they are too few to show.
        intervals: 95% intervals over held-out patients.
    """

    kind: Kind
    pull: float | None
    threshold: float | None
    tune_f1: float | None
    scores: Metrics | None
    intervals: dict[str, tuple[float, float]]


class Personalised(Spec):
    """What came of making a head of the site's own.

    Attributes:
        site: Whose.
        study: The study's name.
        digest: Of the study.
        preferred: The head that the tune patients prefer.
        kept: Its file; None where it is the federation's.
        removed: Whether a head that was kept before is gone.
        heldout: Held-out patients; None where they are too few to show.
        heads: The federation's, then those of the site's own.
    """

    site: str
    study: str
    digest: str
    preferred: Kind
    kept: str | None
    removed: bool
    heldout: Count
    heads: tuple[HeadScores, ...]


def made(site: Site, digest: str, weights: Path | None, console: Console) -> Made:
    """`client.personalise.personalise` with a bar on the screen."""
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return personalise.personalise(site, digest, weights=weights, progress=progress)


def personalised(site: Site, made: Made, console: Console) -> Personalised:
    """What was made, with scores on the site's held-out patients; small groups are hidden."""
    with on_threads(site.threads), console.status("scoring on held-out patients"):
        heads = tuple(_scores(site, made, head) for head in made.heads)
    return Personalised(
        site=site.name,
        study=made.study.name,
        digest=made.digest,
        preferred=made.preferred.kind,
        kept=None if made.kept is None else str(made.kept),
        removed=made.removed,
        heldout=hidden(len(made.bags.heldout), site.policy.smallest_count),
        heads=heads,
    )


def _scores(site: Site, made: Made, head: Personal) -> HeadScores:
    floor, bags = max(site.policy.smallest_count, 1), made.bags
    shown = None
    if len(bags.heldout) >= floor:
        shown = scored(made.study, {site.name: bags}, head.head, threshold=head.threshold)
    return HeadScores(
        kind=head.kind,
        pull=head.pull,
        threshold=head.threshold,
        tune_f1=head.tune_f1 if len(bags.tune) >= floor else None,
        scores=None if shown is None else shown.whole,
        intervals={} if shown is None else shown.intervals,
    )


def show(found: Personalised, console: Console, *, where: Path) -> None:
    """Prints a table of the heads, and which is kept.

    Args:
        found: To show.
        console: Where.
        where: The site's folder of heads.
    """
    title = f"{found.site}: study {found.study} {found.digest[:12]}"
    names = ("tune micro-F1", *SHOWN.values())
    table = Table("head", *names, title=title, title_justify="left")
    for head in found.heads:
        pull = "" if head.pull is None else f", pull {head.pull:g}"
        cells = [_cell(head, name) for name in SHOWN]
        tune = "few" if head.tune_f1 is None else f"{head.tune_f1:.3f}"
        table.add_row(f"{head.kind}{pull}", tune, *cells)
    console.print(table)
    scored_on = (
        f"Scored on {_heldout(found.heldout)} of this site, with 95% intervals over patients. "
        "Scores and heads are made without noise: they must not leave the site."
    )
    for line in (_kept(found, where), scored_on):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _kept(found: Personalised, where: Path) -> str:
    if found.kept is not None:
        return f"tune patients prefer the {found.preferred} head; kept in {found.kept}"
    gone = "; the one kept before was removed" if found.removed else ""
    return f"tune patients prefer no other head to the federation's: none is kept in {where}{gone}"


def _heldout(number: Count) -> str:
    return "few held-out patients" if number is None else f"{number:,} held-out patients"


def _cell(head: HeadScores, name: str) -> str:
    if head.scores is None:
        return "few"
    value = getattr(head.scores, name)
    if value is None:
        return "-"
    between = head.intervals.get(name)
    return f"{value:.3f}" + (f" [{between[0]:.3f}, {between[1]:.3f}]" if between else "")
