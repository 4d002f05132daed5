"""What tallying costs: seconds of one CPU, memory and bytes by the number of outputs.

Run with `python benchmarks/tally_cost.py [OUTPUTS ...]`. Scores are drawn, not predicted; each
number of outputs is counted in a process of its own, so that the peak of memory is its own.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np

from tasks import tallies
from tasks.metrics import best_threshold, metrics
from tasks.per_output import own_edges
from tasks.plausible import implausible
from tasks.rollup import rollups

STAYS = 2000
TRUE = 12


def measure(outputs: int) -> str:
    """A line of the table."""
    numbers = np.random.default_rng(0)
    logits = numbers.normal(-4, 2, (STAYS, outputs)).astype(np.float32)
    truth = numbers.random((STAYS, outputs)) < min(0.3, TRUE / outputs)
    names = {
        "half": [str(n // 2) for n in range(outputs)],
        "tenth": [f"{n // 10}" for n in range(outputs)],
    }
    levels = [(of, np.ones(len(of.groups), np.bool_)) for of in rollups(names)]
    began = time.process_time()
    found = tallies.by_name(
        [
            *tallies.tune_tallies(logits, truth, patients=STAYS),
            *tallies.heldout_tallies(logits, truth, patients=STAYS, levels=levels),
        ]
    )
    counted = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    wrong = implausible(found)
    threshold = best_threshold(found)
    own = own_edges(found, otherwise=threshold or 0.0)
    said = metrics(found, threshold=threshold, own=own)
    read = time.process_time() - began
    size = sum(tally.sums.nbytes for tally in found.values())
    return wrong or (
        f"{outputs:>7,} {counted:>10.2f} {peak / 1024:>10.0f} {size / 1e6:>9.1f} {read:>9.2f} "
        f"{said.auroc_macro_bound or 0:>10.5f} {said.auprc_macro_bound or 0:>10.5f}"
    )


def main() -> None:
    """Prints the table."""
    wanted = sys.argv[1:] or ["1", "31", "393", "2000", "8000"]
    if len(wanted) == 1:
        print(measure(int(wanted[0])))
        return
    print(f"{STAYS:,} stays, {TRUE} true outputs each, two coarser levels")
    print(
        f"{'outputs':>7} {'count, s':>10} {'peak, MiB':>10} {'sent, MB':>9} {'read, s':>9} ", end=""
    )
    print(f"{'AUROC +-':>10} {'AUPRC +-':>10}")
    for number in wanted:
        subprocess.run([sys.executable, __file__, number], check=True)


if __name__ == "__main__":
    main()
