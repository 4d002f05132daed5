"""A real PostgreSQL for the tests: its own data folder, this machine alone, gone afterwards.

`with running() as server:` gives a `Server`; `server.url` is a SQLAlchemy URL.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.pool import NullPool

START_SECONDS = 120
READER = "reader"


@dataclass(frozen=True)
class Server:
    """A server that runs.

    Attributes:
        folder: Holds everything that it writes.
        port: On 127.0.0.1, where users need a password; 0 where nobody listens there.
        password: Of the user `reader`, who may do nothing but what `readable` grants.
        user: Whom it runs as; its superuser.
    """

    folder: Path
    port: int
    password: str
    user: str

    @property
    def url(self) -> str:
        """Of the superuser, over a socket that only this user and root can reach."""
        return self.of("postgres")

    def of(self, database: str) -> str:
        """The superuser's URL of a database."""
        return f"postgresql+psycopg://{self.user}@/{database}?host={self.folder}&port={self.port}"

    def reader(self, database: str) -> str:
        """The reader's URL of a database, over TCP, without its password."""
        return f"postgresql://{READER}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Runs statements as the superuser, each on its own."""
        engine = sqlalchemy.create_engine(
            self.of(database), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def create(self, database: str) -> str:
        """Makes an empty database; gives the superuser's URL of it."""
        self.execute(f'drop database if exists "{database}" with (force)')
        self.execute(f'create database "{database}"')
        return self.of(database)

    def emptied(self, database: str) -> str:
        """A database without a table: sooner than a new one."""
        if not self._has(database):
            return self.create(database)
        self.execute(
            # A test that failed may hold a snapshot still.
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()",
            "drop schema if exists public, cdm cascade",
            "create schema public",
            database=database,
        )
        return self.of(database)

    def _has(self, database: str) -> bool:
        engine = sqlalchemy.create_engine(self.url, poolclass=NullPool)
        query = sqlalchemy.text("select 1 from pg_database where datname = :name")
        with engine.connect() as connection:
            return connection.execute(query, {"name": database}).first() is not None

    def readable(self, database: str, schema: str = "public") -> str:
        """Lets `reader` read every table of a schema; gives the reader's URL."""
        self.execute(
            f'grant usage on schema "{schema}" to {READER}',
            f'grant select on all tables in schema "{schema}" to {READER}',
            database=database,
        )
        return self.reader(database)


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3].split(".")[0]) if path.parts[-3][0].isdigit() else 0,
    )
    other = shutil.which("postgres")
    if not found and other:
        return Path(other).resolve().parent
    return found[-1].parent if found else None


@contextmanager
def running() -> Iterator[Server]:
    """Starts a server and stops it at the end; what it wrote is removed.

    Root cannot run PostgreSQL: then it runs as `postgres`, or as `nobody`.
    """
    found = programs()
    if found is None:
        raise FileNotFoundError("no PostgreSQL server here; Debian's package is `postgresql`")
    other = _other_user()
    folder = Path(tempfile.mkdtemp(prefix="fedward-pg-"))
    try:
        if other:
            shutil.chown(folder, other)
        password = secrets.token_hex(12)
        user = other or _myself()
        _initialize(found, folder, user, other)
        process, port = _start(found, folder, user, other)
        try:
            server = Server(folder, port, password, user)
            server.execute(f"create role {READER} login password '{password}'")
            yield server
        finally:
            _stop(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> str | None:
    import pwd

    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise FileNotFoundError("root cannot run PostgreSQL, and there is no user `postgres` here")


def _myself() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _as(other: str | None) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name[:2] != "PG"}
    environment |= {"LC_ALL": "C", "TZ": "UTC"}
    user = {"user": other, "group": _group(other), "extra_groups": []} if other else {}
    return {"env": environment, "stdin": subprocess.DEVNULL, **user}


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _initialize(found: Path, folder: Path, user: str, other: str | None) -> None:
    done = subprocess.run(
        [
            found / "initdb", "--pgdata", folder / "data", "--username", user, "--encoding",
            "UTF8", "--locale", "C", "--no-sync", "--auth-local", "trust", "--auth-host",
            "scram-sha-256",
        ],
        check=False, capture_output=True, text=True, cwd=folder, **_as(other),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _start(
    found: Path, folder: Path, user: str, other: str | None
) -> tuple[subprocess.Popen[bytes], int]:
    for _ in range(5):  # somebody else may take the port first
        port = _free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "unix_socket_permissions": "0700",
            "fsync": "off",
            "full_page_writes": "off",
            "wal_level": "minimal",
            "max_wal_senders": 0,
            "max_connections": 30,
            "shared_buffers": "16MB",
            "timezone": "UTC",
        }
        given = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*_dying_with_us(), found / "postgres", "-D", folder / "data", *given],
                stdout=log, stderr=log, cwd=folder, **_as(other),
            )  # fmt: skip
        if _answers(process, Server(folder, port, "", user)):
            return process, port
        _stop(process)
    raise AssertionError(f"PostgreSQL does not start: {(folder / 'log').read_text()[-2000:]}")


def _dying_with_us() -> list[str]:
    """A killed test run leaves no server behind, where this program is there."""
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "INT", "--"] if program else []


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _answers(process: subprocess.Popen[bytes], server: Server) -> bool:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(sqlalchemy.exc.OperationalError):
            server.execute("select 1")
            return True
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)  # at once: nobody needs what it wrote
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
