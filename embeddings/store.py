"""The store of chunk vectors: each note is embedded once and kept, sealed, on the site's disk.

Guarantees:
    - Content-addressed: a note's vectors are filed under a keyed hash (HMAC-SHA256 with a key
      of the site's) of the encoder identity and the text. No text, no patient and no plain
      hash of either is in the file.
    - Sealed: vectors are encrypted and authenticated (`embeddings.sealing`) under a key of the
      store's own. A flipped bit, or a record in another's place, is found before it is used.
    - Owned: which study and which patient (by keyed hash) a note is kept for stands beside it,
      so that it can be purged (`embeddings.erasure`).
    - Atomic and resumable: vectors are written in transactions; a process killed at any moment
      loses at most the batch under way, and the next run embeds only what is missing.
    - Bounded: nothing is written that would take the files beyond the quota.
Not guaranteed:
    What can be seen without a key: how many notes, chunks, patients and studies there are, and
    which notes belong to one patient. Whoever has the disk and both key files reads everything.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from embeddings.chunker import Chunker
from embeddings.encoder import Encoder, Vectors
from embeddings.sealing import Seal
from embeddings.store_file import explained, in_use, open_database, open_key, size
from privacy.errors import StoreBroken, StoreFull
from privacy.files import WAIT_SECONDS

Key = bytes

NOBODY = b""
"""The patient of what is no patient's: the questions of a study."""

PAGE_BYTES = 4096


class VectorStore:
    """Chunk vectors by note, for one encoder identity.

    While it is open no purge goes on; while a purge goes on it does not open.

    Args:
        path: SQLite file; made with mode 0600 if missing.
        key_file: File of the store's own key; made with mode 0600 where the store is empty.
        identity: `embeddings.encoder.identity` of encoder and chunker.
        dim: D, the width of a vector.
        secret: The site's key for hashing.
        quota: Most bytes that the files may take; None for no limit.
        wait: Seconds to wait for a purge to end.

    Raises:
        KeyBroken: The key file is open to others or damaged.
        StoreBroken: The key is lost or another one, the file is damaged, or a purge goes on.
    """

    def __init__(
        self,
        path: Path,
        *,
        key_file: Path,
        identity: str,
        dim: int,
        secret: bytes,
        quota: int | None = None,
        wait: float = WAIT_SECONDS,
    ) -> None:
        self.path, self.identity, self.dim = path, identity, dim
        self._secret, self._quota = secret, quota
        with ExitStack() as held:
            held.enter_context(in_use(path, wait=wait))
            self._database = open_database(path)
            held.callback(self._database.close)
            with explained():
                key = open_key(self._database, key_file)
            self._seal = Seal(key, identity=identity, dim=dim)
            self._held = held.pop_all()

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
        self._held.close()

    def key(self, text: str) -> Key:
        """What a text's vectors are filed under, 32 bytes."""
        return hmac.digest(self._secret, self.identity.encode() + b"\0" + text.encode(), "sha256")

    def __contains__(self, key: Key) -> bool:
        """Whether the note is here and whole: it is opened to see. A damaged one is to be
        embedded again.
        """
        row = self._row(key)
        return row is not None and self._opened(key, row) is not None

    def get(self, key: Key) -> Vectors:
        """A note's chunk vectors, float32, shape (C, D); C may be 0.

        Raises:
            KeyError: The note was never embedded.
            StoreBroken: Its record is not what was sealed.
        """
        row = self._row(key)
        if row is None:
            raise KeyError(key.hex())
        vectors = self._opened(key, row)
        if vectors is None:
            raise StoreBroken(
                "a note's vectors are damaged on the site's disk; prepare the study again, which "
                "embeds that note anew, and have the disk looked at"
            )
        return vectors

    def put(self, entries: Mapping[Key, Vectors]) -> None:
        """Files the vectors of some notes, all or none, in the place of what was there.

        A note that nobody owns (`own`) goes with the next purge, whatever that is of.

        Raises:
            ValueError: A vector is not finite: one such patient would spoil every weight.
            StoreFull: The quota or the disk has no room; nothing was written.
        """
        if not all(np.isfinite(vectors).all() for vectors in entries.values()):
            raise ValueError("the encoder gave a vector that is not finite")
        rows = [
            (key, len(vectors), self._seal.seal(key, vectors)) for key, vectors in entries.items()
        ]
        need = sum(len(sealed) + PAGE_BYTES for _, _, sealed in rows)
        with explained(), self._database:
            self._begin(need=need)
            self._database.executemany(
                "DELETE FROM record WHERE key = ?", [(key,) for key, _, _ in rows]
            )
            self._database.executemany(
                "INSERT INTO record (key, chunks, sealed) VALUES (?, ?, ?)", rows
            )

    def own(self, notes: Iterable[tuple[Key, bytes]], *, study: str) -> None:
        """Says for whom notes are kept, all or none. To be said before they are put.

        Args:
            notes: Each note's key, with the keyed hash of a patient or NOBODY.
            study: Digest in hex.

        Raises:
            StoreFull: The quota or the disk has no room; nothing was written.
        """
        of = bytes.fromhex(study)
        rows = [
            (note, patient, of, tag(self._secret, note, patient, of)) for note, patient in notes
        ]
        with explained():
            # The unchanged rows of a study that is prepared again cost a look, no room.
            new = [row for row in rows if not self._owned(row)]
            if not new:
                return
            with self._database:
                # Keys are random: each row may touch a page of the index, of those there are.
                touched = min(len(new) * PAGE_BYTES, size(self.path))
                self._begin(need=touched // 2 + 512 * len(new))
                self._database.executemany(
                    "INSERT INTO owner SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM owner"
                    " WHERE note = ?1 AND patient = ?2 AND study = ?3 AND tag = ?4)",
                    new,
                )

    def _row(self, key: Key) -> tuple[object, object] | None:
        with explained():
            row: tuple[object, object] | None = self._database.execute(
                "SELECT chunks, sealed FROM record WHERE key = ? ORDER BY id DESC LIMIT 1", (key,)
            ).fetchone()
        return row

    def _opened(self, key: Key, row: tuple[object, object]) -> Vectors | None:
        chunks, sealed = row
        if not (isinstance(chunks, int) and isinstance(sealed, bytes)):
            return None  # a flipped bit can change what type a column is
        return self._seal.open(key, chunks, sealed)

    def _owned(self, row: tuple[bytes, bytes, bytes, bytes]) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM owner WHERE note = ? AND patient = ? AND study = ? AND tag = ?", row
        ).fetchone()
        return found is not None

    def _begin(self, *, need: int) -> None:
        """Begins to write, if so many bytes have room.

        Raises:
            StoreFull: They have not; nothing is begun.
        """
        self._database.execute("BEGIN IMMEDIATE")
        if self._has_room(need):
            return
        # The log may be long only because nobody has emptied it.
        self._database.execute("ROLLBACK")
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._database.execute("BEGIN IMMEDIATE")
        if not self._has_room(need):
            self._database.execute("ROLLBACK")
            raise StoreFull(
                f"the site's embedding store takes {size(self.path) / 1e9:.3g} GB and its quota "
                f"(quota_gb in site.toml) is {(self._quota or 0) / 1e9:.3g} GB; raise the quota, "
                "or purge a study that is done. What is embedded already is kept"
            )

    def _has_room(self, need: int) -> bool:
        # Twice: what is written stands in the log and, later, in the file. The log gets whole
        # pages, those above the rows in the trees too.
        need = 2 * need + 16 * PAGE_BYTES
        return self._quota is None or size(self.path) + need <= self._quota


def tag(secret: bytes, note: bytes, patient: bytes, study: bytes) -> bytes:
    """Authenticates who owns a note: a flipped bit there would let a purge pass a record by."""
    sizes = bytes((len(note), len(patient), len(study)))
    return hmac.digest(secret, b"owner" + sizes + note + patient + study, "sha256")[:16]


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
