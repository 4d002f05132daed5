"""Chunker: every word is read, and nothing is read for nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from embeddings.chunker import Chunker
from embeddings.encoder import identity
from embeddings.hashing import HashingEncoder

spans_of = HashingEncoder(4).spans
texts = st.text(st.sampled_from("ab1é .,\n"), max_size=120)


@st.composite
def chunkers(draw: st.DrawFn) -> Chunker:
    tokens = draw(st.integers(1, 9))
    return Chunker(tokens=tokens, stride=draw(st.integers(1, tokens)))


def placed(text: str, chunker: Chunker) -> list[tuple[int, int, str]]:
    """Each chunk with the numbers of its first and past-last token, by the definition."""
    spans = spans_of(text)
    found = []
    for number, chunk in enumerate(chunker.chunks(text, spans_of)):
        first = number * chunker.stride
        found.append((first, min(first + chunker.tokens, len(spans)), chunk))
    return found


@given(texts, chunkers())
def test_a_chunk_is_the_text_from_its_first_token_to_its_last(text: str, chunker: Chunker):
    spans = spans_of(text)
    for first, past, chunk in placed(text, chunker):
        assert chunk == text[spans[first][0] : spans[past - 1][1]]
        assert chunk in text
        assert 1 <= len(spans_of(chunk)) <= chunker.tokens


@given(texts, chunkers())
def test_every_token_is_in_some_chunk(text: str, chunker: Chunker):
    covered = {token for first, past, _ in placed(text, chunker) for token in range(first, past)}
    assert covered == set(range(len(spans_of(text))))


@given(texts, chunkers())
def test_the_last_chunk_ends_with_the_text_and_none_lies_in_the_one_before(
    text: str, chunker: Chunker
):
    found = placed(text, chunker)
    count = len(spans_of(text))
    assert [past for _, past, _ in found][-1:] == [count][: len(found)]
    assert all(past < count for _, past, _ in found[:-1])
    assert bool(found) is bool(count)


def test_windows_overlap_by_tokens_less_stride():
    assert Chunker(tokens=3, stride=2).chunks("a b, c d. e f", spans_of) == [
        "a b, c",
        "c d. e",
        "e f",
    ]


def test_a_text_as_long_as_a_window_is_one_chunk():
    assert Chunker(tokens=3, stride=1).chunks("- a b c!", spans_of) == ["a b c"]


@pytest.mark.parametrize("text", ["", "  \n", "...", "- !"])
def test_a_text_without_tokens_has_no_chunks(text: str):
    assert Chunker().chunks(text, spans_of) == []


def test_a_stride_longer_than_the_window_is_refused():
    assert Chunker(tokens=8, stride=8).stride == 8
    with pytest.raises(ValidationError, match="stride must be at most tokens"):
        Chunker(tokens=8, stride=9)


@pytest.mark.parametrize("key", ["tokens", "stride"])
def test_an_empty_window_or_step_is_refused(key: str):
    with pytest.raises(ValidationError, match=key):
        Chunker.model_validate({"tokens": 1, "stride": 1} | {key: 0})


def test_the_identity_of_vectors_follows_encoder_and_chunking():
    plain = identity("a" * 64, Chunker())
    assert plain == identity("a" * 64, Chunker(tokens=96, stride=72))
    others = {
        identity("b" * 64, Chunker()),
        identity("a" * 64, Chunker(tokens=97)),
        identity("a" * 64, Chunker(stride=71)),
    }
    assert len(others | {plain}) == 4
