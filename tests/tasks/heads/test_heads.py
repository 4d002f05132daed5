"""The laws that every head keeps, and five numbers of each."""

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
from torch import Tensor

from tasks.bags import PatientBag, collate
from tasks.heads.code_query import CodeQuery, CodeQueryHead
from tasks.heads.head import Head, HeadSpec, mean_chunk, set_weights, weights_of
from tasks.heads.kinds import HEADS
from tasks.heads.label_attention import LabelAttention, LabelAttentionHead
from tasks.heads.linear import Linear, LinearHead
from tasks.heads.mlp import Mlp, MlpHead
from tasks.heads.questions import Questions
from tasks.heads.random_features import RandomFeatures, drawn
from tasks.heads.ridge import Ridge

D, L = 4, 3
SPECS = {
    "linear": Linear(scale=2.0, bias=-1.0),
    "mlp": Mlp(hidden=(5, 3), scale=2.0, bias=-1.0),
    "code-query": CodeQuery(sharpness=3.0, scale=4.0, bias=-1.0, terms="none"),
    "code-query-residual": CodeQuery(
        sharpness=3.0, scale=4.0, bias=-1.0, terms="none", residual=True, residual_scale=2.0
    ),
    "code-query-mean": CodeQuery(sharpness=3.0, scale=4.0, bias=-1.0, terms="mean"),
    "code-query-each": CodeQuery(sharpness=3.0, scale=4.0, bias=-1.0, terms="each"),
    "code-query-pooled": CodeQuery(scale=4.0, bias=-1.0, pool="mean", residual=True),
    "label-attention": LabelAttention(sharpness=3.0, scale=4.0, rate=2.0, bias=-1.0),
    "label-attention-random": LabelAttention(start_from="random", rate=2.0, bias=-1.0),
    "random-features": RandomFeatures(features=5, scale=2.0, bent_scale=3.0, bias=-1.0),
    "ridge": Ridge(ridge=0.1, scale=4.0, middle=0.25),
}
every_head = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
seeds = st.integers(0, 2**32 - 1)


def questions(outputs: int = L) -> Tensor:
    return torch.arange(outputs * D, dtype=torch.float32).reshape(outputs, D).sin()


def asked() -> Questions:
    """Two terms of output 0, one of output 1 and three of output 2."""
    more = torch.arange(3 * D, dtype=torch.float32).reshape(3, D).cos()
    first = questions()
    vectors = torch.stack([first[0], more[0], first[1], first[2], more[1], more[2]])
    return Questions(vectors, torch.tensor([0, 0, 1, 2, 2, 2]), L)


def trained(spec: HeadSpec, *, seed: int | None = None) -> Head:
    """A head in float64 with weights that are nowhere zero: waves, or random."""
    head = spec.build(dim=D, outputs=L, questions=asked())
    generator = np.random.default_rng(seed)
    with torch.no_grad():
        for value in head.parameters():
            waves = np.cos(np.arange(value.numel())) * 0.5
            numbers = waves if seed is None else generator.normal(size=value.numel())
            value.copy_(torch.from_numpy(numbers.reshape(value.shape)))
    return head.double()


def tiny() -> tuple[Tensor, Tensor]:
    """Two patients of two stays of three chunks; patient 0 has a short stay, 1 a padded one."""
    x = torch.arange(2 * 2 * 3 * D, dtype=torch.float64).reshape(2, 2, 3, D).mul(0.7).sin()
    chunks = torch.tensor(
        [[[True, True, True], [True, False, False]], [[True, True, False], [False] * 3]]
    )
    return x * chunks.unsqueeze(-1), chunks


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """(x, chunks, stays) in float64 as `collate` makes them, of at least one patient."""
    generator = np.random.default_rng(draw(seeds))
    shapes = draw(
        st.lists(
            st.lists(st.integers(1, 4), min_size=1, max_size=3),
            min_size=1,
            max_size=3,
        )
    )
    bags = [
        PatientBag(
            tuple(generator.normal(size=(c, D)).astype(np.float32) for c in stays),
            tuple(() for _ in stays),
        )
        for stays in shapes
    ]
    batch = collate(bags, dim=D, outputs=L)
    return batch.x.double(), batch.chunks, batch.stays


def padded(x: Tensor, chunks: Tensor, by: tuple[int, int, int], *, filling: float) -> Any:
    """The batch with more patients, stays and chunks, none of them real."""
    p, s, c = (old + new for old, new in zip(x.shape, by, strict=False))
    wide = torch.full((p, s, c, D), filling, dtype=x.dtype)
    wide[: x.shape[0], : x.shape[1], : x.shape[2]] = x
    mask = torch.zeros(p, s, c, dtype=torch.bool)
    mask[: x.shape[0], : x.shape[1], : x.shape[2]] = chunks
    return wide, mask


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
