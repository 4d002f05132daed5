"""The law of dp-sgd: each patient's gradient, clipped alone, summed, with noise. Nothing else."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from privacy import accounting
from privacy.budget import Spend
from privacy.dp_sgd import DpSgd
from privacy.ledger import Receipt
from privacy.mechanism import Training
from privacy.randomness import Stream, stream
from tasks.bags import Batch, PatientBag, collate
from tasks.heads.code_query import CodeQuery
from tasks.heads.head import Head, HeadSpec
from tasks.heads.label_attention import LabelAttention
from tasks.heads.linear import Linear
from tasks.heads.mlp import Mlp
from tasks.heads.questions import Questions
from tasks.heads.random_features import RandomFeatures
from tasks.loss import patient_losses

# Opacus's hint about its orders; test_accounting says that it should reach nobody.
pytestmark = pytest.mark.filterwarnings("ignore:Optimal order is the:UserWarning")

STUDY = "a" * 64
DIM, OUTPUTS = 6, 5

HEADS: dict[str, HeadSpec] = {
    "linear": Linear(scale=3.0),
    "mlp": Mlp(hidden=(7,)),
    "mlp, two hidden layers": Mlp(hidden=(7, 4), scale=2.0),
    "code-query": CodeQuery(sharpness=2.0, scale=4.0, bias=-1.0),
    "code-query, residual": CodeQuery(
        sharpness=3.0, terms="each", residual=True, residual_scale=2.0, bias=-1.0
    ),
    "code-query, pooled": CodeQuery(scale=4.0, pool="mean", residual=True, bias=-1.0),
    "label-attention": LabelAttention(rate=1.0, sharpness=2.0, scale=4.0, bias=-1.0),
    "random-features": RandomFeatures(features=5, scale=1.0, bent_scale=2.0, bias=-1.0),
}
EVERY_HEAD = pytest.mark.parametrize("spec", HEADS.values(), ids=HEADS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tensors this small are far slower on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def head_of(spec: HeadSpec, seed: int = 0) -> Head:
    """A head with random weights everywhere, so that no gradient is zero by luck."""
    generator = seeded(seed)
    groups = [torch.randn(1 + n % 2, DIM, generator=generator) for n in range(OUTPUTS)]
    questions = Questions.grouped(groups)
    head = spec.build(dim=DIM, outputs=OUTPUTS, questions=questions)
    with torch.no_grad():
        for value in head.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.7)
    return head


def bag(*chunks: int, seed: int = 0) -> PatientBag:
    """A patient with one stay for each number, of that many chunks."""
    random = np.random.default_rng([seed, *chunks])
    return PatientBag(
        vectors=tuple(random.normal(size=(n, DIM)).astype(np.float32) for n in chunks),
        targets=tuple(tuple(np.flatnonzero(random.random(OUTPUTS) < 0.4).tolist()) for _ in chunks),
    )


PATIENTS = [bag(1), bag(3, 1), bag(2, 5, 1, 2), bag(1, 1, 1), bag(4), bag(2, 2), bag(6, 1)]


def losses(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
    batch = collate(sample, dim=DIM, outputs=OUTPUTS)
    return patient_losses(model(batch.x, batch.chunks), batch)


def padded_losses(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
    """The same patients in a batch with more room than they need, and rubbish in the room."""
    tight = collate(sample, dim=DIM, outputs=OUTPUTS)
    people, stays, chunks = tight.chunks.shape
    x = torch.full((people, stays + 2, chunks + 3, DIM), 123.0)
    x[:, :stays, :chunks][tight.chunks] = tight.x[tight.chunks]
    real_chunks = torch.zeros(x.shape[:3], dtype=torch.bool)
    real_chunks[:, :stays, :chunks] = tight.chunks
    real_stays = torch.zeros(x.shape[:2], dtype=torch.bool)
    real_stays[:, :stays] = tight.stays
    y = torch.ones(people, stays + 2, OUTPUTS)
    y[:, :stays][tight.stays] = tight.y[tight.stays]
    batch = Batch(x=x, chunks=real_chunks, stays=real_stays, y=y)
    return patient_losses(model(batch.x, batch.chunks), batch)


def flat(values: Iterable[Tensor]) -> Tensor:
    return torch.cat([value.detach().reshape(-1) for value in values])


def alone(head: Head, patient: PatientBag) -> Tensor:
    """One patient's gradient in plain torch, with no other patient and no padding of others."""
    loss = losses(head, [patient])[0]
    return flat(torch.autograd.grad(loss, list(head.parameters())))


def clipped(gradient: Tensor, clip: float) -> Tensor:
    return gradient * min(1.0, clip / float(gradient.norm()))


def middle_clip(head: Head, patients: Sequence[PatientBag]) -> float:
    """A clip that cuts some of these patients and leaves others whole."""
    norms = sorted(float(alone(head, patient).norm()) for patient in patients)
    clip = math.sqrt(norms[len(norms) // 2 - 1] * norms[len(norms) // 2])
    assert norms[0] < clip < norms[-1]
    return clip


def change(
    head: Head,
    samples: Iterable[Sequence[PatientBag]],
    *,
    clip: float,
    noise: float = 0.0,
    expected: float = 1.0,
    numbers: Stream | None = None,
    loss=losses,
) -> Tensor:
    """What dp-sgd does to a copy of the weights with plain gradient descent at rate 1."""
    copied = copy.deepcopy(head)
    DpSgd(epsilon=1, clip=clip)._steps(
        copied,
        samples,
        training(noise=noise, expected=expected, losses=loss, numbers=numbers),
        noise=noise,
    )
    return flat(copied.parameters()) - flat(head.parameters())


def training(
    *,
    noise: float = 1.0,
    expected: float = 1.0,
    losses=losses,
    learner=lambda parameters: torch.optim.SGD(parameters, lr=1),
    numbers: Stream | None = None,
) -> Training:
    """A round whose normaliser is `expected`."""
    rate, declared = (1.0, expected) if expected >= 1 else (expected, 1)
    return Training(
        receipt=receipt(noise, rate=rate),
        losses=losses,
        learner=learner,
        declared_patients=declared,
        stream=numbers or stream("0"),
    )


def receipt(noise: float = 1.0, *, rate: float = 0.5, steps: int = 3) -> Receipt:
    return Receipt(
        1,
        Spend(study=STUDY, round=1, noise_multiplier=noise, sample_rate=rate, steps=steps),
    )


def fit(head: Head, patients: Sequence[PatientBag], *, seed: int = 0, **settings) -> Head:
    DpSgd(epsilon=1, clip=settings.pop("clip", 1.0)).fit(
        head,
        patients,
        Training(
            receipt=settings.pop("receipt", receipt()),
            losses=losses,
            learner=settings.pop("learner", lambda parameters: torch.optim.SGD(parameters, lr=0.1)),
            declared_patients=settings.pop("declared", 10),
            stream=stream(str(seed)),
        ),
    )
    return head


# The law


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


# Noise


@EVERY_HEAD
def test_an_empty_sample_without_noise_stands_still(spec):
    assert change(head_of(spec), [[], []], clip=1.0).abs().max() == 0


@EVERY_HEAD
def test_an_empty_sample_still_moves_every_weight(spec):
    moved = change(head_of(spec), [[]], clip=1.0, noise=2.0)
    assert (moved != 0).all()
    assert 1.5 < moved.std() < 2.5


@pytest.mark.parametrize(
    ("noise", "clip", "expected"), [(1.0, 1.0, 1.0), (0.5, 3.0, 8.0), (4.0, 0.01, 0.25)]
)
@pytest.mark.parametrize("patients", [0, 3], ids=["empty", "three patients"])
def test_noise_has_the_deviation_that_was_charged(noise, clip, expected, patients):
    # The weights of an all-zero input get no gradient, so all that moves them is noise.
    wide = Linear().build(dim=200, outputs=100)
    people = [PatientBag((np.zeros((1, 200), np.float32),), ((1,),))] * patients

    def loss(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
        batch = collate(sample, dim=200, outputs=100)
        return patient_losses(model(batch.x, batch.chunks), batch)

    before = wide.out.weight.detach().clone()
    moved = change(wide, [people], clip=clip, noise=noise, expected=expected, loss=loss)
    drawn = moved[: before.numel()] * expected / (noise * clip)
    count = before.numel()
    assert abs(drawn.mean()) < 4 / math.sqrt(count)
    assert abs(drawn.std() - 1) < 4 / math.sqrt(2 * count)
    assert abs((drawn**4).mean() - 3) < 4 * math.sqrt(96 / count)  # a Gaussian's tails


def test_noise_is_fresh_at_every_step_and_in_every_weight():
    head = head_of(HEADS["mlp"])
    one, two = (change(head, [[]] * steps, clip=1.0, noise=1.0) for steps in (1, 2))
    second = two - one
    assert abs(torch.corrcoef(torch.stack([one, second]))[0, 1]) < 4 / math.sqrt(len(one))
    assert len(set(one.tolist())) == len(one)


def test_the_noise_is_the_streams():
    head, numbers = head_of(HEADS["linear"]), stream("7")
    by_hand = [numbers.normal(tuple(value.shape)).float() * 1.5 for value in head.parameters()]
    moved = change(head, [[]], clip=3.0, noise=0.5, numbers=stream("7"))
    torch.testing.assert_close(moved, -flat(by_hand), rtol=1e-5, atol=1e-5)


def test_noise_adds_up_over_steps():
    wide = Linear().build(dim=200, outputs=100)

    def loss(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
        batch = collate(sample, dim=200, outputs=100)
        return patient_losses(model(batch.x, batch.chunks), batch)

    moved = change(wide, [[]] * 9, clip=1.0, noise=2.0, loss=loss)
    assert moved.std() == pytest.approx(2.0 * math.sqrt(9), rel=0.02)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    spec = HEADS["code-query, residual"]
    first, again, other = (
        flat(fit(head_of(spec), PATIENTS, seed=seed).parameters()) for seed in (5, 5, 6)
    )
    assert first.equal(again)
    assert (first - other).abs().min() > 0


def test_nothing_comes_from_the_global_generator():
    runs = []
    for seed in (1, 2):
        head = head_of(HEADS["mlp"])
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        runs.append(flat(fit(head, PATIENTS).parameters()))
        assert torch.get_rng_state().equal(state)
    assert runs[0].equal(runs[1])


# fit


def test_the_normaliser_is_rate_times_declared_whatever_the_true_number():
    spec, rate = HEADS["linear"], 1.0
    for patients in (PATIENTS[:2], PATIENTS):
        head = head_of(spec)
        start = flat(head.parameters())
        by_hand = sum(clipped(alone(head, patient), 0.3) for patient in patients)
        fit(
            head,
            patients,
            receipt=receipt(1e-9, rate=rate, steps=1),
            clip=0.3,
            declared=40,
            learner=lambda parameters: torch.optim.SGD(parameters, lr=1),
        )
        moved = flat(head.parameters()) - start
        assert (moved * 40 + by_hand).abs().max() < 2e-5


@pytest.mark.parametrize(("rate", "declared"), [(0.25, 100), (1.0, 7)])
def test_fit_adds_the_noise_of_the_receipt_over_rate_times_declared(rate, declared):
    head = Linear().build(dim=DIM, outputs=OUTPUTS)
    noises = []
    for seed in range(60):
        copied = copy.deepcopy(head)
        fit(
            copied,
            [],
            receipt=receipt(3.0, rate=rate, steps=2),
            clip=0.5,
            declared=declared,
            seed=seed,
            learner=lambda parameters: torch.optim.SGD(parameters, lr=1),
        )
        noises.append(flat(copied.parameters()) - flat(head.parameters()))
    found = torch.cat(noises)
    promised = 3.0 * 0.5 * math.sqrt(2) / (rate * declared)
    assert float(found.std()) == pytest.approx(promised, rel=4 / math.sqrt(2 * len(found)))


def test_a_receipt_without_noise_is_refused_before_a_step():
    head = head_of(HEADS["linear"])
    before = flat(head.parameters())
    with pytest.raises(ValueError, match="receipt without noise"):
        fit(head, PATIENTS, receipt=receipt(0.0))
    assert flat(head.parameters()).equal(before)


def test_the_spend_is_calibrated_for_all_rounds_together():
    mechanism = DpSgd(epsilon=2.5, delta=1e-6)
    spends = [
        mechanism.spend(study=STUDY, round=number, rounds=3, steps=7, sample_rate=1)
        for number in (1, 2, 3)
    ]
    cost = accounting.epsilon(spends, delta=1e-6)
    assert 2.45 < cost <= 2.5
    assert accounting.epsilon(spends[:1], delta=1e-6) < 1.6


def traces(head: nn.Module) -> set[str]:
    """Whatever a library could have hung on a head: attributes and hooks."""
    hung = {
        f"{name or 'head'}.{attribute}: {len(value) if isinstance(value, dict) else ''}"
        for name, module in head.named_modules()
        for attribute, value in vars(module).items()
    }
    return hung | {
        f"{name}.{attribute}"
        for name, value in head.named_parameters()
        for attribute in vars(value)
    }


@EVERY_HEAD
def test_nothing_of_opacus_stays_on_the_head(spec):
    head = head_of(spec)
    clean, keys, kind = traces(head), list(head.state_dict()), type(head)
    fit(head, PATIENTS)
    assert traces(head) == clean
    assert list(head.state_dict()) == keys
    assert type(head) is kind
    head.zero_grad()
    losses(head, PATIENTS).mean().backward()
    assert all(value.grad is not None for value in head.parameters())
    assert traces(head) == clean


@EVERY_HEAD
def test_no_gradient_without_noise_is_saved_with_the_head(spec, tmp_path):
    # torch.save and copy.deepcopy keep whatever hangs on a parameter.
    head = fit(head_of(spec), PATIENTS)
    torch.save(head, tmp_path / "head.pt")
    loaded = torch.load(tmp_path / "head.pt", weights_only=False)
    assert [vars(value) for value in loaded.parameters()] == [{}] * len(list(head.parameters()))


def test_a_failure_in_the_middle_leaves_no_trace_either():
    head = head_of(HEADS["linear"])
    clean = traces(head)

    def broken(model: nn.Module, sample: Sequence[PatientBag]) -> Tensor:
        losses(model, sample).sum().backward()
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        change_in_place(head, broken)
    head.zero_grad(set_to_none=True)
    assert traces(head) == clean


def change_in_place(head: Head, loss) -> None:
    DpSgd(epsilon=1)._steps(head, [PATIENTS], training(losses=loss), noise=1.0)


@EVERY_HEAD
def test_fit_twice_is_two_clean_fits(spec):
    twice = fit(fit(head_of(spec), PATIENTS, seed=1), PATIENTS, seed=2)
    first = fit(head_of(spec), PATIENTS, seed=1)
    fresh = head_of(spec)
    fresh.load_state_dict(first.state_dict())
    assert flat(twice.parameters()).equal(flat(fit(fresh, PATIENTS, seed=2).parameters()))


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD], ids=["adam", "sgd"])
def test_an_optimizer_sees_only_the_noisy_gradient(optimizer):
    head = head_of(HEADS["linear"])
    seen: list[list[Tensor]] = []

    def learner(parameters):
        made = optimizer(parameters, lr=0.01)
        made.register_step_pre_hook(
            lambda opt, *_: seen.append([p.grad.clone() for p in opt.param_groups[0]["params"]])
        )
        return made

    fit(
        head,
        [PATIENTS[0]],
        receipt=receipt(1e-6, rate=1.0, steps=4),
        clip=0.05,
        declared=1,
        learner=learner,
    )
    norms = [float(flat(gradients).norm()) for gradients in seen]
    assert len(norms) == 4
    assert norms == pytest.approx([0.05] * 4, rel=1e-3)


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
    from tasks.heads.mlp import Mlp

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
