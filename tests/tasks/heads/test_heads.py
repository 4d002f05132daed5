"""The laws that every head keeps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError, jaxtyped
from some_heads import SPECS, D, L, batches, every_head, padded, questions, seeds, tiny, trained

from tasks.heads.code_query import CodeQuery
from tasks.heads.head import HeadSpec, set_weights, weights_of
from tasks.heads.kinds import HEADS
from tasks.heads.label_attention import LabelAttention
from tasks.heads.linear import Linear
from tasks.heads.mlp import Mlp
from tasks.heads.questions import Questions
from tasks.heads.random_features import RandomFeatures


@every_head
@given(batch=batches(), by=st.tuples(*[st.integers(0, 3)] * 3), seed=seeds)
@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("filling", [0.0, 7.5])
def test_padding_changes_no_real_logit(
    spec: HeadSpec, batch: Any, by: tuple[int, int, int], seed: int, filling: float
):
    x, chunks, stays = batch
    head = trained(spec, seed=seed)
    wide = head(*padded(x, chunks, by, filling=filling))[: x.shape[0], : x.shape[1]]
    torch.testing.assert_close(wide[stays], head(x, chunks)[stays], atol=1e-9, rtol=1e-9)


@every_head
def test_padding_changes_no_real_logit_in_float32(spec: HeadSpec):
    x, chunks = tiny()
    head = trained(spec).float()
    wide = head(*padded(x.float(), chunks, (2, 3, 50), filling=7.5))[:2, :2]
    real = chunks.any(2)
    torch.testing.assert_close(wide[real], head(x.float(), chunks)[real], atol=1e-6, rtol=1e-6)


@every_head
@given(batch=batches(), seed=seeds)
@settings(deadline=None, max_examples=40)
def test_a_patient_scores_alone_as_among_others(spec: HeadSpec, batch: Any, seed: int):
    x, chunks, stays = batch
    head = trained(spec, seed=seed)
    together = head(x, chunks)
    for p in range(len(x)):
        alone = head(x[p : p + 1], chunks[p : p + 1])[0]
        torch.testing.assert_close(together[p][stays[p]], alone[stays[p]], atol=1e-9, rtol=1e-9)


@every_head
def test_changing_another_patient_changes_nothing(spec: HeadSpec):
    x, chunks = tiny()
    head = trained(spec)
    before = head(x, chunks)[0]
    other, mask = x.clone(), chunks.clone()
    other[1] = 100 * torch.randn(2, 3, D, generator=torch.Generator().manual_seed(0)).double()
    mask[1] = True
    torch.testing.assert_close(head(other, mask)[0], before, atol=1e-12, rtol=1e-12)


@every_head
def test_a_logit_has_a_gradient_at_its_own_stays_real_chunks_alone(spec: HeadSpec):
    x, chunks = tiny()
    x.requires_grad_()
    trained(spec)(x, chunks)[1, 0].sum().backward()
    assert x.grad is not None
    assert x.grad[1, 0, :2].any(-1).all()
    rest = x.grad.clone()
    rest[1, 0, :2] = 0
    assert not rest.any()


@every_head
def test_logits_have_the_annotated_shapes(spec: HeadSpec):
    head = trained(spec)
    forward = jaxtyped(type(head).forward, typechecker=beartype)
    x, chunks = tiny()
    assert forward(head, x, chunks).shape == (2, 2, L)
    assert forward(head, x[:0], chunks[:0]).shape == (0, 2, L)
    with pytest.raises(TypeCheckError):
        forward(head, x, chunks[:, :1])
    with pytest.raises(TypeCheckError):
        forward(head, x, chunks.double())


@every_head
def test_initial_weights_depend_on_the_generator_alone(spec: HeadSpec):
    def initial(seed: int, elsewhere: int) -> dict[str, np.ndarray]:
        with torch.random.fork_rng():
            torch.manual_seed(elsewhere)
            return spec.initial(dim=D, outputs=L, generator=torch.Generator().manual_seed(seed))

    one, same, other = initial(5, 1), initial(5, 2), initial(6, 1)
    assert one.keys() == same.keys() == other.keys()
    assert all(np.array_equal(one[name], same[name]) for name in one)
    drawn = {name for name in one if not np.array_equal(one[name], other[name])}
    expected = {"mlp": {"hidden.0.weight", "hidden.1.weight"}}
    if isinstance(spec, LabelAttention) and spec.start_from == "random":
        expected = {spec.kind: {"pick.weight"}}
    assert drawn == expected.get(spec.kind, set())


@every_head
def test_start_sets_every_trained_weight(spec: HeadSpec):
    head = spec.build(dim=D, outputs=L)
    with torch.no_grad():
        for value in head.parameters():
            value.fill_(math.nan)
        head.start(torch.Generator().manual_seed(0))
    assert all(value.isfinite().all() for value in head.parameters())


@every_head
def test_before_training_nothing_but_the_questions_tells_outputs_apart(spec: HeadSpec):
    x, chunks = tiny()
    same = Questions.one_each(questions()[:1].repeat(L, 1))
    head = spec.build(dim=D, outputs=L, questions=same)
    set_weights(head, spec.initial(dim=D, outputs=L, generator=torch.Generator().manual_seed(0)))
    if isinstance(spec, LabelAttention) and spec.start_from == "random":
        assert not head.score.weight.any()  # each picks at random, and gives every chunk one score
    logits = head(x.float(), chunks)
    torch.testing.assert_close(logits, logits[..., :1].expand_as(logits))


@pytest.mark.parametrize(
    ("spec", "bias"),
    [
        (Linear(bias=-2.5), "out.bias"),
        (Mlp(bias=-2.5), "out.bias"),
        (CodeQuery(bias=-2.5, bias_scale=10), "bias.weight"),
        (LabelAttention(bias=-2.5), "score.bias"),
        (RandomFeatures(bias=-2.5), "out.bias"),
    ],
)
def test_biases_start_at_the_constant_that_the_study_names(spec: HeadSpec, bias: str):
    weights = spec.initial(dim=D, outputs=L, generator=torch.Generator().manual_seed(0))
    factor = spec.bias_scale if isinstance(spec, CodeQuery) else 1.0
    np.testing.assert_allclose(weights[bias] * factor, -2.5)


def test_code_query_starts_at_identities_and_a_zero_residual():
    weights = CodeQuery(residual=True).initial(dim=D, outputs=L, generator=torch.Generator())
    np.testing.assert_array_equal(weights["pick.weight"], np.eye(D))
    np.testing.assert_array_equal(weights["score.weight"], np.eye(D))
    np.testing.assert_array_equal(weights["residual.weight"], np.zeros((L, D)))


def test_mlp_starts_with_he_weights_and_a_zero_last_map():
    weights = Mlp(hidden=(400,)).initial(
        dim=200, outputs=L, generator=torch.Generator().manual_seed(0)
    )
    assert weights["hidden.0.weight"].std() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    assert abs(weights["hidden.0.weight"].mean()) < 1e-3
    assert not weights["hidden.0.bias"].any()
    assert not weights["out.weight"].any()


@every_head
def test_weights_come_back_as_they_were_set_and_are_a_copy(spec: HeadSpec):
    head = spec.build(dim=D, outputs=L)
    wanted = {name: value + 1 for name, value in weights_of(head).items()}
    set_weights(head, wanted)
    found = weights_of(head)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert all(value.dtype == np.float32 for value in found.values())
    for value in found.values():
        value.fill(99)
    assert all(np.array_equal(weights_of(head)[name], wanted[name]) for name in wanted)


@every_head
def test_set_weights_refuses_other_names(spec: HeadSpec):
    head = spec.build(dim=D, outputs=L)
    weights = weights_of(head)
    first = next(iter(weights))
    missing = {name: value for name, value in weights.items() if name != first}
    for wrong in (missing, weights | {"extra": weights[first]}, missing | {"x": weights[first]}):
        with pytest.raises(ValueError, match=r"^the head trains"):
            set_weights(head, wrong)


@every_head
def test_set_weights_refuses_other_shapes_even_those_that_would_broadcast(spec: HeadSpec):
    head = spec.build(dim=D, outputs=L)
    for name, value in weights_of(head).items():
        for wrong in (value[..., :1, :1] if value.ndim > 1 else value[:1], value[None]):
            if wrong.shape == value.shape:
                continue
            with pytest.raises(ValueError, match=f"^{name} has shape"):
                set_weights(head, weights_of(head) | {name: wrong})


@every_head
def test_every_head_that_is_tested_here_is_one_that_a_study_may_name(spec: HeadSpec):
    assert HEADS.parse({"kind": spec.kind, **spec.model_dump()}) == spec


def test_every_head_that_a_study_may_name_is_tested_here():
    assert {spec.kind for spec in SPECS.values()} == set(HEADS.kinds())
