"""The store: what is on the disk, and that nothing is embedded twice."""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from vector_stores import CHUNKER, IDENTITY, SECRET, Counting, filled, opened, right

from embeddings.hashing import HashingEncoder
from embeddings.store import VectorStore, embed
from privacy.errors import StoreBroken, StoreFull

NAME = "Wilhelmina Featherstonehaugh"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    with opened(tmp_path) as store:
        yield store


# --- The file -------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [0, 1, 5])
def test_vectors_come_back_as_they_were_put(tmp_path: Path, chunks: int):
    vectors = np.random.default_rng(0).normal(size=(chunks, 8)).astype(np.float32)
    with opened(tmp_path) as store:
        key = store.key("a note")
        assert key not in store
        store.put({key: vectors, store.key("another"): vectors + 1})
    with opened(tmp_path) as store:
        assert key in store
        assert store.get(key).dtype == np.float32
        assert store.get(key).shape == (chunks, 8)
        np.testing.assert_array_equal(store.get(key), vectors)
        np.testing.assert_array_equal(store.get(store.key("another")), vectors + 1)


def test_vectors_of_other_layout_are_kept_by_value(store: VectorStore):
    vectors = np.arange(24, dtype=np.float64).reshape(8, 3).T
    store.put({b"k": vectors})
    np.testing.assert_array_equal(store.get(b"k"), vectors.astype(np.float32))


def test_the_file_holds_sealed_little_endian_float32_whatever_the_machine(tmp_path: Path):
    vectors = np.array([[1, -2, 0, 0, 0, 0, 0, 0.5]], ">f4")
    plain = bytes.fromhex("0000803f000000c0" + "00" * 20 + "0000003f")
    with opened(tmp_path) as store:
        store.put({b"k": vectors})
        [row] = store._database.execute("SELECT key, chunks, sealed FROM record").fetchall()
    assert row[:2] == (b"k", 1)
    assert len(row[2]) == 12 + len(plain) + 16
    # Opened here with nothing of ours but the layout.
    key = hmac.digest((tmp_path / "store.key").read_bytes(), b"vectors", "sha256")
    about = b"fedward vectors" + struct.pack("<IIQI", 1, 8, 1, 64) + IDENTITY.encode() + b"k"
    assert AESGCM(key).decrypt(row[2][:12], row[2][12:], about) == plain


def test_what_was_never_embedded_is_a_key_error(store: VectorStore):
    with pytest.raises(KeyError, match=store.key("a note").hex()):
        store.get(store.key("a note"))


@pytest.mark.parametrize("dim", [4, 7, 9, 16])
def test_an_entry_of_another_width_is_damaged(tmp_path: Path, dim: int):
    with opened(tmp_path, dim=8) as store:
        store.put({b"k": np.ones((2, 8), np.float32)})
    with opened(tmp_path, dim=dim) as store:
        assert b"k" not in store
        with pytest.raises(StoreBroken, match="damaged"):
            store.get(b"k")


def test_a_key_is_a_keyed_hash_of_identity_and_text(tmp_path: Path):
    with opened(tmp_path) as store:
        expected = hmac.digest(SECRET, IDENTITY.encode() + b"\0a note", "sha256")
        assert store.key("a note") == expected
        assert len(expected) == 32
        keys = {expected, store.key("a note "), store.key("")}
    with opened(tmp_path, secret=b"t" * 32) as store:
        keys.add(store.key("a note"))
    with opened(tmp_path, identity="e" * 64) as store:
        keys.add(store.key("a note"))
    assert len(keys) == 5


def test_another_secret_or_identity_finds_nothing(tmp_path: Path):
    with opened(tmp_path) as store:
        filled(store, ["a note"])
    for other in ({"secret": b"t" * 32}, {"identity": "e" * 64}):
        with opened(tmp_path, **other) as store:
            assert store.key("a note") not in store
            assert filled(store, ["a note"])[0] == 1


def test_no_text_and_no_plain_hash_of_it_is_on_the_disk(tmp_path: Path):
    text = f"{NAME} was admitted with sepsis."
    store = opened(tmp_path)
    filled(store, [text])
    key = store.key(text)
    content = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))  # the log too
    store.close()
    content += (tmp_path / "vectors.sqlite").read_bytes()
    assert key in content  # what is searched is what is kept
    chunks = CHUNKER.chunks(text, HashingEncoder(8).spans)
    for said in [*text.split(), *chunks, text, SECRET.decode()]:
        assert said.encode() not in content
        assert said.encode("utf-16-le") not in content
    for plain in (text, *chunks, f"{IDENTITY}\0{text}"):
        digest = hashlib.sha256(plain.encode()).digest()
        assert digest not in content
        assert digest.hex().encode() not in content


def test_the_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        with opened(tmp_path / "new" / "folder") as store:
            filled(store, ["a note"])
            made = sorted((tmp_path / "new" / "folder").iterdir())
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    finally:
        os.umask(before)
    assert modes.keys() >= {"store.key", "vectors.sqlite", "vectors.sqlite-wal"}
    assert set(modes.values()) == {0o600}


def test_a_put_that_fails_keeps_nothing_and_the_store_goes_on(store: VectorStore):
    [[pages]] = store._database.execute("PRAGMA page_count").fetchall()
    store._database.execute(f"PRAGMA max_page_count = {pages + 2}")  # a disk that is nearly full
    with pytest.raises(StoreFull, match="the disk of the site's store is full; make room"):
        store.put({b"small": np.ones((1, 8)), b"large": np.ones((9999, 8))})
    assert b"small" not in store
    store.put({b"next": np.ones((1, 8))})
    assert b"next" in store


def test_a_put_that_is_refused_keeps_nothing_and_the_store_goes_on(store: VectorStore):
    store._database.execute(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON record WHEN NEW.key = CAST('bad' AS BLOB)"
        " BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="refused"):
        store.put({b"good": np.ones((1, 8)), b"bad": np.ones((1, 8))})
    assert b"good" not in store
    store.put({b"next": np.ones((1, 8))})
    assert b"next" in store


# --- Embedding ------------------------------------------------------------------------------


def test_a_text_is_embedded_by_its_chunks(store: VectorStore):
    done, encoder = filled(store, ["one two three four five"])
    assert done == 1
    assert encoder.chunks == ["one two", "three four", "five"]
    assert right(store, "one two three four five")


def test_only_what_is_missing_is_embedded(store: VectorStore):
    filled(store, ["a b", "c d"])
    done, encoder = filled(store, ["c d", "e f", "a b"])
    assert done == 1
    assert encoder.chunks == ["e f"]
    assert all(right(store, text) for text in ["a b", "c d", "e f"])


def test_nothing_missing_asks_the_encoder_for_nothing(store: VectorStore):
    filled(store, ["a b"])
    assert filled(store, ["a b"])[1].asked == []
    assert filled(store, [])[1].asked == []


@pytest.mark.parametrize("batch", [1, 2, 256])
def test_a_text_that_comes_twice_is_embedded_once(store: VectorStore, batch: int):
    done, encoder = filled(store, ["a b", "a b", "c d", "a b"], batch=batch)
    assert done == 2
    assert sorted(encoder.chunks) == ["a b", "c d"]


def test_a_text_without_tokens_is_kept_as_no_chunks(store: VectorStore):
    done, encoder = filled(store, ["", "a b", "..."])
    assert done == 3
    assert encoder.chunks == ["a b"]
    assert store.get(store.key("")).shape == (0, 8)
    assert filled(store, ["", "..."])[0] == 0


def test_texts_without_tokens_alone_are_kept_too(store: VectorStore):
    assert filled(store, ["", "..."])[0] == 2
    assert store.get(store.key("...")).shape == (0, 8)


@pytest.mark.parametrize("batch", [1, 3, 7, 256])
def test_at_most_a_batch_of_chunks_and_one_text_is_held(store: VectorStore, batch: int):
    texts = [" ".join(f"w{n}x{k}" for k in range(n % 7)) for n in range(1, 40) for _ in range(2)]
    longest = 3
    done, encoder = filled(store, texts, batch=batch)
    assert done == len(set(texts))
    assert all(len(asked) <= batch - 1 + longest for asked in encoder.asked)
    assert all(len(asked) >= batch for asked in encoder.asked[:-1])
    assert all(right(store, text) for text in texts)


def test_texts_are_read_as_a_stream(store: VectorStore):
    encoder = Counting()

    def stream() -> Iterator[str]:
        for number in range(6):
            assert len(encoder.chunks) == number // 2 * 2  # each two were embedded before more
            yield f"text {number}"

    assert embed(stream(), store=store, encoder=encoder, chunker=CHUNKER, batch=2) == 6


def test_progress_adds_up_to_what_was_embedded(store: VectorStore):
    filled(store, ["a b"])
    said: list[int] = []
    texts = ["a b", "c d", "e f", "g h", ""]
    done = embed(
        texts, store=store, encoder=Counting(), chunker=CHUNKER, batch=2, progress=said.append
    )
    assert (sum(said), done) == (4, 4)
    assert len(said) == 2
