"""A new certificate for the same names, which the sites' CA still vouches for."""

from __future__ import annotations

import pytest
from cryptography import x509

from server.deployment.certificates import check_acceptance, make_ca
from server.deployment.folder import make_folder
from server.deployment.renewal import renew

HOSTS = ("fed.example.org", "192.0.2.7")


@pytest.fixture
def config(tmp_path):
    return make_folder(tmp_path / "c", hosts=HOSTS)


def read(config, path) -> bytes:
    return config.at(path).read_bytes()


def test_a_renewed_certificate_names_the_same_hosts_and_sites_accept_it(config):
    before = [read(config, path) for path in (config.certificate, config.key, config.ca)]
    until = renew(config)
    after = [read(config, path) for path in (config.certificate, config.key, config.ca)]
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert before[2] == after[2]
    paths = (config.ca, config.certificate, config.key)
    check_acceptance(*map(config.at, paths), hosts=(*HOSTS, "127.0.0.1", "localhost"))
    assert x509.load_pem_x509_certificate(after[0]).not_valid_after_utc == until
    assert {path.stat().st_mode & 0o077 for path in config.folder.iterdir()} == {0}
    assert not list(config.folder.glob("*draft*"))


def test_a_key_that_was_moved_is_named_and_another_ones_is_refused(config, tmp_path):
    kept = tmp_path / "safe.key"
    config.at("ca.key").rename(kept)
    with pytest.raises(ValueError, match="name where it is kept with --ca-key"):
        renew(config)
    before = read(config, config.certificate)
    other = tmp_path / "other.key"
    other.write_bytes(make_ca("another").key_pem())
    with pytest.raises(ValueError, match=r"is not the key of .*ca\.crt"):
        renew(config, ca_key=other)
    other.write_text("no key")
    with pytest.raises(ValueError, match="not a private key in PEM"):
        renew(config, ca_key=other)
    assert read(config, config.certificate) == before
    renew(config, ca_key=kept)
    assert read(config, config.certificate) != before
