"""The attack sees weights only, and weighs what it sees by what it is worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.audit.attack import SHRINKAGE, Clues, _whitened, clues, scores
from experiments.audit.canaries import canaries
from privacy.randomness import stream
from tasks.bags import collate
from tasks.heads.head import Head, set_weights, weights_of
from tasks.loss import patient_losses
from tasks.study import Study


@pytest.fixture
def head(study: Study) -> Head:
    return study.head.build(dim=study.encoder.dim, outputs=len(study.outputs))


def alone(study: Study, head: Head, canary) -> dict[str, torch.Tensor]:
    """A canary's gradient by plain autograd."""
    batch = collate([canary], dim=study.encoder.dim, outputs=len(study.outputs))
    head.zero_grad()
    patient_losses(head(batch.x, batch.chunks), batch).sum().backward()
    return {name: p.grad.clone() for name, p in head.named_parameters()}


def test_products_are_those_of_each_canarys_own_direction(study, head, monkeypatch):
    monkeypatch.setattr("experiments.audit.attack.BATCH", 3)
    made = canaries(study, 8, stream("a"))
    before = study.initial()
    after = {
        name: value - stream(name).normal(value.shape).numpy().astype(np.float32)
        for name, value in before.items()
    }
    (found,) = clues(study, head, made, [before, after])
    assert len(found) == len(before)
    assert sum(clue.weight for clue in found) == pytest.approx(1, rel=1e-5)
    set_weights(head, before)
    moved = {name: _whitened([before[name] - after[name]])[0] for name in before}
    for number, canary in enumerate(made):
        own = alone(study, head, canary)
        length = torch.stack([g.norm() for g in own.values()]).norm()
        for name, clue in zip(before, found, strict=True):
            expected = float((own[name] * moved[name]).sum() / length)
            assert clue.products[number] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_a_canary_that_was_trained_on_scores_above_one_that_was_not(study, head):
    made = canaries(study, 2, stream("b"))
    before = study.initial()
    set_weights(head, before)
    own = alone(study, head, made[0])
    after = {name: before[name] - own[name].numpy() for name in before}
    score = scores(list(clues(study, head, made, [before, after])))
    assert score[0] > score[1]


def test_each_round_is_attacked_at_the_weights_that_it_started_from(study, head):
    seen = [
        {name: value + step for name, value in study.initial().items()} for step in (0.0, 0.3, 0.9)
    ]
    made = canaries(study, 2, stream("c"))
    held = [weights_of(head) for _ in clues(study, head, made, seen)]
    assert len(held) == 2
    for before, now in zip(seen[:-1], held, strict=True):
        assert all(np.array_equal(value, before[name]) for name, value in now.items())


def test_a_noisy_parameter_counts_for_less_than_a_quiet_one():
    truth = np.repeat([0.0, 1.0], 500)
    numbers = np.random.default_rng(0)
    rounds = []
    disturbed = 30 * numbers.normal(size=1000)  # the same in every round: other patients
    for _ in range(10):
        quiet = Clues(truth + numbers.normal(size=1000), 0.5)
        loud = Clues(truth + disturbed + numbers.normal(size=1000), 0.5)
        rounds.append([quiet, loud])
    best = np.sum([one[0].products for one in rounds], axis=0)
    both = scores(rounds)
    assert np.corrcoef(both, truth)[0, 1] > 0.98 * np.corrcoef(best, truth)[0, 1]


def test_a_parameter_that_says_the_same_of_all_says_nothing():
    says = Clues(np.array([0.0, 1.0]), 0.5)
    same = Clues(np.array([7.0, 7.0]), 0.5)
    assert np.array_equal(np.argsort(scores([[says, same]])), [0, 1])
    assert not scores([[same]]).any()


def test_what_is_common_is_taken_down_and_the_rest_kept():
    numbers = np.random.default_rng(0)
    common = 100 * np.outer(numbers.normal(size=20), numbers.normal(size=30))
    rests = [numbers.normal(size=(20, 30)).astype(np.float32) for _ in range(10)]
    changes = [(common + rest).astype(np.float32) for rest in rests]
    for kept, change, rest in zip(_whitened(changes), changes, rests, strict=True):
        assert kept.shape == (20, 30)
        assert cosine(torch.from_numpy(change), rest) < 0.05
        assert cosine(kept, rest) > 0.8


def test_what_is_alike_in_all_directions_stays_as_it_is():
    numbers = np.random.default_rng(1)
    noises = [numbers.normal(size=(20, 30)).astype(np.float32) for _ in range(40)]
    for kept, noise in zip(_whitened(noises), noises, strict=True):
        assert cosine(kept, noise) > 0.95
        assert kept.norm() == pytest.approx(np.linalg.norm(noise) / (1 + SHRINKAGE) ** 2, rel=0.05)


def cosine(a: torch.Tensor, b: np.ndarray) -> float:
    other = torch.from_numpy(b)
    return float(torch.nn.functional.cosine_similarity(a.flatten(), other.flatten(), dim=0))


@pytest.mark.parametrize("shape", [(7,), (71, 1), (3, 9), (5, 4, 4)])
def test_what_is_no_matrix_or_too_small_stays_as_it_is(shape):
    change = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    assert torch.equal(_whitened([change])[0], torch.from_numpy(change))


def test_a_matrix_that_never_moved_stays_zero():
    assert not _whitened([np.zeros((8, 9), np.float32)] * 2)[0].any()


def test_a_side_too_large_for_its_covariance_is_left_alone(monkeypatch):
    monkeypatch.setattr("experiments.audit.attack.LARGEST_SIDE", 6)
    change = np.random.default_rng(3).normal(size=(7, 7)).astype(np.float32)
    assert torch.equal(_whitened([change])[0], torch.from_numpy(change))
