"""What a diagnosis looks like in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from experiments.diagnose.run import Diagnosis
from experiments.simulate.display import plain_table


def tables(found: Diagnosis) -> Iterator[Table]:
    """A table of sites, of probes, of pairs of sites, and of encoders where there are others."""
    yield _sites(found)
    if found.probes:
        yield _probes(found)
    if found.pairs:
        yield _pairs(found)
    if found.encoders:
        yield _encoders(found)


def _table(title: str, *columns: str, names: int = 1) -> Table:
    table = plain_table(title)
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < names else "right")
    return table


def _sites(found: Diagnosis) -> Table:
    table = _table(
        f"{found.study}: vectors of {found.encoder}",
        "site", "declared", "top 1", "top 10", "eff. rank", "mean cos.", "far out",
    )  # fmt: skip
    table.caption = (
        "top: share of variance in so many components; far out: patients, along the first ten"
    )
    for site in found.sites:
        made = site.components
        values = ["-"] * 5
        if made is not None:
            out = f"<{site.smallest_count}" if made.outliers is None else f"{made.outliers:,}"
            values = [_share(made.shares[1]), _share(made.shares[10]),
                      f"{made.effective_rank:.1f}", _share(made.mean_cosine), out]  # fmt: skip
        table.add_row(site.name, f"{site.declared_patients:,}", *values)
    return table


def _probes(found: Diagnosis) -> Table:
    names = list(dict.fromkeys(score.scored for score in found.probes))
    table = _table("probe: AUROC (AUPRC)", "fitted at", *names)
    table.caption = "columns: where it is scored, on held-out stays; AUPRC's chance in the last row"
    scores = {(score.fitted, score.scored): score for score in found.probes}
    for fitted in dict.fromkeys(score.fitted for score in found.probes):
        cells = [scores.get((fitted, name)) for name in names]
        table.add_row(
            fitted,
            *("-" if c is None else f"{_share(c.auroc)} ({_share(c.auprc)})" for c in cells),
        )
    chances = {score.scored: score.chance for score in found.probes}
    table.add_row("chance", *(f".500 ({_share(chances[name])})" for name in names))
    return table


def _pairs(found: Diagnosis) -> Table:
    table = _table("between sites", "one", "other", "shift", "covariance", "CKA", names=2)
    table.caption = (
        "shift: of means, in spreads; covariance: cosine; CKA: of the means of each output's stays"
    )
    for pair in found.pairs:
        table.add_row(
            pair.one, pair.other, *(_share(v) for v in (pair.shift, pair.covariance, pair.cka))
        )
    return table


def _encoders(found: Diagnosis) -> Table:
    table = _table(f"CKA with {found.encoder}, same stays", "site", "encoder", "CKA", names=2)
    for pair in found.encoders:
        table.add_row(pair.site, pair.other, _share(pair.cka))
    return table


def _share(value: float | None) -> str:
    if value is None:
        return "-"
    return ("-" if value < 0 else "") + f"{abs(value):.3f}".removeprefix("0")
