"""The same question gets the same release, of which nothing is lost; any other gets none."""

from __future__ import annotations

import hashlib
import os
import pickle
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from forks import Forks
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import NO_CEILING, A, B, equal, open_ledger, spend, sql

from privacy import files
from privacy.errors import SiteError
from privacy.ledger import Ledger, Receipt
from privacy.release import Release, ReleaseHeader, RequestHeader, Tally
from privacy.releases import KEPT_ROUNDS, Releases, question

CODE, ENCODER = "c" * 64, "e" * 64
ASKED = "f" * 64


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def ledger(folder) -> Ledger:
    return open_ledger(folder)


@pytest.fixture
def releases(folder) -> Releases:
    return Releases(folder / "releases.sqlite")


def release(
    *,
    study: str = A,
    round: int = 1,
    update: dict[str, np.ndarray] | None = None,
    tallies: tuple[Tally, ...] = (),
    receipt: Receipt | None = None,
    tally_receipt: Receipt | None = None,
) -> Release:
    charged = {} if receipt is None else receipt.spend.model_dump(exclude={"study", "round"})
    header = ReleaseHeader(
        study=study,
        round=round,
        site="ash",
        code=CODE,
        encoder=ENCODER,
        declared_patients=40,
        patients={tally.name: tally.patients for tally in tallies},
        receipt=None if receipt is None else receipt.id,
        tally_receipt=None if tally_receipt is None else tally_receipt.id,
        tally_noise=None if tally_receipt is None else tally_receipt.spend.noise_multiplier,
        **charged,
    )
    return Release(header, update or {}, tallies, receipt, tally_receipt)


# Questions


def header(**changes: object) -> RequestHeader:
    table = {"study": "{}", "round": 1, "code": CODE, "encoder": ENCODER}
    return RequestHeader.model_validate(table | changes)


WEIGHTS = {"bias": np.zeros(3, np.float32), "weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


def test_a_question_is_the_same_however_its_weights_lie_in_memory():
    first = question("train", header(), WEIGHTS)
    again = {name: np.asfortranarray(WEIGHTS[name]) for name in reversed(WEIGHTS)}
    assert question("train", header(), again) == first
    strided = np.zeros((2, 6), np.float32)
    strided[:, ::2] = WEIGHTS["weight"]
    assert question("train", header(), WEIGHTS | {"weight": strided[:, ::2]}) == first
    assert (
        question("train", header(), WEIGHTS | {"weight": WEIGHTS["weight"].astype(">f4")}) == first
    )
    assert len(bytes.fromhex(first)) == 32


def test_anything_else_that_is_asked_is_another_question():
    one_bit = WEIGHTS["weight"].copy()
    one_bit.view(np.int32)[1, 2] ^= 1
    minus_zero = WEIGHTS["bias"] * np.float32(-1)
    questions = [
        question(kind, head, weights)
        for kind, head, weights in [
            ("train", header(), WEIGHTS),
            ("evaluate", header(), WEIGHTS),
            ("train", header(round=2), WEIGHTS),
            ("train", header(study='{"name": "other"}'), WEIGHTS),
            ("train", header(code="d" * 64), WEIGHTS),
            ("train", header(encoder="d" * 64), WEIGHTS),
            ("train", header(encoder=None), WEIGHTS),
            ("train", header(), WEIGHTS | {"weight": one_bit}),
            ("train", header(), WEIGHTS | {"bias": minus_zero}),
            ("train", header(), WEIGHTS | {"weight": WEIGHTS["weight"].reshape(3, 2)}),
            ("train", header(), WEIGHTS | {"more": np.zeros(0, np.float32)}),
            ("train", header(), WEIGHTS | {"more": np.zeros(1, np.float32)}),
            ("train", header(), WEIGHTS | {"more": np.zeros((), np.float32)}),
            ("train", header(), {"bias": WEIGHTS["bias"]}),
            ("train", header(), {"biases": WEIGHTS["bias"], "weight": WEIGHTS["weight"]}),
            ("train", header(), {}),
        ]
    ]
    assert len(set(questions)) == len(questions)


# Keeping


def test_the_same_question_gets_the_same_release_and_the_ledger_does_not_grow(
    releases, ledger, folder
):
    receipt = ledger.reserve(spend(), lifetime=NO_CEILING)
    made = release(update=WEIGHTS, receipt=receipt)
    releases.put(ASKED, made, memory={})
    for _ in range(3):
        again = Releases(folder / "releases.sqlite").get(ASKED, ledger=open_ledger(folder))
        assert equal(again, made)
    assert releases.get("0" * 64, ledger=ledger) is None
    assert len(ledger.entries()) == 1


def test_every_dtype_shape_order_and_receipt_comes_back(releases, ledger):
    for _ in range(3):  # the third attempt
        receipt = ledger.reserve(spend(0.7, rate=0.1), lifetime=NO_CEILING)
    counted = ledger.reserve(spend(20, steps=1), lifetime=NO_CEILING, cohort="heldout")
    made = release(
        update={
            "z": np.array([[1.5, -0.0], [np.float32(1e-45), 3e38]], np.float32),
            "scale": np.array(0.25, np.float32),
            "nobody": np.zeros((0, 4), np.float32),
            "a.fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
            "strided": np.arange(12, dtype=np.float32).reshape(3, 4)[:, 1::2],
        },
        tallies=(
            Tally("tune/z", np.array([2**60, 0, 7], np.int64), 12),
            Tally("heldout/a", np.array([[0.1, -5.25]]), 0),
            Tally("b", np.zeros((0,)), 3),
        ),
        receipt=receipt,
        tally_receipt=counted,
    )
    releases.put(ASKED, made, memory={})
    again = releases.get(ASKED, ledger=ledger)
    assert equal(again, made)
    assert again.receipt.attempt == 3


def test_a_release_of_nothing_comes_back(releases, ledger):
    releases.put(ASKED, release(), memory={})
    assert equal(releases.get(ASKED, ledger=ledger), release())


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=20),
        st.lists(st.floats(width=32, allow_nan=True), max_size=9),
        max_size=4,
    ),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9),
)
def test_whatever_was_released_comes_back(tmp_path_factory, update, counts):
    folder = tmp_path_factory.mktemp("site")
    made = release(
        update={name: np.array(values, np.float32) for name, values in update.items()},
        tallies=(Tally("counts", np.array(counts, np.int64), 5),),
    )
    releases = Releases(folder / "releases.sqlite")
    releases.put(ASKED, made, memory={})
    assert equal(releases.get(ASKED, ledger=open_ledger(folder)), made)


@pytest.mark.parametrize("which", ["receipt", "tally_receipt"])
@pytest.mark.parametrize(
    "change", [{"id": 9}, {"cohort": "heldout"}, {"spend": spend(round=2)}], ids=str
)
def test_a_release_that_the_ledger_was_not_charged_for_is_not_given(
    releases, ledger, which, change
):
    receipt = ledger.reserve(spend(), lifetime=NO_CEILING)
    table = {"id": receipt.id, "spend": receipt.spend, "cohort": receipt.cohort} | change
    releases.put(ASKED, release(**{which: Receipt(**table)}), memory={})
    assert releases.get(ASKED, ledger=ledger) is None
    releases.put(ASKED, release(**{which: receipt}), memory={})
    assert releases.get(ASKED, ledger=ledger) is not None


def test_damage_counts_as_missing_wherever_it_is(releases, ledger):
    made = release(update=WEIGHTS, tallies=(Tally("t", np.arange(3), 3),))
    releases.put(ASKED, made, memory={})
    ((content,),) = sql(releases.path, "SELECT content FROM release")
    for place in range(len(content)):
        damaged = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        if place % 40 == 0:
            sql(releases.path, ("UPDATE release SET content = ?", (damaged,)))
            assert releases.get(ASKED, ledger=ledger) is None
    sql(releases.path, ("UPDATE release SET content = ?", (content[:-1],)))
    assert releases.get(ASKED, ledger=ledger) is None
    releases.put(ASKED, made, memory={})  # and it is made again
    assert equal(releases.get(ASKED, ledger=ledger), made)


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (os._exit, (3,))


@pytest.mark.parametrize(
    "content", [pickle.dumps(Bomb()), b"", b"\0" * 8, b"\xff" * 64, b"\2\0\0\0\0\0\0\0{}"]
)
def test_nothing_is_unpickled_and_what_is_no_release_counts_as_missing(releases, ledger, content):
    releases.put(ASKED, release(), memory={})
    values = (content, hashlib.sha256(content).hexdigest())
    sql(releases.path, ("UPDATE release SET content = ?, sha256 = ?", values))
    assert releases.get(ASKED, ledger=ledger) is None


def test_a_file_that_is_no_database_says_what_to_do(folder, ledger):
    (folder / "releases.sqlite").write_bytes(b"garbage " * 600)
    with pytest.raises(SiteError, match=r"releases\.sqlite cannot be used: .*charged again"):
        Releases(folder / "releases.sqlite").get(ASKED, ledger=ledger)


# Letting go


def put_rounds(releases: Releases, *rounds: int, study: str = A) -> None:
    for number in rounds:
        made = release(study=study, round=number, update=WEIGHTS)
        releases.put(f"{study[0]}{number:063}", made, memory={"clip": number / 4})


def kept(releases: Releases, *, study: str = A) -> list[int]:
    rows = sql(releases.path, ("SELECT round FROM release WHERE study = ? ORDER BY 1", (study,)))
    return [number for (number,) in rows]


def test_only_the_last_rounds_are_kept(releases):
    put_rounds(releases, 3, study=B)
    for last in range(1, 6):
        put_rounds(releases, last)
        assert kept(releases) == list(range(1, last + 1))[-KEPT_ROUNDS:]
    ((memories,),) = sql(releases.path, ("SELECT count(*) FROM memory WHERE study = ?", (A,)))
    assert memories == KEPT_ROUNDS
    assert kept(releases, study=B) == [3]


def test_an_evaluation_lets_no_release_go(releases):
    """The coordinator could name the last round first, and a broken round were charged again."""
    put_rounds(releases, 1, 2)
    releases.put("e" * 64, release(round=9), memory={})
    assert kept(releases) == [1, 2, 9]
    assert releases.memory(A, before=9) == {"clip": 0.5}


def test_several_answers_of_one_round_are_kept_beside_each_other(releases, ledger):
    first, second = release(update=WEIGHTS), release()
    releases.put("1" * 64, first, memory={})
    releases.put("2" * 64, second, memory={})
    assert equal(releases.get("1" * 64, ledger=ledger), first)
    assert equal(releases.get("2" * 64, ledger=ledger), second)


def test_memory_is_of_the_last_round_before(releases):
    assert releases.memory(A, before=5) == {}
    put_rounds(releases, 4, 5)
    put_rounds(releases, 7, study=B)
    assert releases.memory(A, before=6) == {"clip": 1.25}
    assert releases.memory(A, before=9) == {"clip": 1.25}
    assert releases.memory(A, before=5) == {"clip": 1.0}  # asked for again
    assert releases.memory(A, before=4) == {}
    assert releases.memory(B, before=8) == {"clip": 1.75}


def test_the_memory_of_a_round_is_that_of_its_last_answer(releases):
    for clip in (0.5, 0.1):
        releases.put(f"{clip:<064}", release(), memory={"clip": clip})
    assert releases.memory(A, before=2) == {"clip": 0.1}
    releases.put("e" * 64, release(), memory={})  # an evaluation remembers nothing
    assert releases.memory(A, before=2) == {"clip": 0.1}


def on_disk(releases: Releases) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(releases.path.parent.glob("releases*")))


def test_what_is_forgotten_is_in_no_file_any_more(releases, ledger):
    marks = {
        study: np.frombuffer(study.encode() * 4000, np.float32).copy() for study in ("A9", "B7")
    }
    for study, mark in zip((A, B), marks.values(), strict=True):
        made = release(study=study, update={"w": mark})
        releases.put(study, made, memory={f"clip of {study}": 0.5})
    assert all(mark.encode() * 50 in on_disk(releases) for mark in marks)
    assert f"clip of {A}".encode() in on_disk(releases)

    assert releases.forget(A) == 1
    assert b"A9" * 50 not in on_disk(releases)
    assert f"clip of {A}".encode() not in on_disk(releases)
    assert A.encode() not in on_disk(releases)
    assert releases.get(A, ledger=ledger) is None
    assert releases.get(B, ledger=ledger) is not None
    assert releases.memory(B, before=2)

    assert releases.forget() == 1
    assert b"B7" * 50 not in on_disk(releases)
    assert B.encode() not in on_disk(releases)
    assert releases.forget() == 0


def test_forgetting_while_another_reads_is_said_to_be_unfinished(releases, monkeypatch):
    put_rounds(releases, 1)
    monkeypatch.setattr(files, "WAIT_SECONDS", 0.2)
    with closing(sqlite3.connect(releases.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM release").fetchall()
        with pytest.raises(SiteError, match="is in use; forget again"):
            releases.forget()
    assert releases.forget() == 0
    assert kept(releases) == []


def test_only_the_owner_reads_the_files(folder):
    before = os.umask(0)
    try:
        releases = Releases(folder / "releases.sqlite")
        with releases._open() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DELETE FROM memory")
            names = list(folder.glob("releases*"))
            assert len(names) >= 2
            assert {stat.S_IMODE(name.stat().st_mode) for name in names} == {0o600}
            database.execute("ROLLBACK")
    finally:
        os.umask(before)


# Kills


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks("import ledgers, privacy.releases") as program:
        yield program


def test_a_kill_anywhere_keeps_all_of_a_release_or_nothing(forks, tmp_path):
    start = tmp_path / "start"
    receipt = open_ledger(start).reserve(spend(round=3), lifetime=NO_CEILING)
    put_rounds(Releases(start / "releases.sqlite"), 1, 2)
    code = """
from privacy.ledger import Receipt
from privacy.release import Release, ReleaseHeader
from privacy.releases import Releases
import numpy as np
from ledgers import spend
head = ReleaseHeader(study="a" * 64, round=3, site="ash", code="c" * 64, encoder="e" * 64,
                     declared_patients=40, receipt=1)
made = Release(head, {"w": np.arange(9000, dtype=np.float32)}, (), Receipt(1, spend(round=3)))
Releases(folder / "releases.sqlite").put("f" * 64, made, memory={"clip": 0.75})
say("kept")
"""
    states = []
    for folder, run in forks.killed_everywhere(code, start):
        releases, ledger = Releases(folder / "releases.sqlite"), open_ledger(folder)
        found = releases.get(ASKED, ledger=ledger)
        if found is None:
            assert run.said == []
            assert kept(releases) == [1, 2]
            assert releases.memory(A, before=9) == {"clip": 0.5}
        else:
            assert found.update["w"].tobytes() == np.arange(9000, dtype=np.float32).tobytes()
            assert found.receipt == receipt
            assert kept(releases) == [2, 3]
            assert releases.memory(A, before=9) == {"clip": 0.75}
        put_rounds(releases, 4)
        assert kept(releases)[-1] == 4
        states.append(found is not None)
    assert states == sorted(states)
    assert set(states) == {False, True}
