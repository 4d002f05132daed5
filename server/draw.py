"""Which sites a round asks, where it does not ask all."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable


def drawn(
    able: Iterable[str],
    *,
    most: int | None,
    seed: int,
    round: int,
    asked: Collection[str] = (),
    good: int = 0,
    again: bool = False,
) -> list[str]:
    """Draws sites for a round, in order of name.

    Each site has a place in each round: a hash of seed, round and its name. The first ones are
    asked. The draw knows nothing of who came first, and where one site goes, all others keep
    their order, so that a study that goes on asks those that were asked before the crash.

    | case | asked |
    | --- | --- |
    | the round is new | the first `most` |
    | some were asked before a crash | all of these, because they keep their answers, and more up \
to `most` |
    | too few answered | in place of those who did not, others; the same ones where none are left |

    Args:
        able: Sites that may be asked: there, and without a good answer yet.
        most: How many are to answer; None asks all.
        seed: Of the study; public, so anybody can draw again.
        round: From 1.
        asked: Sites that were asked for this round already.
        good: How many answered well.
        again: Whether those asked did not answer, rather than were asked before a crash.
    """
    names = sorted(able)
    if most is None:
        return names
    before = [name for name in names if name in asked]
    first = [] if again else before
    room = most - good - len(first)
    others = sorted(set(names) - set(first), key=lambda name: _place(name, seed, round))
    if again:
        others.sort(key=lambda name: name in asked)
    return sorted([*first, *others[: max(room, 0)]])


def _place(name: str, seed: int, round: int) -> bytes:
    return hashlib.sha256(f"{seed}/{round}/{name}".encode()).digest()
