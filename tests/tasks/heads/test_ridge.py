"""ridge: what its sums give, with noise and without, and where it leads on."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from builders import study_table
from sklearn.linear_model import Ridge as Theirs

from client import local
from experiments.simulate.in_process import _identity
from privacy.budget import Spend
from privacy.closed_form import GaussianSums
from privacy.ledger import Receipt
from privacy.mechanism import Training
from privacy.moments import Pairs, norms
from privacy.off import Off
from privacy.randomness import stream
from privacy.release import Release, ReleaseHeader
from server.strategy import aggregate
from tasks.bags import PatientBag, collate
from tasks.heads.head import Weights, set_weights, weights_of
from tasks.heads.linear import Linear
from tasks.heads.ridge import Line, Ridge, RidgeHead, _noise
from tasks.strategy import FedAvgSpec
from tasks.study import Study

D = 64
L = len(study_table()["task"]["codes"])


def study(**changes: object) -> Study:
    once = {"rounds": 1, "steps": 1, "sample_rate": 1.0, "head": {"kind": "ridge"}}
    return Study.parse_table(
        study_table(**{**once, "privacy": {"kind": "off"}} | changes), where="t"
    )


def people(number: int, *, seed: int = 0, stays: int = 2) -> list[PatientBag]:
    """Chunks of unit length; the outputs follow from some of their numbers."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        vectors, targets = [], []
        for _ in range(random.integers(1, stays + 1)):
            chunks = random.normal(size=(random.integers(1, 4), D)) + 0.5
            chunks = (chunks / np.linalg.norm(chunks, axis=1, keepdims=True)).astype(np.float32)
            vectors.append(chunks)
            targets.append(tuple(np.flatnonzero(chunks.mean(0)[:L] > 0.1).tolist()))
        found.append(PatientBag(tuple(vectors), tuple(targets)))
    return found


def flat(bags: list[PatientBag]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean vectors, targets and each stay's share of its patient."""
    x = np.array([stay.astype(np.float64).mean(0) for bag in bags for stay in bag.vectors])
    y = np.zeros((len(x), L))
    for row, target in enumerate(target for bag in bags for target in bag.targets):
        y[row, list(target)] = 1
    share = np.array([1 / len(bag.vectors) for bag in bags for _ in bag.vectors])
    return x, y, share


def fitted(
    of: Study, bags: list[PatientBag], *, declared: int, noise: float = 0.0, seed: str = "0"
) -> Weights:
    head = of.head.build(dim=D, outputs=L)
    spend = Spend(study=of.digest, round=1, noise_multiplier=noise, sample_rate=1, steps=1)
    local.fit(
        of,
        head,
        bags,
        receipt=Receipt(1, spend),
        declared_patients=declared,
        stream=stream(seed),
    )
    return weights_of(head)


def solved(spec: Ridge, weights: Weights) -> Line:
    return spec.solve(torch.from_numpy(weights["gram"]), torch.from_numpy(weights["cross"]))


def averaged(updates: list[tuple[Weights, int]]) -> Weights:
    """What the coordinator makes of them, through Flower's strategy."""
    releases = [
        Release(
            header=ReleaseHeader(
                study="a" * 64, round=1, site=f"s{number}", code="c" * 64, encoder="e" * 64,
                declared_patients=declared, patients={},
            ),
            update=update,
            tallies=(),
        )
        for number, (update, declared) in enumerate(updates)
    ]  # fmt: skip
    with _identity(run_id=1, node_id=1):
        before = {name: np.zeros_like(value) for name, value in updates[0][0].items()}
        after, _ = aggregate(FedAvgSpec(), releases, round=1, weights=before, state={})
    return after


@pytest.mark.parametrize("stays", [1, 3])
def test_three_sites_sorted_by_label_give_scikit_learns_pooled_ridge(stays):
    spec = Ridge(ridge=1e-3)
    of = study(head={"kind": "ridge", "ridge": 1e-3})
    bags = sorted(people(300, stays=stays), key=lambda bag: bag.targets)
    sites = [(bags[:40], 70), (bags[40:210], 160), (bags[210:], 100)]
    pooled = averaged([(fitted(of, some, declared=number), number) for some, number in sites])
    x, y, share = flat(bags)
    theirs = Theirs(alpha=1e-3 * 330).fit(x, y, sample_weight=share)
    weights, intercept = solved(spec, pooled)
    largest = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(weights.numpy().T, theirs.coef_, atol=1e-4 * largest)
    np.testing.assert_allclose(intercept.numpy(), theirs.intercept_, atol=1e-4 * largest)
    # One site alone says something else, or the test would prove nothing.
    alone = solved(spec, fitted(of, bags[:40], declared=40))
    assert np.abs(alone[0].numpy().T - theirs.coef_).max() > 0.1 * largest


def test_logits_are_the_scaled_predictions():
    spec, bags = Ridge(scale=10.0, middle=0.25), people(50)
    head = spec.build(dim=D, outputs=L)
    set_weights(head, fitted(study(), bags, declared=50))
    x, y, share = flat(bags)
    theirs = Theirs(alpha=spec.ridge * 50).fit(x, y, sample_weight=share)
    batch = collate(bags, dim=D, outputs=L)
    logits = head(batch.x, batch.chunks)[batch.stays].detach().numpy()
    np.testing.assert_allclose(logits, (theirs.predict(x) - 0.25) * 10, atol=1e-3)


def test_it_is_solved_again_whenever_its_weights_change(monkeypatch):
    calls = []
    plain = Ridge.solve
    monkeypatch.setattr(Ridge, "solve", lambda *a: calls.append(1) or plain(*a))
    head = Ridge().build(dim=D, outputs=L)
    batch = collate(people(3), dim=D, outputs=L)
    weights = fitted(study(), people(40), declared=40)
    for number, changed in enumerate([weights, weights | {"cross": weights["cross"] * 2}], 1):
        set_weights(head, changed)
        said = [head(batch.x, batch.chunks) for _ in range(3)]
        assert len(calls) == number
    fresh = Ridge().build(dim=D, outputs=L)
    set_weights(fresh, changed)
    assert said[-1].equal(fresh(batch.x, batch.chunks))
    head.double()(batch.x.double(), batch.chunks)
    assert len(calls) == 4


def test_the_noise_is_read_from_the_sum_itself_whatever_sites_it_came_from():
    """With all of what is added to the eigenvalues due to noise, and all of it wanted."""
    of = study(privacy={"kind": "gaussian-sums", "epsilon": 3.0})
    bags = people(400)
    sites = [(bags[:100], 100), (bags[100:], 300)]
    made = [(fitted(of, some, declared=n, noise=2.0, seed=str(n)), n) for some, n in sites]
    gram = torch.from_numpy(averaged(made)["gram"]).double()
    # Two sites' noise, each over its own number and then weighted by it.
    assert _noise(gram) == pytest.approx(2.0 * math.sqrt(2) / 400, rel=0.05)
    assert _noise((gram + gram.T) / 2) == 0
    # What is cut off the largest eigenvalue that noise alone has: the constant of Wigner.
    alone = torch.from_numpy(fitted(of, [], declared=400, noise=2.0)["gram"]).double()
    largest = float(torch.linalg.eigvalsh((alone + alone.T) / 2)[-1])
    assert largest == pytest.approx(_noise(alone) * math.sqrt(2 * (D + 1)), rel=0.15)


def test_noise_alone_and_nothing_at_all_give_finite_logits():
    of = study(privacy={"kind": "gaussian-sums", "epsilon": 3.0})
    batch = collate(people(3), dim=D, outputs=L)
    nothing = study().initial()
    for weights in (nothing, fitted(of, [], declared=5, noise=10.0)):
        head = Ridge().build(dim=D, outputs=L)
        set_weights(head, weights)
        assert head(batch.x, batch.chunks).isfinite().all()
    set_weights(head, nothing)
    torch.testing.assert_close(
        head(batch.x, batch.chunks), torch.full((*batch.stays.shape, L), -6.0)
    )


def test_more_noise_is_met_with_smaller_coefficients():
    of = study(privacy={"kind": "gaussian-sums", "epsilon": 3.0})
    bags, sizes = people(200), []
    for noise in (1e-9, 0.3, 3.0):
        made = fitted(of, bags, declared=200, noise=noise)
        weights, _ = solved(Ridge(), made)
        sizes.append(float(weights.norm()))
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_a_linear_head_that_starts_from_it_scores_as_it_does(scale):
    weights = fitted(study(), people(80), declared=80)
    spec, linear = Ridge(), Linear(scale=scale)
    ours, theirs = spec.build(dim=D, outputs=L), linear.build(dim=D, outputs=L)
    set_weights(ours, weights)
    set_weights(theirs, linear.on_line(spec.line(weights), {}))
    batch = collate(people(30, seed=1), dim=D, outputs=L)
    one, other = (head(batch.x, batch.chunks)[batch.stays] for head in (ours, theirs))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)
    assert one.flatten().argsort().equal(other.flatten().argsort())


def test_the_default_clip_leaves_a_note_of_unit_length_nearly_whole():
    """The constant is counted in: |z|^2 is 1.09 for a stay without any output."""
    head = Ridge().build(dim=D, outputs=L)
    bag = PatientBag((np.eye(1, D, dtype=np.float32),), ((),))
    batch = collate([bag], dim=D, outputs=L)
    pairs = Pairs(head.inputs(batch.x, batch.chunks), batch.y, batch.stays)
    [norm] = norms(pairs, cross_scale=1.0).tolist()
    assert norm == pytest.approx(1.09)
    assert GaussianSums(epsilon=1).clip > 0.9 * norm


def test_many_outputs_of_many_patients_take_seconds():
    """A tenth of 20,000 patients with 500 outputs, in a tenth of some seconds."""
    outputs, dim = 500, 384
    random = np.random.default_rng(0)
    bags = [
        PatientBag(
            (random.normal(size=(1, dim)).astype(np.float32),),
            (tuple(random.choice(outputs, 3, replace=False).tolist()),),
        )
        for _ in range(2000)
    ]
    head = Ridge().build(dim=dim, outputs=outputs)
    assert isinstance(head, RidgeHead)

    def pairs(model, sample):
        batch = collate(sample, dim=dim, outputs=outputs)
        return Pairs(model.inputs(batch.x, batch.chunks), batch.y, batch.stays)

    spend = Spend(study="a" * 64, round=1, noise_multiplier=1, sample_rate=1, steps=1)
    began = time.process_time()
    GaussianSums(epsilon=3).fit(
        head,
        bags,
        Training(
            receipt=Receipt(1, spend),
            losses=lambda *_: None,
            learner=lambda _: None,
            declared_patients=2000,
            stream=stream("0"),
            pairs=pairs,
        ),
    )
    assert time.process_time() - began < 5


# What a study may pair it with


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privacy": {"kind": "dp-sgd", "epsilon": 3.0}}, "'dp-sgd' takes steps"),
        ({"rounds": 2}, "must be 1"),
        ({"steps": 2}, "must be 1"),
        ({"sample_rate": 0.5}, "must be 1"),
        (
            {"head": {"kind": "linear"}, "privacy": {"kind": "gaussian-sums", "epsilon": 3.0}},
            "'linear' learns by steps",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes, said):
    with pytest.raises(ValueError, match=said) as caught:
        study(**changes)
    assert "\n" not in str(caught.value)


def test_a_strategy_that_does_not_average_is_refused(monkeypatch):
    monkeypatch.setattr(FedAvgSpec, "averages", False)
    with pytest.raises(ValueError, match="does not add up"):
        study()


def test_both_ways_are_allowed():
    assert isinstance(study().privacy, Off)
    private = study(privacy={"kind": "gaussian-sums", "epsilon": 3.0})
    assert private.spends()[0].noise_multiplier == pytest.approx(1.4, rel=0.02)
    assert private.contract().parameters == {"gram": (D + 1, D + 1), "cross": (D + 1, L)}
