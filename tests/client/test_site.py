"""site.toml, its keys and its randomness."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import tomli_w
from builders import site_table

from client.site import Site
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
    key = site.key("split")
    assert stat.S_IMODE((site.folder / "site.key").stat().st_mode) == 0o600
    assert make_site("ash").key("split") == key
    assert site.key("vectors") != key
    assert make_site("birch").key("split") != key


def test_a_damaged_secret_is_an_error_and_never_replaced(make_site):
    site = make_site("ash")
    (site.folder / "site.key").write_bytes(b"short")
    with pytest.raises(ValueError, match="must hold 32 bytes"):
        site.key("split")


def draw(numbers: Stream) -> list[float]:
    return numbers.uniform(4).tolist()


def test_no_two_charges_share_their_noise(make_site):
    site = make_site("ash")
    assert draw(site.stream(receipt=1)) == draw(site.stream(receipt=1))
    assert draw(site.stream(receipt=1)) != draw(site.stream(receipt=2))
    assert draw(site.stream(receipt=1)) != draw(make_site("birch").stream(receipt=1))


def test_a_real_sites_noise_cannot_be_repeated(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text(tomli_w.dumps(site_table("ash", policy={"lifetime": {"epsilon": 1.0}})))
    site = Site.read(path)
    assert site.test_seed is None
    assert draw(site.stream(receipt=1)) != draw(site.stream(receipt=1))
