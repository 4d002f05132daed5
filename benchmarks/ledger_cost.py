"""What the ledger costs of a training round of the demo, as a share, in one run.

    python benchmarks/ledger_cost.py [STUDY] [--entries N]

Runs the study's simulation in this process and times every call into the ledger, the kept
releases and the audit log. A hospital answers each message in a new process, which knows nothing
of the one before: so the accountants' caches are emptied before every call. With `--entries`,
ledgers already hold that many spends of other studies.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from client import local
from experiments.simulate.run import simulate
from privacy import accounting
from privacy.audit_log import AuditLog
from privacy.budget import Budget, Spend
from privacy.ledger import Ledger
from privacy.releases import Releases

PARTS = {
    "ledger": (Ledger, ("__init__", "reserve", "afford", "holds", "settle", "entries")),
    "releases": (Releases, ("__init__", "get", "put", "memory")),
    "audit log": (AuditLog, ("write",)),
}


class Clock:
    """Seconds in the outermost calls into each part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.once = 0.0
        self.began = time.perf_counter()
        self._inside = False

    def watch_hello(self) -> None:
        """Starts from nothing after each site's first answer, which is no part of a round."""
        real = local.hello

        def timed(*args: Any, **options: Any) -> Any:
            self.seconds.clear()
            self.calls.clear()
            try:
                return real(*args, **options)
            finally:
                self.once += self.seconds["ledger"]
                self.seconds.clear()
                self.calls.clear()
                self.began = time.perf_counter()

        local.hello = timed

    def watch_opening(self, part: str, owner: type, name: str) -> None:
        """Times entering and leaving what a method gives, from here on."""
        real: Callable[..., AbstractContextManager[None]] = getattr(owner, name)

        @contextmanager
        def timed(*args: Any) -> Iterator[None]:
            opened = real(*args)
            began = time.perf_counter()
            opened.__enter__()
            self.seconds[part] += time.perf_counter() - began
            try:
                yield
            finally:
                began = time.perf_counter()
                opened.__exit__(None, None, None)
                self.seconds[part] += time.perf_counter() - began

        setattr(owner, name, timed)

    def watch(self, part: str, owner: type, name: str) -> None:
        """Times a method from here on."""
        real: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            if self._inside:
                return real(*args, **options)
            self._inside = True
            for cached in (accounting._epsilon, accounting._rdp):
                cached.cache_clear()
            began = time.perf_counter()
            try:
                return real(*args, **options)
            finally:
                self.seconds[part] += time.perf_counter() - began
                self.calls[part] += 1
                self._inside = False

        setattr(owner, name, timed)


class Silent:
    """Watches a simulation without a word, and fills ledgers before the first round."""

    def __init__(self, entries: int) -> None:
        self.entries = entries

    def study(self, study: Any, sites: list[Any], engine: str) -> None:
        spend = Spend(study="b" * 64, round=1, noise_multiplier=50.0, sample_rate=0.001, steps=1)
        for site in sites:
            for number in range(self.entries):
                site.open_ledger().reserve(
                    spend.model_copy(update={"round": number + 1}), lifetime=Budget(epsilon=1e9)
                )

    def prepared(self, left_out: Any) -> None:
        """Nothing yet."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def main() -> int:
    """Prints the shares; exit status 1 where the ledger takes 1% or more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "study", nargs="?", type=Path, default=Path("experiments/studies/demo.toml")
    )
    parser.add_argument("--entries", type=int, default=0)
    parser.add_argument("--home", type=Path, default=Path("fedward-runs"))
    options = parser.parse_args()
    screen, clock = Silent(options.entries), Clock()
    real = screen.prepared

    def prepared(left_out: Any) -> None:
        for part, (owner, names) in PARTS.items():
            for name in names:
                clock.watch(part, owner, name)
        clock.watch_hello()
        clock.watch_opening("ledger", Ledger, "at_hand")
        real(left_out)

    screen.prepared = prepared
    result = simulate(
        options.study,
        data=Path(),
        home=options.home,
        engine="in-process",
        screen=screen,
        with_baselines=False,
    )
    rounds = time.perf_counter() - clock.began
    print(f"{result.study}: {len(result.rounds)} rounds, {len(result.sites)} sites, {rounds:.1f} s")
    print(f"entries in each ledger beforehand: {options.entries}")
    print(f"once, as the study is taken in: {1000 * clock.once / len(result.sites):.0f} ms a site")
    for part in PARTS:
        share = clock.seconds[part] / rounds
        each = 1000 * clock.seconds[part] / max(1, clock.calls[part])
        print(
            f"{part:10} {share:7.2%} of the rounds  ({clock.calls[part]} calls, {each:.1f} ms each)"
        )
    return 0 if clock.seconds["ledger"] < 0.01 * rounds else 1


if __name__ == "__main__":
    sys.exit(main())
