"""Certificates as OpenSSL's strict check wants them, over real connections."""

from __future__ import annotations

import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from server.deployment.certificates import (
    check_acceptance,
    make_ca,
    make_server_certificate,
    strict_context,
)


@pytest.fixture(scope="module")
def ca():
    return make_ca("a CA")


@pytest.fixture
def written(tmp_path):
    """Writes a CA's and a server's files; gives their paths."""

    def write(ca, issued):
        files = {
            "ca.crt": ca.certificate_pem(),
            "server.crt": issued.certificate_pem(),
            "server.key": issued.key_pem(),
        }
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        return tuple(tmp_path / name for name in files)

    return write


def said_over_tls(paths, host: str) -> bytes:
    """Connects over a real socket, each side as strict as OpenSSL can be; what came back."""
    import socket

    ca, certificate, key = paths
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_flags |= ssl.VERIFY_X509_STRICT
    server.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        near, _ = listener.accept()
        with server.wrap_socket(near, server_side=True) as served:
            served.sendall(served.recv(100).upper())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with (
        listener,
        socket.create_connection(listener.getsockname()) as far,
        strict_context(ca).wrap_socket(far, server_hostname=host) as client,
    ):
        client.sendall(b"hello")
        said = client.recv(100)
    thread.join(5)
    return said


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "fedward.example.org"])
def test_strict_openssl_accepts_it_under_each_of_its_hosts(ca, written, host):
    hosts = ["127.0.0.1", "::1", "localhost", "fedward.example.org"]
    paths = written(ca, make_server_certificate(ca, hosts))
    assert said_over_tls(paths, host) == b"HELLO"
    check_acceptance(*paths, hosts=hosts)


def test_they_are_what_they_should_be(ca):
    own = ca.certificate
    server = make_server_certificate(ca, ["a.example"]).certificate
    server.verify_directly_issued_by(own)
    years = (own.not_valid_after_utc - own.not_valid_before_utc) / timedelta(days=365.25)
    assert years == pytest.approx(10, abs=0.01)
    assert server.not_valid_after_utc - server.not_valid_before_utc == timedelta(days=365)
    found = {type(extension.value): extension for extension in server.extensions}
    assert found[x509.BasicConstraints].value.ca is False
    assert found[x509.KeyUsage].value.digital_signature
    assert not found[x509.KeyUsage].value.key_cert_sign
    assert {x509.ExtendedKeyUsage, x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier} < set(
        found
    )
    constraints = own.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)


def test_a_server_certificate_cannot_issue_another(ca, written):
    server = make_server_certificate(ca, ["a.example"])
    forged = make_server_certificate(server, ["b.example"])
    chain = forged.certificate_pem() + server.certificate_pem()
    paths = written(ca, forged)
    paths[1].write_bytes(chain)
    with pytest.raises(ValueError, match="would refuse"):
        check_acceptance(*paths, hosts=["b.example"])


@pytest.mark.parametrize(
    ("shift", "said"), [(-400, "certificate has expired"), (2, "certificate is not yet valid")]
)
def test_a_certificate_out_of_its_time_is_told(ca, written, shift, said):
    now = datetime.now(UTC) + timedelta(days=shift)
    old = make_ca("another", now=now - timedelta(days=30) if shift < 0 else None)
    paths = written(old, make_server_certificate(old, ["a.example"], now=now))
    with pytest.raises(ValueError, match=f"would refuse .* as a.example: {said}"):
        check_acceptance(*paths, hosts=["a.example"])


def test_a_wrong_host_ca_or_key_is_told(ca, written, tmp_path):
    issued = make_server_certificate(ca, ["a.example"])
    ca_file, certificate, key = written(ca, issued)
    with pytest.raises(ValueError, match=r"as b\.example: Hostname mismatch"):
        check_acceptance(ca_file, certificate, key, hosts=["a.example", "b.example"])
    ca_file.write_bytes(make_ca("a CA").certificate_pem())
    with pytest.raises(ValueError, match="would refuse"):
        check_acceptance(ca_file, certificate, key, hosts=["a.example"])
    ca_file.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a CA certificate in PEM"):
        check_acceptance(ca_file, certificate, key, hosts=["a.example"])
    key.write_bytes(make_server_certificate(ca, ["a.example"]).key_pem())
    with pytest.raises(ValueError, match="are not a certificate and its key"):
        check_acceptance(ca_file, certificate, key, hosts=["a.example"])
    with pytest.raises(ValueError, match="are not a certificate and its key"):
        check_acceptance(ca_file, tmp_path / "none", key, hosts=["a.example"])


def test_a_certificate_for_no_host_is_not_made(ca):
    with pytest.raises(ValueError, match="needs a host"):
        make_server_certificate(ca, [])
