"""/healthz and /metrics over HTTP, on 127.0.0.1 alone.

Guarantees:
    - Nothing but the two pages, by GET and HEAD alone; anything else is 404 or 405.
    - A request must name this machine (`Host: 127.0.0.1` or `localhost`): a page in a browser on
      this machine, whose own name was made to mean 127.0.0.1, does not get an answer.
    - A client that is slow or comes too often holds up neither the daemon nor for long another.
Not guaranteed:
    Loopback is open to every user of the machine: whoever has an account there can read both pages.
    That is why no true number of patients or notes stands on them (`experiments.site.metrics`).
    What does stand there: that the site takes part and with which version; how long rounds take,
    which grows with the number of patients; epsilons; refusals by class; sizes of store and disk to
    two digits or of the disk as a whole; why the node is not connected, with names of files.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")
MOST_AT_ONCE = 16
WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes:
        content: Its body.
        type: Its media type.
        status: Of HTTP.
    """

    content: bytes
    type: str
    status: int = HTTPStatus.OK


Pages = Mapping[str, Callable[[], Page]]


class PageServer(socketserver.ThreadingTCPServer):
    """Serves pages until `close`.

    Args:
        port: Of 127.0.0.1.
        pages: How each is made, by path.

    Raises:
        OSError: The port is taken.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, pages: Pages) -> None:
        self.pages = pages
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__((ADDRESS, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answers in a thread of its own, if there is room for one more."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answers, and makes room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a client that went away is no event of the daemon's."""


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = WAIT_SECONDS
    server_version = "fedward"
    error_message_format, error_content_type = "%(code)d\n", "text/plain; charset=utf-8"

    def do_GET(self) -> None:
        """A page."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """The head of a page."""
        self._answer(body=False)

    def __getattr__(self, name: str) -> Any:
        """Any other method is not allowed."""
        if name.startswith("do_"):
            return self._not_allowed
        raise AttributeError(name)

    def version_string(self) -> str:
        """Who answers, without versions."""
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        """Writes nothing: scrapes are no events."""

    def _answer(self, *, body: bool) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if not self._names_us():
            self.send_error(HTTPStatus.FORBIDDEN)
        elif page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._send(page(), body=body)

    def _names_us(self) -> bool:
        hosts = self.headers.get_all("Host") or []
        port = self.server.server_address[1]
        return len(hosts) == 1 and hosts[0].lower() in {
            *NAMES,
            *(f"{name}:{port}" for name in NAMES),
        }

    def _send(self, page: Page, *, body: bool) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.type)
        self.send_header("Content-Length", str(len(page.content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if body:
            self.wfile.write(page.content)

    def _not_allowed(self) -> None:
        self.send_response(HTTPStatus.METHOD_NOT_ALLOWED)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()
