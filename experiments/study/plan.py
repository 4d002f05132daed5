"""A study's privacy, before any data is touched: noise and epsilon by round."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from privacy import accounting
from server.journal import finite
from tasks.study import Study


def plan_of(study: Study, *, waits: bool = False) -> dict[str, Any]:
    """What each site spends in each round, as JSON values; epsilon None where privacy is off.

    Args:
        study: What is planned.
        waits: Whether its names are drawn when it is simulated (`client.drawn`): it then has no
            digest yet. What it costs does not depend on them.
    """
    promise = study.privacy.promise
    spends = study.spends()
    delta = promise.delta if promise else 1e-5
    return {
        "study": study.name,
        "digest": None if waits else study.digest,
        "mechanism": study.privacy.kind,
        "delta": promise.delta if promise else None,
        "noise_multiplier": spends[0].noise_multiplier,
        "sample_rate": study.sample_rate,
        "steps": study.steps,
        "rounds": [
            {
                "number": number,
                "epsilon": finite(accounting.epsilon(spends[:number], delta=delta)),
            }
            for number in range(1, study.rounds + 1)
        ],
    }


def plan_table(plan: dict[str, Any]) -> Table:
    """The plan for people."""
    table = Table(
        title=f"{plan['study']}: {plan['mechanism']}, noise multiplier "
        f"{plan['noise_multiplier']:.3f}, {plan['steps']} steps a round at rate "
        f"{plan['sample_rate']:g}; the same at every site"
    )
    table.add_column("after round", justify="right")
    table.add_column("epsilon" + (f" at delta {plan['delta']:g}" if plan["delta"] else ""))
    for row in plan["rounds"]:
        epsilon = row["epsilon"]
        table.add_row(str(row["number"]), "no bound" if epsilon is None else f"{epsilon:.3f}")
    if plan["digest"] is None:
        table.caption = "the same whichever names are drawn; the digest comes with them"
    return table
