"""What each head computes: its docstring's formula, and five numbers of each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from some_heads import SPECS, D, L, asked, questions, seeds, tiny, trained

from tasks.heads.code_query import CodeQuery, CodeQueryHead
from tasks.heads.head import mean_chunk, set_weights, weights_of
from tasks.heads.label_attention import LabelAttention, LabelAttentionHead
from tasks.heads.linear import LinearHead
from tasks.heads.mlp import MlpHead
from tasks.heads.questions import Questions
from tasks.heads.random_features import RandomFeatures, drawn

GOLDEN = {
    "linear": [
        0.063443,
        0.8291205,
        -0.50225,
        2.5504098,
        -1.2130228,
        -0.3195488,
        0.1865436,
        0.5782843,
        -0.2974355,
    ],
    "mlp": [
        1.0048388,
        -0.2645598,
        0.3458075,
        1.2553798,
        -0.5102886,
        0.5818057,
        1.0262572,
        -0.2845924,
        0.3640533,
    ],
    "code-query": [
        6.2800692,
        3.8148655,
        -1.4074442,
        2.7609178,
        4.6451365,
        -2.3825282,
        6.6053583,
        2.5956493,
        -1.4780294,
    ],
    "code-query-residual": [
        5.8435122,
        4.3738348,
        -1.7016207,
        4.8113276,
        3.1619625,
        -2.4940036,
        6.2919019,
        2.9037824,
        -1.5673915,
    ],
    "code-query-mean": [
        5.9734834,
        3.2385412,
        -1.9986479,
        3.5399427,
        4.0751785,
        -0.7972611,
        5.3973466,
        2.5855775,
        -1.2914276,
    ],
    "code-query-each": [
        6.079859,
        3.8148655,
        -1.4849884,
        3.9952252,
        4.6451365,
        -0.2793573,
        6.1867772,
        2.5956493,
        -1.0343681,
    ],
    "code-query-pooled": [
        5.1260063,
        2.6445801,
        -2.3581594,
        4.5651476,
        3.3335915,
        -0.8529988,
        5.077664,
        2.6308701,
        -2.2737879,
    ],
    "label-attention": [
        2.2491898,
        4.4429475,
        6.0591819,
        6.334002,
        -5.2508625,
        2.9441031,
        5.6023203,
        5.1244457,
        3.327489,
    ],
    "label-attention-random": [
        1.6830543,
        2.0108999,
        0.3694839,
        2.5504098,
        -1.2130228,
        -0.3195488,
        0.8305911,
        0.8512533,
        1.1948259,
    ],
    "ridge": [
        1.9188562,
        2.3349691,
        -0.3150734,
        4.6126372,
        4.5989094,
        -0.56243,
        1.6534925,
        2.0400581,
        -0.3683919,
    ],
    "random-features": [
        -0.2788467,
        0.8364838,
        -0.4612323,
        3.0736635,
        -2.3749568,
        2.0383389,
        -0.1265388,
        0.7678071,
        -0.4883936,
    ],
}


@pytest.mark.parametrize("name", SPECS)
def test_golden_logits(name: str):
    x, chunks = tiny()
    logits = trained(SPECS[name])(x, chunks)
    found = torch.cat([logits[0, 0], logits[0, 1], logits[1, 0]])
    np.testing.assert_allclose(found.detach().numpy(), GOLDEN[name], atol=1e-6)


def test_mean_chunk_is_over_real_chunks_and_zero_without_any():
    x, chunks = tiny()
    found = jaxtyped(mean_chunk, typechecker=beartype)(x, chunks)
    torch.testing.assert_close(found[0, 0], x[0, 0].sum(0) / 3)
    torch.testing.assert_close(found[0, 1], x[0, 1, 0])
    torch.testing.assert_close(found[1, 0], (x[1, 0, 0] + x[1, 0, 1]) / 2)
    assert not found[1, 1].any()


def test_linear_is_a_map_of_the_mean_vector():
    x, chunks = tiny()
    head = trained(SPECS["linear"])
    assert isinstance(head, LinearHead)
    expected = mean_chunk(x, chunks) * 2.0 @ head.out.weight.T + head.out.bias
    torch.testing.assert_close(head(x, chunks), expected)


def test_mlp_is_relu_between_its_maps():
    x, chunks = tiny()
    head = trained(SPECS["mlp"])
    assert isinstance(head, MlpHead)
    assert [tuple(layer.weight.shape) for layer in head.hidden] == [(5, D), (3, 5)]
    h = (mean_chunk(x, chunks) * 2.0).detach().numpy()
    for layer in head.hidden:
        h = np.maximum(h @ layer.weight.detach().numpy().T + layer.bias.detach().numpy(), 0)
    expected = h @ head.out.weight.detach().numpy().T + head.out.bias.detach().numpy()
    np.testing.assert_allclose(head(x, chunks).detach().numpy(), expected, atol=1e-12)


QUERIES = [name for name in SPECS if name.startswith("code-query")]


def read_by(spec: CodeQuery) -> list[Any]:
    """For each output the question vectors that a head reads."""
    known = [asked().vectors[asked().of == k].double().numpy() for k in range(L)]
    if spec.terms == "each":
        return known
    if spec.terms == "none":
        return [own[:1] for own in known]
    means = [own.mean(0) for own in known]
    return [mean[None] / np.linalg.norm(mean) for mean in means]


@pytest.mark.parametrize("name", QUERIES)
@given(seed=seeds)
@settings(deadline=None, max_examples=15)
def test_code_query_is_the_formula_of_its_docstring(name: str, seed: int):
    spec = SPECS[name]
    assert isinstance(spec, CodeQuery)
    x, chunks = tiny()
    head = trained(spec, seed=seed)
    assert isinstance(head, CodeQueryHead)
    w, b = (part.weight.detach().numpy() for part in (head.score, head.bias))
    u = np.zeros_like(w) if head.pick is None else head.pick.weight.detach().numpy()
    assert (head.pick is None) is (spec.pool == "mean")
    v = read_by(spec)
    found = head(x, chunks).detach().numpy()
    for p, s in [(0, 0), (0, 1), (1, 0)]:
        real = [x[p, s, c].numpy() for c in range(3) if chunks[p, s, c]]
        for k in range(L):
            q = [spec.sharpness * float((u @ h) @ term) for h in real for term in v[k]]
            z = [spec.scale * float((w @ h) @ term) for h in real for term in v[k]]
            most = max(q)
            total = sum(math.exp(each - most) for each in q)
            logit = sum(math.exp(a - most) / total * c for a, c in zip(q, z, strict=True))
            logit += spec.bias_scale * float(b[k, 0])
            if spec.residual:
                assert head.residual is not None
                mean = sum(real) / len(real)
                row = head.residual.weight.detach().numpy()[k]
                logit += float(row @ (mean * spec.residual_scale))
            # The mean of the terms is taken in single precision.
            assert found[p, s, k] == pytest.approx(logit, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["label-attention", "label-attention-random"])
def test_label_attention_is_the_formula_of_its_docstring(name: str):
    spec = SPECS[name]
    assert isinstance(spec, LabelAttention)
    x, chunks = tiny()
    head = trained(spec, seed=3)
    assert isinstance(head, LabelAttentionHead)
    a, b = (part.weight.detach().numpy() * spec.rate for part in (head.pick, head.score))
    if spec.start_from == "titles":
        titles = np.concatenate(read_by(CodeQuery(terms="mean")))
        a, b = a + spec.sharpness * titles, b + spec.scale * titles
    found = head(x, chunks).detach().numpy()
    for p, s in [(0, 0), (0, 1), (1, 0)]:
        real = x[p, s][chunks[p, s]].numpy()
        weights = np.exp(real @ a.T)
        expected = (weights / weights.sum(0) * (real @ b.T)).sum(0) + head.score.bias.tolist()
        np.testing.assert_allclose(found[p, s], expected, rtol=1e-5, atol=1e-5)


def test_random_features_are_the_formula_of_their_docstring():
    spec = SPECS["random-features"]
    assert isinstance(spec, RandomFeatures)
    x, chunks = tiny()
    head = trained(spec)
    directions, offsets = drawn(spec.seed, D, spec.features)
    assert directions.shape == (D, 5)
    mean = mean_chunk(x, chunks)
    risen = (mean @ directions.double() + offsets.double() * 0.5).clamp(min=0) - 0.4
    bent = risen * 3.0 / 5**0.5
    weight, bias = head.out.weight, head.out.bias
    expected = mean * 2.0 @ weight[:, :D].T + bent @ weight[:, D:].T + bias
    torch.testing.assert_close(head(x, chunks), expected)


DRAWN = [1.231667, 1.126851]


def test_random_features_are_drawn_from_the_studys_seed_alone():
    directions, offsets = drawn(7, 384, 1024)
    assert abs(directions.mean().item()) < 0.01
    assert directions.std().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(drawn.__wrapped__(7, 384, 1024)[1], offsets)
    assert not torch.equal(drawn(8, 384, 1024)[1], offsets)
    np.testing.assert_allclose(drawn(0, 2, 1)[0][:, 0], DRAWN, atol=1e-6)


def test_a_question_has_a_place_and_its_terms_a_mean_of_unit_length():
    grouped = Questions.grouped([torch.eye(3)[:2] * 5, torch.eye(3)[2:] * 0.1])
    assert (grouped.outputs, grouped.of.tolist()) == (2, [0, 0, 1])
    torch.testing.assert_close(grouped.vectors, torch.eye(3))
    torch.testing.assert_close(grouped.first().vectors, torch.eye(3)[[0, 2]])
    half = 0.5**0.5
    torch.testing.assert_close(grouped.mean().vectors, torch.tensor([[half, half, 0], [0, 0, 1.0]]))
    with pytest.raises(ValueError, match=r"^an output has no question$"):
        Questions.grouped([torch.eye(3), torch.zeros(0, 3)])


def test_terms_far_from_the_chunk_change_nothing_where_each_asks_for_itself():
    spec = CodeQuery(sharpness=1000.0, terms="each")
    here, away = torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[-1.0, 0, 0, 0]])
    x, chunks = here.reshape(1, 1, 1, D), torch.ones(1, 1, 1, dtype=torch.bool)
    found = []
    for groups in ([here], [torch.cat([here, away])]):
        head = spec.build(dim=D, outputs=1, questions=Questions.grouped(groups))
        set_weights(head, spec.initial(dim=D, outputs=1, generator=torch.Generator()))
        found.append(head(x, chunks))
    torch.testing.assert_close(found[0], found[1])


def ordered(order: list[int]) -> Questions:
    """The outputs' terms with the outputs in another order."""
    known = asked()
    groups = [known.vectors[known.of == number] for number in order]
    numbers = [number for number, group in enumerate(groups) for _ in group]
    return Questions(torch.cat(groups), torch.tensor(numbers), L)


@pytest.mark.parametrize("name", QUERIES)
@given(order=st.permutations(range(L)), seed=seeds)
@settings(deadline=None, max_examples=25)
def test_permuting_the_codes_permutes_the_logits(name: str, order: list[int], seed: int):
    x, chunks = tiny()
    head = trained(SPECS[name], seed=seed)
    other = SPECS[name].build(dim=D, outputs=L, questions=ordered(order)).double()
    weights = head.state_dict()
    for key in weights.keys() & {"bias.weight", "residual.weight"}:
        weights[key] = weights[key][order]
    other.load_state_dict(weights)
    torch.testing.assert_close(other(x, chunks), head(x, chunks)[..., order])


def test_code_query_knows_an_untrained_code_by_its_question():
    spec = CodeQuery(scale=30.0, bias=-11.0)
    known = torch.nn.functional.normalize(questions(), dim=1)
    head = spec.build(dim=D, outputs=L, questions=Questions.one_each(known))
    set_weights(head, spec.initial(dim=D, outputs=L, generator=torch.Generator()))
    chunks = torch.ones(1, L, 1, dtype=torch.bool)
    logits = head(known.reshape(1, L, 1, D), chunks)[0]  # stay l reads like question l
    assert logits.argmax(1).tolist() == list(range(L))
    torch.testing.assert_close(logits.diagonal(), torch.full((L,), 30.0 - 11.0))


@pytest.mark.parametrize("shape", [(L, D + 1), (L + 1, D), (D, L), (1, L, D)])
def test_questions_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"^questions must have shape \(3, 4\)$"):
        CodeQuery().build(dim=D, outputs=L, questions=Questions.one_each(torch.zeros(shape)))


def test_questions_are_frozen_and_never_among_the_weights():
    head = CodeQuery(residual=True).build(dim=D, outputs=L, questions=asked())
    assert set(weights_of(head)) == {
        "pick.weight",
        "score.weight",
        "bias.weight",
        "residual.weight",
    }
    assert "questions" not in head.state_dict()
