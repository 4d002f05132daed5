"""However broken a release is, what leaves is what the coordinator would take."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from wire_builders import (
    ADDED_NOISE,
    CONTRACT,
    COUNTED,
    LABELS,
    NOISED,
    OTHER,
    RANKS,
    TRAINED,
    evaluation,
    items,
    noised,
    packed_by_a_liar,
    release,
    same,
    silent,
)

from privacy.errors import SiteError
from privacy.ledger import Receipt
from privacy.release import Outlet, Release, ReleaseHeader, Tally
from privacy.wire import pack_release, unpack_release

receipts = st.sampled_from(
    [
        None,
        TRAINED,
        COUNTED,
        ADDED_NOISE,
        Receipt(9, TRAINED.spend),
        dataclasses.replace(TRAINED, cohort="heldout"),
        dataclasses.replace(COUNTED, cohort="train"),
    ]
)
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**6 + 1, 2**63, 10**400, "2", "", "x y", OTHER, b"x", [1], {}, {LABELS: 1}]),
    st.floats(),
    st.dictionaries(st.sampled_from([LABELS, RANKS, NOISED, "x", 3]), st.integers(-1, 40)),
)
numbers = st.sampled_from([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, 1e-45, 2e6, 2e12, 1e300])
shapes = st.sampled_from([(), (0,), (3,), (3, 2), (2, 3), (4,), (2, 3, 4), (2, 12)])
dtypes = st.sampled_from(
    [
        "float32",
        "float64",
        "int64",
        "int32",
        "float16",
        ">f4",
        ">i8",
        "bool",
        "complex64",
        "O",
        "S3",
    ]
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Of the right sort more often than not, with an odd number at one place."""
    shape, dtype = draw(
        st.sampled_from([((3,), "float32"), ((3, 2), "float32"), ((4,), "float64")])
        | st.just(((2, 3, 4), "int64"))
        | st.tuples(shapes, dtypes)
    )
    with np.errstate(all="ignore"):
        value = np.ones(shape, dtype) if dtype != "S3" else np.full(shape, b"abc")
        if value.size and dtype not in {"S3", "O"}:
            value.reshape(-1)[0] = np.array(draw(numbers)).astype(dtype)
    how = draw(st.sampled_from(["as it is", "as it is", "Fortran", "masked", "reversed", "matrix"]))
    if how == "Fortran":
        return np.asfortranarray(value)
    if how == "masked":
        return np.ma.MaskedArray(value, mask=True)
    if how == "reversed":
        return value[::-1] if value.ndim else value
    return value.view(np.matrix) if how == "matrix" and value.ndim == 2 else value


names = st.sampled_from([*CONTRACT.parameters, *CONTRACT.tallies, "x", ""])


@st.composite
def broken_releases(draw: st.DrawFn) -> Release:
    """A good release with one to three things put into it that nobody checked."""
    found = draw(st.sampled_from([release, evaluation, noised, silent]))()
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(["header", "header", "update", "tallies", "receipts"]))
        change: dict[str, Any] = {}
        if what == "header":
            key = draw(st.sampled_from(sorted(ReleaseHeader.model_fields)))
            copied = found.header.model_copy(update={key: draw(odd_values)})
            change = {"header": copied}
        elif what == "update":
            update = {**found.update, draw(names): draw(arrays())}
            if draw(st.booleans()):
                update.pop(draw(st.sampled_from(sorted(update))))
            change = {"update": update}
        elif what == "tallies":
            one = Tally(draw(names), draw(arrays()), draw(st.integers(-1, 40)))
            some = draw(st.sampled_from([found.tallies, found.tallies[:1], ()]))
            change = {"tallies": (*some, one)}
        else:
            change = {draw(st.sampled_from(["receipt", "tally_receipt"])): draw(receipts)}
        found = dataclasses.replace(found, **change)
    return found


outlets = st.builds(
    Outlet, st.sampled_from(["exact", "noised", "withheld"]), st.sampled_from([0, 1, 40, 41])
)


@settings(deadline=None, derandomize=True, database=None, max_examples=600)
@given(broken_releases(), outlets)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_what_leaves_is_what_the_coordinator_takes(ledger, sent, outlet):
    try:
        content = pack_release(sent, contract=CONTRACT, ledger=ledger, outlet=outlet)
    except SiteError:
        event("blocked")
        return
    except (TypeError, ValueError, AttributeError):
        # Of a value that no header can hold. It does not leave, either.
        event("failed")
        return
    event("left")
    found = unpack_release(content, contract=CONTRACT)
    assert same(found, sent)
    assert items(packed_by_a_liar(found)) == items(content)
    # What it says, the ledger and the policy say, too.
    if found.update:
        assert sent.receipt == TRAINED
    if found.tallies:
        exact = found.header.tally_noise == 0
        assert sent.tally_receipt == (COUNTED if exact else ADDED_NOISE)
        assert outlet.metrics == ("exact" if exact else "noised")
        assert not exact or min(t.patients for t in found.tallies) >= outlet.smallest_count
