"""Who is enrolled: one key a site, one site a key, and nothing private."""

from __future__ import annotations

import stat

import pytest

from client.setup import make_node_key
from server.deployment.sites import dismiss, enrol, read_sites


def key(name: str = "ash") -> str:
    return make_node_key(name)[1].decode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sites.json"


def test_a_site_is_enrolled_once_whatever_its_remark(path):
    line = key()
    first = enrol(path, "ash", line)
    again = enrol(path, "ash", line.removesuffix(" ash") + " another remark\n")
    assert again == first
    assert read_sites(path) == (first,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.public_key().startswith(b"-----BEGIN PUBLIC KEY-----")


def test_nobody_is_enrolled_where_there_is_no_file(path):
    assert read_sites(path) == ()


def test_another_key_takes_the_place_only_where_that_is_said(path):
    enrol(path, "ash", key())
    with pytest.raises(ValueError, match="ash is enrolled with another key"):
        enrol(path, "ash", key())
    new = enrol(path, "ash", key(), replace=True)
    assert read_sites(path) == (new,)


def test_a_key_is_of_one_site(path):
    line = key()
    enrol(path, "ash", line)
    with pytest.raises(ValueError, match="this key is enrolled as ash"):
        enrol(path, "birch", line)


def test_a_removed_key_is_never_let_in_again(path):
    line, other = key(), key()
    enrol(path, "ash", line)
    enrol(path, "ash", other, replace=True)
    dismiss(path, "ash")
    assert read_sites(path) == ()
    for removed in (line, other):
        with pytest.raises(ValueError, match="never lets a removed key in again"):
            enrol(path, "ash", removed)
    with pytest.raises(ValueError, match="no site ash is enrolled; enrolled: nobody"):
        dismiss(path, "ash")


@pytest.mark.parametrize("text", ["", "ash", "ssh-ed25519 AAAA", "ecdsa-sha2-nistp384 AAAA"])
def test_what_is_no_key_of_a_node_is_refused(path, text):
    with pytest.raises(ValueError, match="no public key of a node"):
        enrol(path, "ash", text)
    assert not path.exists()


def test_a_private_key_is_refused_and_called_worthless(path):
    with pytest.raises(ValueError, match="must not leave its site; it is worthless now"):
        enrol(path, "ash", make_node_key("ash")[0].decode())


def test_a_damaged_file_is_one_line_and_stays(path):
    path.write_text("{")
    with pytest.raises(ValueError, match=r"sites\.json: "):
        enrol(path, "ash", key())
    assert path.read_text() == "{"
