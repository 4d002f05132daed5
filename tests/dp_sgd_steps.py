"""Heads, patients and steps that the tests of dp-sgd share."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

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
