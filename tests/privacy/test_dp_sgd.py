"""The law of dp-sgd: each patient's gradient, clipped alone, summed. Nothing else."""

from __future__ import annotations

import copy
from itertools import chain

import numpy as np
import pytest
import torch
from dp_sgd_steps import (
    DIM,
    EVERY_HEAD,
    HEADS,
    OUTPUTS,
    PATIENTS,
    alone,
    bag,
    change,
    clipped,
    flat,
    head_of,
    middle_clip,
    padded_losses,
    training,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.dp_sgd import DpSgd
from tasks.bags import PatientBag, collate
from tasks.heads.mlp import Mlp

pytestmark = pytest.mark.usefixtures("one_thread")


@EVERY_HEAD
def test_the_step_is_the_sum_of_gradients_clipped_one_patient_at_a_time(spec):
    head = head_of(spec)
    clip = middle_clip(head, PATIENTS)
    by_hand = sum(clipped(alone(head, patient), clip) for patient in PATIENTS)
    assert (change(head, [PATIENTS], clip=clip) + by_hand).abs().max() < 1e-5


@EVERY_HEAD
def test_without_reaching_the_clip_gradients_are_whole(spec):
    head = head_of(spec)
    by_hand = sum(alone(head, patient) for patient in PATIENTS)
    moved = change(head, [PATIENTS], clip=1e4)
    torch.testing.assert_close(moved, -by_hand, rtol=1e-5, atol=2e-5)


@EVERY_HEAD
def test_steps_follow_each_other_from_where_the_last_one_ended(spec):
    head = head_of(spec)
    samples = [PATIENTS[:3], PATIENTS[3:4], PATIENTS[2:]]
    walker = copy.deepcopy(head)
    for sample in samples:
        step = sum(clipped(alone(walker, patient), 0.1) for patient in sample)
        with torch.no_grad():
            for value, part in zip(
                walker.parameters(),
                step.split([value.numel() for value in walker.parameters()]),
                strict=True,
            ):
                value.sub_(part.reshape(value.shape))
    by_hand = flat(walker.parameters()) - flat(head.parameters())
    assert (change(head, samples, clip=0.1) - by_hand).abs().max() < 1e-5


@EVERY_HEAD
def test_one_patient_moves_the_sum_by_at_most_the_clip(spec):
    head = head_of(spec)
    clip = middle_clip(head, PATIENTS)
    everybody = change(head, [PATIENTS], clip=clip)
    reached = []
    for gone in range(len(PATIENTS)):
        others = PATIENTS[:gone] + PATIENTS[gone + 1 :]
        difference = (everybody - change(head, [others], clip=clip)).norm()
        assert difference <= clip * (1 + 1e-5)
        reached.append(float(difference))
    assert max(reached) > clip * 0.999  # the bound is tight: somebody is cut


@pytest.mark.parametrize("factor", [1e3, 1e6])
@EVERY_HEAD
def test_an_outrageous_patient_still_moves_it_by_at_most_the_clip(spec, factor):
    wild = bag(3, 2)
    wild = PatientBag(
        vectors=tuple((stay * factor).astype(np.float32) for stay in wild.vectors),
        targets=wild.targets,
    )
    head = head_of(spec)
    without = change(head, [PATIENTS], clip=0.5)
    difference = (change(head, [[*PATIENTS, wild]], clip=0.5) - without).norm()
    assert difference <= 0.5 * (1 + 1e-4)


def test_a_patient_with_many_stays_and_chunks_counts_as_one():
    head = head_of(HEADS["code-query"])
    crowd = bag(*[9] * 12)
    assert float(change(head, [[crowd]], clip=0.1).norm()) == pytest.approx(0.1, rel=1e-4)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    spec=st.sampled_from(list(HEADS.values())),
    shape=st.lists(
        st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), min_size=1, max_size=6
    ),
    clip=st.floats(1e-3, 10),
    seed=st.integers(0, 1000),
)
def test_the_law_holds_for_any_patients(spec, shape, clip, seed):
    patients = [bag(*chunks, seed=seed + number) for number, chunks in enumerate(shape)]
    head = head_of(spec, seed)
    by_hand = sum(clipped(alone(head, patient), clip) for patient in patients)
    assert (change(head, [patients], clip=clip) + by_hand).abs().max() < 1e-5 * max(1, clip)


@EVERY_HEAD
def test_padding_changes_nothing(spec):
    head = head_of(spec)
    clip = middle_clip(head, PATIENTS)
    tight = change(head, [PATIENTS], clip=clip)
    roomy = change(head, [PATIENTS], clip=clip, loss=padded_losses)
    assert (tight - roomy).abs().max() < 1e-5


@EVERY_HEAD
def test_the_order_of_patients_changes_nothing(spec):
    head = head_of(spec)
    forward = change(head, [PATIENTS], clip=0.2)
    assert (change(head, [PATIENTS[::-1]], clip=0.2) - forward).abs().max() < 1e-5


@EVERY_HEAD
def test_the_sum_is_divided_by_what_is_expected_not_by_what_came(spec):
    head = head_of(spec)
    whole = change(head, [PATIENTS], clip=0.2)
    assert (change(head, [PATIENTS], clip=0.2, expected=8) * 8 - whole).abs().max() < 1e-5


def test_every_bag_here_is_padded_in_some_way():
    # The tests above say less if the patients are all of one shape.
    batch = collate(PATIENTS, dim=DIM, outputs=OUTPUTS)
    assert not batch.stays.all()
    assert not batch.chunks[batch.stays].all()
    assert sorted({len(one.vectors) for one in PATIENTS}) == [1, 2, 3, 4]
    assert set(chain.from_iterable(stay for one in PATIENTS for stay in one.targets)) == set(
        range(OUTPUTS)
    )


def test_a_patient_whose_gradient_overflows_counts_as_nobody():
    """Neighbours that differ by that patient must not be told apart by a sum that is not finite."""

    def moved(patients: int) -> torch.Tensor:
        head = Mlp(hidden=(4,), scale=10.0).build(dim=8, outputs=2)
        with torch.no_grad():
            for value in head.parameters():
                value.fill_(0.1)
            head.hidden[0].weight[:, 0] = 3e38
        x = torch.zeros(3, 1, 1, 8)
        x[:2, ..., 1] = 1.0
        x[2, ..., 0] = 1.0
        chosen = list(range(patients))

        def losses(model, sample):
            rows = torch.tensor(sample, dtype=torch.long)
            logits = model(x[rows], torch.ones(len(sample), 1, 1, dtype=torch.bool))
            return logits.square().mean((1, 2))

        DpSgd(epsilon=1.0, clip=1.0)._steps(head, [chosen], training(losses=losses), noise=0.0)
        return torch.cat([value.detach().flatten() for value in head.parameters()])

    without, with_ = moved(2), moved(3)
    assert torch.isfinite(with_).all()
    torch.testing.assert_close(without, with_, rtol=1e-5, atol=1e-6)
