"""Texts: what is kept on disk for one patient is read for nobody else, and is not in clear."""

from __future__ import annotations

import os

import pytest

from client.sources.texts import Texts
from privacy.errors import SourceBroken

NAME = "Zebulon Quagmire"


def test_texts_are_found_again_by_number():
    kept = ["first", None, "", "по-русски \u202e\u05e2\u05d1\u05e8\u202c", "x" * 10_000_000]
    with Texts() as texts:
        for number, text in enumerate(kept):
            texts.keep(text, f"p{number}")
        for number in (4, 0, 3, 2, 1, 4):
            assert texts.get(number + 1, f"p{number}") == (kept[number] or None)


def test_a_text_is_given_only_to_whom_it_was_kept_for():
    with Texts() as texts:
        texts.keep(NAME, "p1")
        texts.keep("other", "p2")
        with pytest.raises(SourceBroken, match="changed while it was read") as refused:
            texts.get(1, "p2")
    assert NAME not in str(refused.value)


def test_the_disk_has_no_text_and_no_name_for_the_file():
    with Texts() as texts:
        texts.keep(NAME, "p1")
        assert texts.get(1, "p1") == NAME
        held = os.pread(texts._sealed._file.fileno(), 1000, 0)
        assert os.fstat(texts._sealed._file.fileno()).st_nlink == 0
    assert len(held) == len(NAME) + 16
    assert NAME.encode() not in held


def test_a_full_disk_is_said(monkeypatch):
    with Texts() as texts:

        class Full:
            def write(self, data: bytes) -> int:
                raise OSError(28, "No space left on device")

            def close(self) -> None:
                pass

        texts._sealed._file.close()
        monkeypatch.setattr(texts._sealed, "_file", Full())
        with pytest.raises(SourceBroken, match=r"no room for the notes in .*; point TMPDIR"):
            texts.keep(NAME, "p1")
