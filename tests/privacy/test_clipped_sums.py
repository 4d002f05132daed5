"""The law of clipped sums: what Opacus has when it writes every patient's gradient down."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from privacy import clipped_sums
from privacy.clipped_sums import PatientGradients, Rows, clipped_sum, forget, quiet_hooks

People = Sequence[tuple[Tensor, Tensor]]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def people(number: int, *shape: int, seed: int = 0, outputs: int = 3) -> People:
    """Rows of five numbers and what is true of them, in any number of dimensions."""
    random = seeded(seed)
    return [
        (torch.randn(*shape, 5, generator=random), torch.randn(*shape, outputs, generator=random))
        for _ in range(number)
    ]


def losses(model: nn.Module, some: People) -> Tensor:
    x, y = (torch.stack(part) for part in zip(*some, strict=True))
    return (model(x) - y).square().flatten(1).sum(1) / 2


class Twice(nn.Module):
    """Uses one linear map twice, and another not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.out, self.idle = nn.Linear(5, 5), nn.Linear(5, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.map(self.map(x).tanh()))


class Bare(nn.Module):
    """Has a parameter outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.stretch = nn.Linear(5, 3, bias=False), Stretch()

    def forward(self, x: Tensor) -> Tensor:
        return self.stretch(self.out(x))


class Stretch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


def frozen() -> nn.Module:
    made = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    made[0].weight.requires_grad_(False)
    made[2].bias.requires_grad_(False)
    return made


HEADS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(5, 3),
    "two layers": lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)),
    "a norm between": lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 3)),
    "a bare parameter": Bare,
    "a map used twice": Twice,
    "some frozen": frozen,
}
EVERY = pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
SHAPES = {"no rows": (), "rows": (3,), "stays and chunks": (2, 3), "one more": (2, 1, 3)}


def made(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    head = make()
    with torch.no_grad():
        for value in head.parameters():
            value.copy_(torch.randn(value.shape, generator=seeded(seed)))
    return head


def ours(head: nn.Module, some: People, clip: float, *, at_once: int = 1024, loss=losses):
    """The sums, by trained weight, and the norms."""
    model = PatientGradients(head).train()
    norms = clipped_sum(model, some, loss, clip=clip, at_once=at_once)
    sums = [value.grad.clone() for value in model.trained]
    model.to_standard_module()
    forget(head)
    return sums, norms


def opacus(head: nn.Module, some: People, clip: float) -> list[Tensor]:
    """The same with Opacus's own hooks and optimizer."""
    head = copy.deepcopy(head)
    model = GradSampleModule(head, loss_reduction="sum").train()
    values = [value for value in head.parameters() if value.requires_grad]
    with quiet_hooks():
        losses(model, some).sum().backward()
    used = [value for value in values if value.grad_sample is not None]
    optimizer = DPOptimizer(
        torch.optim.SGD(used, lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=clip,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    optimizer.clip_and_accumulate()
    return [
        torch.zeros_like(value) if value.grad_sample is None else value.summed_grad
        for value in values
    ]


@EVERY
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("clip", [0.3, 30.0, 1e6])
def test_the_sums_are_those_of_opacus(make, shape, clip):
    head, some = made(make), people(9, *shape)
    found, norms = ours(head, some, clip)
    for mine, theirs in zip(found, opacus(head, some, clip), strict=True):
        torch.testing.assert_close(
            mine, theirs, rtol=1e-5, atol=1e-5 * min(clip, float(norms.max()))
        )


@EVERY
def test_a_norm_is_that_of_the_patients_own_gradient(make):
    head, some = made(make), people(6, 2, 3)
    _, norms = ours(head, some, 1.0)
    trained = [value for value in head.parameters() if value.requires_grad]
    for number, one in enumerate(some):
        gradients = torch.autograd.grad(losses(head, [one])[0], trained, allow_unused=True)
        alone = math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))
        assert float(norms[number]) == pytest.approx(alone, rel=1e-5)


@EVERY
@pytest.mark.parametrize("at_once", [1, 2, 5, 8])
def test_pieces_change_nothing_but_rounding(make, at_once):
    head, some = made(make), people(8, 3)
    whole, norms = ours(head, some, 2.0)
    pieces, same = ours(head, some, 2.0, at_once=at_once)
    torch.testing.assert_close(same, norms, rtol=1e-6, atol=1e-6)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_both_ways_to_a_norm_agree(monkeypatch):
    """From the rows' inner products, and from the gradient a few patients at a time."""
    random = seeded(3)
    inputs = torch.randn(7, 2, 40, generator=random)
    errors = torch.randn(7, 2, 30, generator=random)
    by_hand = [float((e.T @ i).norm()) for i, e in zip(inputs, errors, strict=True)]
    few = Rows(inputs, errors).norms()
    many = Rows(inputs.repeat(1, 20, 1), errors.repeat(1, 20, 1)).norms() / 20
    monkeypatch.setattr(clipped_sums, "ROOM", 1)
    one_by_one = Rows(inputs, errors).norms()
    for found in (few, many, one_by_one):
        assert found.tolist() == pytest.approx(by_hand, rel=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 10_000),
    apart=st.floats(1e-9, 1e-2),
    size=st.floats(1e-3, 1e12),
    rows=st.sampled_from([2, 80]),
)
def test_rows_that_cancel_move_the_sum_by_at_most_the_clip_and_its_rounding(
    seed, apart, size, rows
):
    """Who chose weights so that a patient's rows cancel must not hide large rows behind a small
    norm: what rounding leaves of them may be more than the norm says.
    """
    random = seeded(seed)
    some = torch.randn(1, rows // 2, 64, generator=random)
    inputs = torch.cat([some, some * (1 + apart)], 1)
    back = torch.randn(1, rows // 2, 64, generator=random) * size
    errors = torch.cat([back, -back], 1)
    of = Rows(inputs, errors)
    left = 1 / of.norms().clamp(min=1)
    assert float(of.sum(left).norm()) <= 1 + 1e-6


@pytest.mark.parametrize("pairs", [1, 40])
def test_rows_that_cancel_count_as_what_doubles_cannot_tell_from_nothing(pairs):
    inputs = torch.full((1, 2 * pairs, 64), 3.0)
    errors = torch.cat([torch.full((1, pairs, 64), 1e6), torch.full((1, pairs, 64), -1e6)], 1)
    lengths = 2 * pairs * (3.0 * 8) * (1e6 * 8)
    assert float(Rows(inputs, errors).norms()) == pytest.approx(2**-24 * lengths, rel=1e-6)


@pytest.mark.parametrize("more", [2, 8, 30])
def test_a_neighbour_with_more_rows_moves_nobody_elses_rounding(more):
    """Many patients whose rows nearly cancel, and one more who makes all batches wider: each
    patient's rounding may change, and there are many of them.
    """
    random = seeded(1)
    some = torch.nn.functional.normalize(torch.randn(2000, 1, 384, generator=random), dim=2)
    inputs = torch.cat([some, some * (1 + 2**-15)], 1) * 20
    errors = torch.cat([torch.full((2000, 1, 2), 0.5), torch.full((2000, 1, 2), -0.5)], 1)
    clip = 1e-4

    def total(rows: Rows) -> Tensor:
        return rows.sum(clip / rows.norms().clamp(min=clip))

    wide = [torch.nn.functional.pad(of, (0, 0, 0, more - 2)) for of in (inputs, errors)]
    other = [torch.randn(1, more, of.shape[2], generator=random) for of in wide]
    alone = total(Rows(inputs, errors))
    together = total(Rows(*(torch.cat([of, one]) for of, one in zip(wide, other, strict=True))))
    assert float((together - alone).norm()) <= clip * (1 + 1e-5)


def test_a_patient_who_is_not_finite_or_too_long_counts_as_nobody():
    head = made(HEADS["two layers"])
    some = list(people(5, 3))
    without, norms = ours(head, some, 0.7)
    x, y = some[0]
    for wrong in (math.nan, math.inf, 1e25):
        with_, more = ours(head, [*some, (x * wrong, y)], 0.7)
        assert more.tolist() == [*norms.tolist(), 0.0]
        for one, other in zip(without, with_, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_nobody_leaves_zeros():
    head = made(HEADS["two layers"])
    sums, norms = ours(head, [], 1.0)
    assert norms.shape == (0,)
    assert [value.abs().sum() for value in sums] == [0, 0, 0, 0]


def test_a_matrix_that_another_layer_reads_as_well_is_refused():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.other = nn.Linear(5, 5, bias=False), Own()
            self.other.matrix = self.map.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.other(self.map(x))[..., :3]

    class Own(nn.Module):
        matrix: nn.Parameter

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.matrix

    with pytest.raises(TypeError, match="may not use a weight of a linear map"):
        ours(Tied(), people(3), 1.0)


def test_room_for_every_patients_gradient_is_not_needed():
    """300 patients' gradients of these weights would take 300 MB."""
    head = nn.Linear(500, 500, bias=False)
    random = seeded(0)
    some = [(torch.randn(2, 500, generator=random), torch.zeros(2, 500)) for _ in range(300)]
    sizes: list[int] = []

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            sizes.extend(t.numel() for t in torch.utils._pytree.tree_leaves(found)
                         if isinstance(t, Tensor))  # fmt: skip
            return found

    with Counting():
        ours(head, some, 1.0)
    assert max(sizes) <= 300 * 2 * 500
