"""Why a site cannot reach its coordinator, in words that say what to do."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import pytest
from builders import site_table

from client.connection import proxy_of, trouble
from client.setup import make_node_key
from client.site import Site
from server.deployment.certificates import make_ca, make_server_certificate


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Health(http.server.BaseHTTPRequestHandler):
    """What a coordinator's listener for sites answers."""

    status = 200

    def do_GET(self):
        self.send_response(self.status if self.path == "/health" else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Says nothing."""


class Coordinator:
    """Serves TLS on 127.0.0.1 with a certificate of its own CA."""

    def __init__(self, folder, *, hosts=("127.0.0.1",), now=None, tls=True, status=200):
        self.ca = make_ca("the CA", now=now)
        issued = make_server_certificate(self.ca, hosts, now=now)
        (folder / "server.crt").write_bytes(issued.certificate_pem())
        (folder / "server.key").write_bytes(issued.key_pem())
        handler = type("H", (Health,), {"status": status})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        # A handshake that fails is the site's to tell.
        self.server.handle_error = lambda *_: None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.crt", folder / "server.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def serve(tmp_path):
    """Starts coordinators, and ends them."""
    with contextlib.ExitStack() as stack:

        def start(**options) -> Coordinator:
            coordinator = Coordinator(tmp_path, **options)
            stack.callback(coordinator.close)
            return coordinator

        yield start


@pytest.fixture
def site(tmp_path):
    """A site that connects somewhere and trusts a CA."""

    def make(superlink: str, ca) -> Site:
        (tmp_path / "coordinator-ca.crt").write_bytes(ca.certificate_pem())
        key = tmp_path / "node.key"
        key.write_bytes(make_node_key("ash")[0])
        key.chmod(0o600)
        table = site_table("ash", coordinator={"superlink": superlink})
        table |= {"policy": {"lifetime": {"epsilon": 8.0}}}
        return Site.parse_table(table, where="").model_copy(update={"folder": tmp_path})

    return make


def test_nothing_is_said_where_the_coordinator_answers(serve, site):
    there = serve()
    assert trouble(site(there.address, there.ca)) == ""


def test_a_wrong_ca_is_told_with_who_issued_the_certificate(serve, site):
    there = serve()
    said = trouble(site(there.address, make_ca("another CA")))
    assert f"at {there.address} is not issued by coordinator-ca.crt but by 'the CA'" in said
    assert "a proxy or antivirus opens the connection" in said


def test_an_expired_certificate_is_the_coordinators_to_renew(serve, site):
    now = datetime.now(UTC)
    there = serve(now=now - timedelta(days=366))
    ended = now - timedelta(days=1, hours=1)
    said = trouble(site(there.address, there.ca))
    assert said == (
        f"the certificate at {there.address} expired on {ended:%Y-%m-%d}; the coordinator must "
        "renew it"
    )


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (timedelta(days=1), "is 86,400 s ahead of the coordinator's"),
        (timedelta(seconds=30), "is 30 s ahead of"),
        (timedelta(seconds=-400), "is 400 s behind the coordinator's"),
        (timedelta(seconds=-200), ""),
    ],
)
def test_a_clock_that_is_off_is_told(serve, site, shift, said):
    there = serve()
    words = trouble(site(there.address, there.ca), clock=lambda: datetime.now(UTC) + shift)
    if not said:
        assert words == ""
        return
    number = said.split()[1]
    # Theirs comes in whole seconds.
    near = {
        number,
        f"{int(number.replace(',', '')) + 1:,}",
        f"{int(number.replace(',', '')) - 1:,}",
    }
    assert any(said.replace(number, one) in words for one in near)
    assert "set it (timedatectl)" in words


def test_a_certificate_that_does_not_hold_because_of_the_clock(serve, site):
    """OpenSSL has the machine's true clock here; the site's is said to be a year off."""
    there = serve(now=datetime.now(UTC) + timedelta(days=5))
    said = trouble(
        site(there.address, there.ca), clock=lambda: datetime.now(UTC) - timedelta(days=365)
    )
    assert "does not hold today, because this machine's clock is 31,5" in said
    assert "behind the coordinator's" in said
    assert "does not hold before" in trouble(site(there.address, there.ca))


def test_a_certificate_for_another_host(serve, site):
    there = serve(hosts=["a.example"])
    assert "names another host" in trouble(site(there.address, there.ca))


def test_nothing_listens(site):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    assert trouble(site(address, make_ca("a CA"))) == (
        f"nothing listens at {address}; is it running, is the port right?"
    )


def test_a_name_that_is_none(site):
    said = trouble(site("no-such-host.invalid:9443", make_ca("a CA")))
    assert said.startswith("the name in no-such-host.invalid:9443 cannot be looked up")


def test_a_firewall_that_drops(site, monkeypatch):
    monkeypatch.setattr("client.connection.WAIT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        said = trouble(site(address, make_ca("a CA")))
    assert said.startswith(f"no answer from {address} within 0.3 s")


def test_something_without_tls_or_that_is_no_coordinator(serve, site):
    plain = serve(tls=False)
    assert "does not speak TLS as it should" in trouble(site(plain.address, plain.ca))
    other = serve(status=403)
    assert "is no coordinator (status 403)" in trouble(site(other.address, other.ca))


def test_a_proxy_is_named_without_its_password(site, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{port}")
    said = trouble(site("fed.example.org:9443", make_ca("a CA")))
    assert said == f"nothing listens at 127.0.0.1:{port}; is it running, is the port right?"
    monkeypatch.setenv("NO_PROXY", "fed.example.org")
    assert proxy_of("fed.example.org:9443") is None
    assert proxy_of("b.example.org:9443") == f"127.0.0.1:{port}"


def test_files_of_the_site_that_cannot_be_used(site):
    one = site("127.0.0.1:1", make_ca("a CA"))
    (one.folder / "node.key").chmod(0o640)
    assert "node.key is open to others (mode 0640)" in trouble(one)
    (one.folder / "node.key").unlink()
    assert "node.key is missing" in trouble(one)
    (one.folder / "node.key").touch(0o600)
    (one.folder / "coordinator-ca.crt").write_text("nothing")
    assert "is not a CA certificate in PEM" in trouble(one)
    assert "has no table" in trouble(one.model_copy(update={"coordinator": None}))
