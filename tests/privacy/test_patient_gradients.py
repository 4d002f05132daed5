"""Each patient's own gradient, for audits: alone as together, unclipped, without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from privacy.patient_gradients import patient_gradients


def losses(model: nn.Module, patients) -> torch.Tensor:
    x, y = (torch.stack(part) for part in zip(*patients, strict=True))
    return ((model(x) - y) ** 2).sum(-1)


@pytest.fixture
def head() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))


@pytest.fixture
def patients() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(50 * torch.randn(5), torch.randn(3)) for _ in range(7)]


def test_each_is_the_gradient_of_that_patient_alone(head, patients):
    found = patient_gradients(head, patients, losses)
    assert set(found) == {name for name, _ in head.named_parameters()}
    for number, patient in enumerate(patients):
        head.zero_grad()
        losses(head, [patient]).sum().backward()
        for name, parameter in head.named_parameters():
            assert torch.allclose(found[name][number], parameter.grad, rtol=1e-4, atol=1e-4)


def test_nothing_is_clipped(head, patients):
    found = patient_gradients(head, patients, losses)
    assert max(rows.flatten(1).norm(dim=1).max() for rows in found.values()) > 100


def test_a_gradient_that_is_not_finite_is_zero(head, patients):
    patients[2] = (torch.full((5,), 1e30), patients[2][1])
    found = patient_gradients(head, patients, losses)
    assert all(not rows[2].any() for rows in found.values())
    assert all(torch.isfinite(rows).all() for rows in found.values())
    assert any(rows[3].any() for rows in found.values())


@pytest.mark.parametrize("training", [True, False])
def test_the_head_is_left_as_it_was(head, patients, training):
    head.train(training)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    patient_gradients(head, patients, losses)
    assert head.training is training
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    for parameter in head.parameters():
        assert parameter.grad is None
        assert not {"grad_sample", "summed_grad"} & set(vars(parameter))
    assert all(not module._forward_hooks for module in head.modules())
