"""What differs between two studies, and whether the two differ in so little that it tells of few.

Two studies on the same patients that ask almost the same (one code more, an hour later) can be
held against each other: what they differ in is about few patients (differencing).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import cast

from privacy.spec import Spec
from tasks.study import Study

FEW_CODES = 5
"""So many outputs are few, whatever the number of all."""
FEW_SHARE = 0.1
"""So large a share of the outputs of the larger study is few, too."""

_DECIDES_WHO_IS_COUNTED = ("task.", "bag.")

_Leaf = str | list[object]


class Change(Spec):
    """One key of a study that is not as in another. Nothing is cut short.

    Attributes:
        key: With dots between tables.
        before: JSON of the other study's value; None where it has none, and for lists.
        now: The same of this study's.
        put_in: Of a list: items that only this study has.
        taken_out: Of a list: items that only the other study has.
        same: Of a list: how many items both have; None where neither value is a list.
        moved: Of a list: those that both have stand in another order.
    """

    key: str
    before: str | None = None
    now: str | None = None
    put_in: tuple[str, ...] = ()
    taken_out: tuple[str, ...] = ()
    same: int | None = None
    moved: bool = False


class Near(Spec):
    """Another study that asks almost the same.

    Attributes:
        study: Its name.
        digest: Its digest.
        put_in: Outputs that only this study has.
        taken_out: Outputs that only the other has.
        keys: What else differs of that which decides who is counted.
    """

    study: str
    digest: str
    put_in: tuple[str, ...]
    taken_out: tuple[str, ...]
    keys: tuple[str, ...]


def changes(before: Study, now: Study) -> list[Change]:
    """Every key that differs, in order of the keys; lists as sets of items."""
    old, new = (dict(_leaves(json.loads(study.canonical()))) for study in (before, now))
    return [
        _change(key, old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def near(other: Study, study: Study) -> Near | None:
    """Whether two studies count almost the same patients' stays, and what tells them apart.

    None where they count exactly the same, where they share no output, and where their outputs
    differ in more than `FEW_CODES` and in more than a share of `FEW_SHARE`.
    """
    mine, theirs = set(study.outputs), set(other.outputs)
    few = max(FEW_CODES, FEW_SHARE * max(len(mine), len(theirs)))
    if other.task.kind != study.task.kind or not mine & theirs or len(mine ^ theirs) > few:
        return None
    codes = mine ^ theirs
    keys = tuple(
        change.key
        for change in changes(other, study)
        if change.key.startswith(_DECIDES_WHO_IS_COUNTED) and not _is_about(change, codes)
    )
    if not codes and not keys:
        return None
    return Near(
        study=other.name,
        digest=other.digest,
        put_in=tuple(sorted(mine - theirs)),
        taken_out=tuple(sorted(theirs - mine)),
        keys=keys,
    )


def _is_about(change: Change, codes: set[str]) -> bool:
    """Whether a change of a list is about these items or about their order alone."""
    return change.same is not None and {*change.put_in, *change.taken_out} <= codes


def _change(key: str, before: _Leaf | None, now: _Leaf | None) -> Change:
    """A change of one key, which one of the studies may lack."""
    if isinstance(before, str) or isinstance(now, str):
        return Change(key=key, before=_text(before), now=_text(now))
    old, new = ([_item(item) for item in value or ()] for value in (before, now))
    counted_old, counted_new = Counter(old), Counter(new)
    both = counted_old & counted_new
    return Change(
        key=key,
        put_in=tuple((counted_new - counted_old).elements()),
        taken_out=tuple((counted_old - counted_new).elements()),
        same=both.total(),
        moved=_only(old, both) != _only(new, both),
    )


def _only(items: list[str], kept: Counter[str]) -> list[str]:
    """The items in their order, each as often as it is kept."""
    left, found = kept.copy(), []
    for item in items:
        if left[item] > 0:
            left[item] -= 1
            found.append(item)
    return found


def _leaves(value: object, key: str = "") -> Iterator[tuple[str, _Leaf]]:
    """Every leaf of a JSON table by its dotted key: a list as it is, all else as JSON."""
    if isinstance(value, dict):
        for name, inner in cast("dict[str, object]", value).items():
            yield from _leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, cast("list[object]", value) if isinstance(value, list) else json.dumps(value)


def _text(value: _Leaf | None) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _item(item: object) -> str:
    return item if isinstance(item, str) else json.dumps(item, sort_keys=True)
