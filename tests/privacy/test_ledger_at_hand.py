"""A ledger that is kept open while a message is answered says the same as one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import NO_CEILING, B, height, open_ledger, refused, spend, sql

from privacy.chain import Height
from privacy.errors import LedgerBroken
from privacy.ledger import Ledger


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def ledger(folder: Path) -> Ledger:
    ledger = open_ledger(folder)
    ledger.reserve(spend(), lifetime=NO_CEILING)
    return ledger


def test_its_own_charges_and_those_of_others_are_seen(ledger, folder):
    with ledger.at_hand():
        assert len(ledger.entries()) == 1
        own = ledger.reserve(spend(round=2), lifetime=NO_CEILING)
        other = open_ledger(folder).reserve(spend(round=3), lifetime=NO_CEILING)
        assert (own.id, other.id) == (2, 3)
        assert ledger.holds(own, other)
        assert ledger.reserve(spend(round=4), lifetime=NO_CEILING).id == 4
        assert open_ledger(folder).entries() == ledger.entries()
    assert open_ledger(folder).entries() == ledger.entries()
    assert height(folder) == Height(4, ledger.entries()[-1].hash)


def test_what_was_charged_is_on_disk_before_it_is_closed(ledger, folder):
    with ledger.at_hand():
        ledger.reserve(spend(round=2), lifetime=NO_CEILING)
        assert len(open_ledger(folder).entries()) == 2
        assert height(folder).length == 2


def test_a_refusal_leaves_it_usable(ledger):
    with ledger.at_hand():
        with pytest.raises(Exception, match="may be charged 1 times"):
            ledger.reserve(spend(round=2), lifetime=NO_CEILING, most=1)
        ledger.reserve(spend(study=B), lifetime=NO_CEILING)
        assert [entry.id for entry in ledger.entries()] == [1, 2]


def test_the_next_message_sees_what_was_edited_during_the_last(ledger, folder):
    drop = "DROP TRIGGER entry_is_final"
    with ledger.at_hand():
        ledger.entries()
        sql(folder / "ledger.sqlite", drop, "UPDATE entry SET at = at || ' ' WHERE id = 1")
    with pytest.raises(LedgerBroken, match="entry 1 was edited"), ledger.at_hand():
        ledger.entries()
    refused(folder, "entry 1 was edited")


def test_what_another_takes_out_or_puts_in_meanwhile_is_seen_at_once(ledger, folder):
    with ledger.at_hand():
        ledger.entries()
        sql(
            folder / "ledger.sqlite",
            "INSERT INTO entry SELECT 0, dataset, kind, body, at, hash FROM entry",
        )
        with pytest.raises(LedgerBroken, match="put in"):
            ledger.entries()


def test_a_mark_that_is_lost_meanwhile_is_seen_at_once(ledger, folder):
    with ledger.at_hand():
        ledger.entries()
        (folder / "mark" / "mark.sqlite").unlink()
        with pytest.raises(LedgerBroken, match="mark"):
            ledger.entries()
        with pytest.raises(LedgerBroken, match="mark"):
            ledger.reserve(spend(round=2), lifetime=NO_CEILING)


def test_a_first_charge_is_made_while_it_is_at_hand(folder):
    ledger = open_ledger(folder)
    with ledger.at_hand():
        ledger.reserve(spend(), lifetime=NO_CEILING)
        assert height(folder).length == 1
    assert len(open_ledger(folder).entries()) == 1
