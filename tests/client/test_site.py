"""site.toml, its keys and its randomness."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from builders import site_table

from client import cohort
from client.site import Site
from privacy.budget import Spend
from privacy.errors import KeyBroken, LedgerBroken
from privacy.ledger import Receipt
from privacy.randomness import Stream


def test_an_unknown_key_is_named_and_its_value_is_not(tmp_path):
    path = tmp_path / "site.toml"
    table = site_table("ash", policy={"lifetime": {"epsilon": 1.0}}, patietns="Zebulon Quagmire")
    path.write_text(tomli_w.dumps(table))
    with pytest.raises(ValueError, match=r"site\.toml: patietns: no such key") as error:
        Site.read(path)
    assert "Zebulon" not in str(error.value)


def test_a_site_must_have_a_lifetime_budget(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(tomli_w.dumps(site_table("ash", policy={})))
    with pytest.raises(ValueError, match=r"policy\.lifetime: Field required"):
        Site.read(path)


def test_relative_paths_start_at_the_file(make_site):
    site = make_site("ash")
    assert site.at(site.ledger) == site.folder / "ledger.sqlite"
    assert site.at(Path("/elsewhere")) == Path("/elsewhere")


def test_the_secret_is_made_once_for_the_owner_only(make_site):
    site = make_site("ash")
    (site.folder / "site.key").unlink()
    key = site.key("split")
    assert stat.S_IMODE((site.folder / "site.key").stat().st_mode) == 0o600
    assert make_site("ash").key("split") == key
    assert site.key("vectors") != key
    assert make_site("birch").key("split") != key


def test_a_damaged_secret_is_an_error_and_never_replaced(make_site):
    site = make_site("ash")
    (site.folder / "site.key").write_bytes(b"short")
    (site.folder / "site.key").chmod(0o600)
    with pytest.raises(KeyBroken, match=r"site\.key must hold 32 bytes"):
        site.key("split")


def charge(round: int, **changes: Any) -> Receipt:
    spend = Spend(study="a" * 64, round=round, noise_multiplier=1, sample_rate=0.5, steps=1)
    return Receipt(**{"id": 7, "spend": spend} | changes)


def test_a_secret_that_others_may_read_is_refused_with_what_to_do(make_site):
    site = make_site("ash")
    site.key("split")
    (site.folder / "site.key").chmod(0o640)
    with pytest.raises(KeyBroken, match=r"\(mode 0640\).* chmod 600 site\.key"):
        site.key("split")


@pytest.mark.parametrize("quota", [0, -1.0, float("inf"), float("nan")])
def test_a_quota_is_a_finite_number_above_nothing(make_site, quota):
    assert make_site("ash").quota_gb is None
    assert make_site("ash", quota_gb=1.5).quota_gb == 1.5
    with pytest.raises(ValueError, match=r"quota_gb: "):
        make_site("ash", quota_gb=quota)


def draw(numbers: Stream) -> list[float]:
    return numbers.uniform(4).tolist()


def test_no_two_charges_share_their_noise(make_site):
    site = make_site("ash")
    assert draw(site.stream(charge(1))) == draw(site.stream(charge(1)))
    assert draw(site.stream(charge(1))) != draw(site.stream(charge(2)))
    assert draw(site.stream(charge(1))) != draw(site.stream(charge(1, attempt=2)))
    assert draw(site.stream(charge(1))) != draw(site.stream(charge(1, cohort="heldout")))
    assert draw(site.stream(charge(1))) == draw(site.stream(charge(1, id=8)))
    assert draw(site.stream(charge(1))) != draw(make_site("birch").stream(charge(1)))


def test_a_real_sites_noise_cannot_be_repeated(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(tomli_w.dumps(site_table("ash", policy={"lifetime": {"epsilon": 1.0}})))
    site = Site.read(path)
    assert site.test_seed is None
    assert draw(site.stream(charge(1))) != draw(site.stream(charge(1)))


def test_a_site_that_lost_its_ledger_and_the_mark_begins_no_new_one(make_site, study):
    site = make_site("ash")
    cohort.prepare(site, study)
    for path in (site.at(site.ledger), site.at(site.mark)):
        for file in path.parent.glob(f"{path.name}*"):
            file.unlink()
    for _ in range(2):
        with pytest.raises(LedgerBroken, match=r"its high-water mark are gone, though studies"):
            site.open_ledger()
    with pytest.raises(LedgerBroken):
        cohort.prepare(site, study)
    assert not site.at(site.ledger).exists()
