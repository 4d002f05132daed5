"""The store of chunk vectors: each note is embedded once and kept on the site's disk.

Guarantees:
    - Content-addressed: a note's vectors are filed under a keyed hash (HMAC-SHA256 with a key
      of the site's) of the encoder identity and the text. No text, no patient and no plain
      hash of either is in the file.
    - Atomic and resumable: vectors are written in transactions; a process killed at any moment
      loses at most the batch under way, and the next run embeds only what is missing.
Not guaranteed:
    The vectors are personal data and are not encrypted yet: protect the folder.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from embeddings.chunker import Chunker
from embeddings.encoder import Encoder, Vectors
from privacy.files import connect, make_private

Key = bytes

_SCHEMA = """
CREATE TABLE IF NOT EXISTS note (
    key BLOB PRIMARY KEY,
    chunks INTEGER NOT NULL,
    vectors BLOB NOT NULL
) STRICT;
"""


class VectorStore:
    """Chunk vectors by note, for one encoder identity.

    Args:
        path: SQLite file; made with mode 0600 if missing.
        identity: `embeddings.encoder.identity` of encoder and chunker.
        dim: D, the width of a vector.
        secret: The site's key for hashing.
    """

    def __init__(self, path: Path, *, identity: str, dim: int, secret: bytes) -> None:
        make_private(path)
        self.identity, self.dim, self._secret = identity, dim, secret
        self._database = connect(path)
        self._database.execute("PRAGMA synchronous = NORMAL")  # lost vectors are made again
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def key(self, text: str) -> Key:
        """What a text's vectors are filed under, 32 bytes."""
        return hmac.digest(self._secret, self.identity.encode() + b"\0" + text.encode(), "sha256")

    def __contains__(self, key: Key) -> bool:
        row = self._database.execute(
            "SELECT 1 FROM note WHERE key = ? AND length(vectors) = chunks * ?",
            (key, self.dim * 4),
        ).fetchone()
        return row is not None

    def get(self, key: Key) -> Vectors:
        """A note's chunk vectors, float32, shape (C, D); C may be 0.

        Raises:
            KeyError: The note was never embedded, or its entry is not of this width.
        """
        row = self._database.execute(
            "SELECT chunks, vectors FROM note WHERE key = ?", (key,)
        ).fetchone()
        if row is None or len(row[1]) != row[0] * self.dim * 4:
            raise KeyError(key.hex())
        return np.frombuffer(row[1], dtype="<f4").reshape(row[0], self.dim).astype(np.float32)

    def put(self, entries: Mapping[Key, Vectors]) -> None:
        """Files the vectors of some notes, all or none.

        Raises:
            ValueError: A vector is not finite: one such patient would spoil every weight.
        """
        if not all(np.isfinite(vectors).all() for vectors in entries.values()):
            raise ValueError("the encoder gave a vector that is not finite")
        rows = [
            (key, len(vectors), np.ascontiguousarray(vectors, dtype="<f4").tobytes())
            for key, vectors in entries.items()
        ]
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO note VALUES (?, ?, ?)", rows)


def embed(
    texts: Iterable[str],
    *,
    store: VectorStore,
    encoder: Encoder,
    chunker: Chunker,
    batch: int = 256,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Embeds the texts that the store does not hold.

    Args:
        texts: Streamed; at most `batch` chunks and one text beyond are held at a time.
        store: Filled batch by batch.
        encoder: Of the store's identity.
        chunker: Of the store's identity.
        batch: Chunks encoded and committed at a time.
        progress: Called with the number of texts done since the last call.

    Returns:
        How many texts were embedded.
    """
    waiting: dict[Key, list[str]] = {}
    done = 0

    def flush() -> None:
        nonlocal done
        flat = [chunk for chunks in waiting.values() for chunk in chunks]
        vectors = encoder.encode(flat)
        ends = np.cumsum([len(chunks) for chunks in waiting.values()])[:-1]
        store.put(dict(zip(waiting, np.split(vectors, ends), strict=True)))
        done += len(waiting)
        progress(len(waiting))
        waiting.clear()

    held = 0
    for text in texts:
        key = store.key(text)
        if key in waiting or key in store:
            continue
        waiting[key] = chunker.chunks(text, encoder.spans)
        held += len(waiting[key])
        if held >= batch:
            flush()
            held = 0
    if waiting:
        flush()
    return done
