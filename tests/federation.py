"""A real federation on this machine: SuperLink, gated SuperNodes, and what went between them.

Everything listens on 127.0.0.1 and writes below one folder: homes, temporary files, logs. Each
node reaches the SuperLink through a proxy of its own that keeps every byte.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import tomli_w
from builders import Tables

from privacy.keys import make_key
from privacy.process import QUIET

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
POLL_SECONDS = 0.25


# Linux gives none of these to who asks for any port, which is most of what a test run does.
_PORTS = iter(range(20_000, 32_000))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that is given to nobody else.

    Each stands for a byte of one file that this process locks until it ends, so that test runs
    at the same time have ports of their own.

    Raises:
        OSError: All were given.
    """
    for port in _PORTS:
        with contextlib.suppress(OSError), socket.socket() as probe:
            fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is left to give")


@functools.cache
def _claims() -> BinaryIO:
    return Path(tempfile.gettempdir(), f"fedward-test-ports-{os.getuid()}").open("ab")


class Proxy:
    """Passes TCP connections on to a port of 127.0.0.1 and keeps what went through."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sent: list[bytearray] = []
        self._received: list[bytearray] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def sent(self) -> bytes:
        """What the node sent, connection after connection."""
        return b"\0".join(map(bytes, self._sent))

    def received(self) -> bytes:
        """What the node was sent."""
        return b"\0".join(map(bytes, self._received))

    def close(self) -> None:
        """Takes no more connections, and waits for those that there are to end."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in `accept`
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *values: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=values, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._connection, self._listener.accept()[0])

    def _connection(self, near: socket.socket) -> None:
        kept = bytearray(), bytearray()
        self._sent.append(kept[0])
        self._received.append(kept[1])
        with (
            near,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._to)) as far,
        ):
            back = self._start(self._pass_on, kept[1], far, near)
            self._pass_on(kept[0], near, far)
            back.join()

    @staticmethod
    def _pass_on(kept: bytearray, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                kept += data
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@dataclass
class Node:
    """A SuperNode.

    Attributes:
        folder: Everything that its processes write is below it.
        port: Where its ClientApps reach it.
        proxy: Between it and the SuperLink.
        process: The SuperNode's.
    """

    folder: Path
    port: int
    proxy: Proxy
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        """What it and its ClientApps have said."""
        return (self.folder / "log.txt").read_text(errors="replace")

    def targets(self) -> list[dict[str, Any]]:
        """What its processes connected to, looked up and started, where it is watched."""
        path = self.folder / "targets.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass
class Federation:
    """See the module.

    Attributes:
        folder: Everything is below it.
        port: The SuperLink's.
        nodes: By name.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    nodes: dict[str, Node] = field(default_factory=dict)
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Starts the SuperLink and waits until it answers."""
        folder = self.folder / "superlink"
        command = [BIN / "flower-superlink", "--insecure", "--host", "127.0.0.1"]
        more = ["--port", str(self.port), "--database", folder / "state.db"]
        self._run(folder, command + more, QUIET | {"FLWR_HOME": str(folder / "flower")})
        self._until(lambda: self._listens(self.port), "the SuperLink does not answer", 60)

    def add_site(self, name: str, table: Tables, lines: Iterable[Any], **env: str) -> Node:
        """Starts a gated SuperNode on a site.toml and a notes.jsonl of its own."""
        site = write_site(self.folder / name, table, lines)
        command = [sys.executable, "-P", "-m", "client.supernode", site]
        return self.add_node(name, [*command, "--poll-seconds", str(POLL_SECONDS)], **env)

    def add_node(self, name: str, command: list[object], **env: str) -> Node:
        """Starts a SuperNode with a command of one's own; its port and SuperLink are added."""
        folder, port, proxy = self.folder / name, free_port(), Proxy(self.port)
        more = ["--superlink", f"127.0.0.1:{proxy.port}", "--insecure", "--port", str(port)]
        process = self._run(folder, [*command, *more], env)
        self.nodes[name] = Node(folder, port, proxy, process)
        return self.nodes[name]

    def submit(self, bundle: bytes, **run_config: object) -> int:
        """Starts a run as `flwr run` does; gives its number."""
        import hashlib

        from flwr.common.serde import fab_to_proto, user_config_to_proto
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.supercore.fab import Fab

        fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
        request = StartRunRequest(
            fab=fab_to_proto(fab), override_config=user_config_to_proto(run_config), federation=""
        )
        with self._control() as control:
            return control.StartRun(request).run_id

    def flwr_run(self, folder: Path, **run_config: object) -> int:
        """Submits a folder with Flower's own command; gives the run's number."""
        home = self.folder / "coordinator"
        (home / "flower").mkdir(parents=True)
        connection = {"address": f"127.0.0.1:{self.port}", "insecure": True}
        (home / "flower" / "config.toml").write_text(
            tomli_w.dumps({"superlink": {"default": "here", "here": connection}})
        )
        pairs = " ".join(f"{key}={json.dumps(value)}" for key, value in run_config.items())
        process = self._run(
            home,
            [BIN / "flwr", "run", folder, "here", "--format", "json", "--run-config", pairs],
            QUIET | {"FLWR_HOME": str(home / "flower")},
        )
        assert process.wait(60) == 0, (home / "log.txt").read_text()
        said = (home / "log.txt").read_text()
        return int(json.loads(said[said.index("{") :])["run-id"])

    def wait(self, run_id: int, *, seconds: float = 420) -> tuple[str, str, str]:
        """Waits for the end of a run; gives Flower's status, sub-status and details.

        `flwr run --stream` exits 0 on a failed run; the list of runs says the truth.
        """
        from flwr.proto.control_pb2 import ListRunsRequest

        with self._control() as control:

            def status():
                return control.ListRuns(ListRunsRequest(run_id=run_id)).run_dict[run_id].status

            self._until(lambda: status().status == "finished", "the run does not end", seconds)
            last = status()
        return last.status, last.sub_status, last.details

    def stop(self, name: str) -> None:
        """Ends a node, so that later runs do not ask it."""
        self._end([self.nodes[name].process])

    def close(self) -> None:
        """Ends every process and whatever it started, by the groups that they were started in."""
        # The nodes first: they take their leave of the SuperLink.
        self._end(node.process for node in self.nodes.values())
        self._end(self._processes)
        for node in self.nodes.values():
            node.proxy.close()

    def logs(self) -> str:
        """The end of every log, for a message about a failure."""
        files = sorted(self.folder.glob("*/log.txt"))
        return "\n".join(
            f"--- {file}\n{file.read_text(errors='replace')[-3000:]}" for file in files
        )

    def _run(
        self, folder: Path, command: list[object], env: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        scratch, empty = folder / "tmp", folder / "empty"
        for made in (scratch, empty):
            made.mkdir(parents=True, exist_ok=True)
        # Nothing of this process's environment: what keeps a site quiet must come from fedward.
        clean = {
            "PATH": os.pathsep.join([str(BIN), os.defpath]),
            "HOME": str(folder),
            "TMPDIR": str(scratch),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(POLL_SECONDS),
        }
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=empty,
                env=clean | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    @contextlib.contextmanager
    def _control(self) -> Iterator[Any]:
        from flwr.cli.typing import SuperLinkConnection
        from flwr.cli.utils import init_http_client_from_connection

        connection = SuperLinkConnection(
            name="here", address=f"127.0.0.1:{self.port}", insecure=True
        )
        client = init_http_client_from_connection(connection)
        try:
            yield client
        finally:
            client.close()

    def _until(self, done: Callable[[], bool], otherwise: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(f"{otherwise} within {seconds:g} s\n{self.logs()}")
            time.sleep(0.4)

    @staticmethod
    def _listens(port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    @staticmethod
    def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
        processes = list(processes)
        for number, grace in ((signal.SIGTERM, 8), (signal.SIGKILL, 8)):
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            end = time.monotonic() + grace
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(end - time.monotonic(), 0.1))


def write_site(folder: Path, table: Tables, lines: Iterable[Any]) -> Path:
    """Writes site.toml, notes.jsonl and a key that follows from the folder's name, so that the
    split is the same each time; gives the path of site.toml.
    """
    folder.mkdir(parents=True)
    make_key(folder / "site.key", hashlib.sha256(folder.name.encode()).digest())
    notes = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "notes.jsonl").write_text(notes, "utf-8")
    (folder / "site.toml").write_text(tomli_w.dumps(table), "utf-8")
    return folder / "site.toml"
