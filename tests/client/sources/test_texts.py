"""Texts: what is kept on disk for one patient is read for nobody else, and is not in clear."""

from __future__ import annotations

import os

import pytest

from client.sources.texts import Texts
from privacy.errors import SourceBroken

NAME = "Zebulon Quagmire"


def test_texts_are_found_again_by_file_and_row():
    kept = ["first", None, "", "по-русски \u202e\u05e2\u05d1\u05e8\u202c", "x" * 10_000_000]
    with Texts() as texts:
        texts.keep(("n", number, f"p{number}", text) for number, text in enumerate(kept, 1))
        for number in (5, 1, 4, 3, 2, 5):
            assert texts.get("n", number, f"p{number}") == (kept[number - 1] or None)


def test_each_file_has_numbers_of_its_own_and_a_row_of_nobody_keeps_its_number():
    with Texts() as texts:
        texts.keep([("b", 1, "p1", "b1"), ("b", 2, None, NAME), ("b", 3, "p1", "b3")])
        texts.keep([("a", 1, "p1", "a1")])
        found = [texts.get(*place, "p1") for place in (("a", 1), ("b", 3), ("b", 2), ("b", 1))]
        assert found == ["a1", "b3", None, "b1"]
        assert NAME.encode() not in os.pread(texts._sealed._file.fileno(), 1000, 0)
        for place in (("a", 2), ("c", 1)):
            with pytest.raises(SourceBroken, match=f"^{place[0]}: changed while it was read"):
                texts.get(*place, "p1")


@pytest.mark.parametrize("rows", [[2], [1, 3], [1, 1]])
def test_rows_out_of_order_are_of_a_file_that_changed(rows):
    with Texts() as texts, pytest.raises(SourceBroken, match=r"^n: changed while it was read"):
        texts.keep(("n", row, "p1", NAME) for row in rows)


def test_a_text_is_given_only_to_whom_it_was_kept_for():
    with Texts() as texts:
        texts.keep([("n", 1, "p1", NAME), ("n", 2, "p2", "other")])
        with pytest.raises(SourceBroken, match="changed while it was read") as refused:
            texts.get("n", 1, "p2")
    assert NAME not in str(refused.value)


def test_the_disk_has_no_text_and_no_name_for_the_file():
    with Texts() as texts:
        texts.keep([("n", 1, "p1", NAME)])
        assert texts.get("n", 1, "p1") == NAME
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
            texts.keep([("n", 1, "p1", NAME)])
