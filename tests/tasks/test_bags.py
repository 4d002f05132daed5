"""Bags: what a padded batch holds, checked against the shapes that its fields claim."""

from __future__ import annotations

from typing import get_type_hints

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped

from tasks import bags
from tasks.bags import Batch, PatientBag, collate

D, L = 3, 4


@jaxtyped(typechecker=None)
def shape_complaints(batch: Batch) -> list[str]:
    """The fields that are not what `Batch` says, with P, S, C, D, L the same in all."""
    hints = get_type_hints(Batch, vars(bags))
    return [name for name, hint in hints.items() if not isinstance(getattr(batch, name), hint)]


@st.composite
def patient_bags(draw: st.DrawFn) -> list[PatientBag]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = []
    for _ in range(draw(st.integers(0, 4))):
        chunks = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
        targets = [tuple(draw(st.sets(st.integers(0, L - 1)))) for _ in chunks]
        vectors = [generator.normal(size=(c, D)).astype(np.float32) + 9 for c in chunks]
        found.append(PatientBag(tuple(vectors), tuple(targets)))
    return found


@given(patient_bags())
@settings(deadline=None)
def test_a_batch_has_the_shapes_and_types_that_its_fields_claim(found: list[PatientBag]):
    checked = jaxtyped(collate, typechecker=beartype)
    batch = checked(found, dim=D, outputs=L)
    assert shape_complaints(batch) == []
    stays = max((len(bag.vectors) for bag in found), default=1)
    chunks = max((len(v) for bag in found for v in bag.vectors), default=1)
    assert batch.x.shape == (len(found), stays, chunks, D)
    assert batch.y.shape == (len(found), stays, L)


def test_the_shape_check_sees_a_wrong_letter_and_a_wrong_type():
    batch = collate([bag_of(2)], dim=D, outputs=L)
    wide = Batch(x=torch.zeros(1, 1, 3, D), chunks=batch.chunks, stays=batch.stays, y=batch.y)
    whole = Batch(x=batch.x, chunks=batch.chunks.long(), stays=batch.stays, y=batch.y)
    assert shape_complaints(wide) == ["chunks"]
    assert shape_complaints(whole) == ["chunks"]


def bag_of(*chunks: int, value: float = 1.0) -> PatientBag:
    return PatientBag(
        tuple(np.full((c, D), value, np.float32) for c in chunks), tuple((0,) for _ in chunks)
    )


@given(patient_bags())
@settings(deadline=None)
def test_the_masks_mark_exactly_what_is_real_and_the_rest_is_zero(found: list[PatientBag]):
    batch = collate(found, dim=D, outputs=L)
    for p, bag in enumerate(found):
        for s in range(batch.x.shape[1]):
            real = s < len(bag.vectors)
            assert bool(batch.stays[p, s]) is real
            count = len(bag.vectors[s]) if real else 0
            assert batch.chunks[p, s].tolist() == [c < count for c in range(batch.x.shape[2])]
            if real:
                np.testing.assert_array_equal(batch.x[p, s, :count].numpy(), bag.vectors[s])
            assert not batch.x[p, s, count:].any()
            true = set(bag.targets[s]) if real else set()
            assert batch.y[p, s].tolist() == [float(number in true) for number in range(L)]


def test_no_patients_give_a_batch_of_none_with_one_stay_of_one_chunk():
    batch = collate([], dim=D, outputs=L)
    assert batch.x.shape == (0, 1, 1, D)
    assert batch.chunks.shape == (0, 1, 1)
    assert batch.stays.shape == (0, 1)
    assert batch.y.shape == (0, 1, L)


def test_targets_and_stays_of_different_number_are_refused():
    bag = PatientBag((np.ones((1, D), np.float32),) * 2, ((0,),))
    with pytest.raises(ValueError, match="shorter"):
        collate([bag], dim=D, outputs=L)


def test_an_output_beyond_the_last_is_refused():
    bag = PatientBag((np.ones((1, D), np.float32),), ((L,),))
    with pytest.raises(IndexError):
        collate([bag], dim=D, outputs=L)
