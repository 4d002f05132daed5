"""Start: where a study goes on from, by law, and what it refuses."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import CODES, study_table

from tasks.heads.head import HeadSpec, Weights, set_weights, weights_of
from tasks.heads.kinds import HEADS
from tasks.heads.questions import Questions
from tasks.start import Start
from tasks.study import Study

D, L = 64, len(CODES)
PIN = "a" * 64
RIDGE = {"kind": "ridge", "scale": 12.0}
LINES = [RIDGE, {"kind": "linear", "scale": 7.0}]
QUERY = {"kind": "code-query", "residual": True, "residual_scale": 8.0, "bias": -6.0}
EXACT = [{"kind": "linear", "scale": 3.0}, {"kind": "random-features", "features": 5}]


def study(start: dict[str, Any] | None = None, **changes: Any) -> Study:
    table = study_table(**changes) | ({} if start is None else {"start": start})
    return Study.parse_table(table, where="study")


def earlier(kind: dict[str, Any], seed: int = 0) -> Weights:
    """Weights that such a head may have come to; of a ridge from forty patients' sums."""
    random = np.random.default_rng(seed)
    head = HEADS.parse(kind).build(dim=D, outputs=L)
    if kind["kind"] != "ridge":
        shapes = {name: value.shape for name, value in weights_of(head).items()}
        return {name: random.normal(size=of).astype(np.float32) for name, of in shapes.items()}
    x, y = random.normal(size=(40, D)) / 8, random.integers(0, 2, size=(40, L))
    z = np.hstack([x, np.full((40, 1), 0.3)])
    return {"gram": (z.T @ z / 40).astype("f4"), "cross": (z.T @ y / 40).astype("f4")}


def logits(spec: HeadSpec, weights: Weights, *, seed: int = 1) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.normalize(torch.randn(6, 2, 3, D, generator=random), dim=-1)
    asked = Questions.one_each(torch.nn.functional.normalize(torch.randn(L, D, generator=random)))
    head = spec.build(dim=D, outputs=L, questions=asked)
    set_weights(head, weights)
    chunks = torch.ones(6, 2, 3, dtype=torch.bool)
    chunks[:, 1, 2] = False
    with torch.no_grad():
        found: torch.Tensor = head(x, chunks)
    return found


@pytest.mark.parametrize("of", LINES, ids=lambda of: of["kind"])
@pytest.mark.parametrize("head", EXACT, ids=lambda of: of["kind"])
def test_a_head_that_is_a_line_at_its_start_says_what_the_earlier_one_said(of, head):
    made = study({"weights_sha256": PIN, "head": of}, head=head)
    weights, trained = made.initial(earlier(of)), earlier(of)
    torch.testing.assert_close(
        logits(made.head, weights), logits(HEADS.parse(of), trained), atol=2e-4, rtol=1e-4
    )


@pytest.mark.parametrize("of", LINES, ids=lambda of: of["kind"])
def test_code_query_adds_its_own_start_and_the_earlier_line(of):
    made = study({"weights_sha256": PIN, "head": of}, head=QUERY)
    own = study(head=QUERY).initial()
    kept = {name: value.copy() for name, value in own.items()}
    expected = logits(made.head, own) + logits(HEADS.parse(of), earlier(of))
    found = logits(made.head, made.initial(earlier(of)))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)
    for name, value in kept.items():
        np.testing.assert_array_equal(own[name], value)


@pytest.mark.parametrize("kind", ["linear", "mlp", "code-query", "label-attention"])
def test_the_same_head_goes_on_from_its_plain_weights(kind):
    head = {"kind": kind} | ({"hidden": [4]} if kind == "mlp" else {})
    trained = earlier(head)
    found = study({"weights_sha256": PIN}, head=head).initial(trained)
    assert found.keys() == trained.keys()
    for name, value in trained.items():
        np.testing.assert_array_equal(found[name], value)


def test_what_a_ridge_is_read_with_may_be_another_than_it_was_released_with():
    of = RIDGE | {"scale": 24.0, "middle": 0.0}
    trained = earlier(RIDGE)
    made = study({"weights_sha256": PIN, "head": of}, head=EXACT[0])
    once = study({"weights_sha256": PIN, "head": RIDGE | {"middle": 0.0}}, head=EXACT[0])
    one, other = (logits(each.head, each.initial(trained)) for each in (made, once))
    torch.testing.assert_close(one, 2 * other, atol=2e-4, rtol=1e-4)


def test_sites_read_the_start_and_its_digest_covers_weights_and_head():
    starts = [None, {"weights_sha256": PIN}, {"weights_sha256": "b" * 64}]
    starts += [{"weights_sha256": PIN, "head": of} for of in (*LINES, RIDGE | {"ridge": 0.1})]
    made = [study(start) for start in starts]
    assert len({each.digest for each in made}) == len(starts)
    for each in made:
        again = Study.received(each.canonical())
        assert (again, again.digest) == (each, each.digest)


def test_a_study_that_starts_elsewhere_costs_and_sends_what_it_would_from_its_own_start():
    plain, started = study(), study({"weights_sha256": PIN})
    for one, other in zip(plain.spends(), started.spends(), strict=True):
        assert one.model_copy(update={"study": other.study}) == other
    assert plain.contract().parameters == started.contract().parameters


def test_without_the_weights_there_is_no_start():
    with pytest.raises(ValueError, match=f"SHA-256 {PIN}, which are not here$"):
        study({"weights_sha256": PIN}).initial()


ONCE = {"rounds": 1, "steps": 1, "sample_rate": 1.0, "privacy": {"kind": "off"}}
REFUSED = {
    "pin": ({"weights_sha256": "A" * 64}, {}, "start.weights_sha256"),
    "no pin": ({"head": RIDGE}, {}, "start.weights_sha256"),
    "sums": ({"weights_sha256": PIN}, ONCE | {"head": RIDGE}, "take .start. away"),
    "bent": (
        {"weights_sha256": PIN, "head": {"kind": "mlp"}},
        {},
        "'mlp' is no linear map of the mean vector",
    ),
    "no residual": (
        {"weights_sha256": PIN, "head": RIDGE},
        {"head": {"kind": "code-query"}},
        "'code-query', as it is, cannot start from a linear map",
    ),
    "sees nothing": (
        {"weights_sha256": PIN, "head": RIDGE},
        {"head": {"kind": "linear", "scale": 0.0}},
        "'linear', as it is, cannot start",
    ),
    "mlp": (
        {"weights_sha256": PIN, "head": RIDGE},
        {"head": {"kind": "mlp"}},
        "'mlp', as it is, cannot start",
    ),
}


@pytest.mark.parametrize("which", REFUSED)
def test_a_start_that_cannot_be_is_refused_when_the_study_is_read(which):
    start, changes, said = REFUSED[which]
    with pytest.raises(ValueError, match=said):
        study(start, **changes)


def test_every_head_says_whether_it_is_a_line_and_whether_it_takes_one():
    for name, kind in HEADS.kinds().items():
        made = kind()
        assert made.is_line is (name in {"linear", "ridge"}), name
        assert made.takes_line is (name in {"linear", "random-features"}), name


def wider(weights: Weights) -> Weights:
    return {name: np.pad(value, [(0, 1)] * value.ndim) for name, value in weights.items()}


def infinite(weights: Weights) -> Weights:
    return {name: np.full_like(value, np.inf) for name, value in weights.items()}


def double(weights: Weights) -> Weights:
    return {name: value.astype(np.float64) for name, value in weights.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (wider, r"^they are cross \[66, 9\], gram \[66, 66\], and those of head 'ridge' on 64 "),
        (lambda weights: {"out.bias": weights["cross"]}, r"^they are out.bias \[65, 8\], and"),
        (infinite, "not all finite"),
        (double, "of 32 bits"),
    ],
)
def test_weights_of_another_shape_or_no_numbers_are_refused(change, said):
    start = Start.model_validate({"weights_sha256": PIN, "head": RIDGE})
    of = study().head
    with pytest.raises(ValueError, match=said):
        start.weights(change(earlier(RIDGE)), study().initial(), of=of, dim=D, outputs=L)


def test_the_example_of_the_docs_is_a_start():
    text = (Path(__file__).parents[2] / "docs" / "heads.md").read_text("utf-8")
    [example] = re.findall(r"^```toml\n(\[start\]\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    found = Start.model_validate(tomllib.loads(example)["start"])
    assert study(json.loads(found.canonical())).start == found
    section = text.split("## Where a head starts")[1].split("\n# ")[0]
    assert all(f"`{key}`" in section for key in Start.model_fields)
