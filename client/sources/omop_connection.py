"""A connection to PostgreSQL for `omop`: one read-only snapshot, and its errors in words.

Nothing that PostgreSQL or psycopg says is passed on: their texts repeat values.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from privacy.errors import SourceBroken

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import URL, Connection

CONNECT_SECONDS = 15

_WHY = {
    "42501": "the user may not read it; GRANT SELECT on it",
    "57014": "the server's statement_timeout ended it; raise it for this user",
    "25P03": (
        "the server's idle_in_transaction_session_timeout ended it; raise it for this user, for "
        "notes are embedded while they are read"
    ),
    "57P01": "the server or its administrator ended the connection",
    "57P03": "the server is starting or stopping; it is tried again",
    "3D000": "there is no such database",
    "28P01": "the server refused user or password",
    "28000": "the server refused the user",
    "42P01": "there is no such table",
    "42703": "a column that OMOP CDM 5.4 has is missing",
    "53300": "the server has no connection left",
    "40001": "the server gave up the snapshot; it is tried again",
}
_WHY_CLASS = {
    "08": "the connection was lost",
    "22": "a value in it cannot be read as what its column is",
    "53": "the server has no memory or disk left",
    "57": "the server ended it",
}


@contextmanager
def connected(url: str, *, password: str | None) -> Iterator[Connection]:
    """Opens one read-only transaction, in which every query sees the same moment.

    Args:
        url: Without a password.
        password: None leaves it to libpq: `PGPASSWORD`, `.pgpass`, or none at all.

    Raises:
        SourceBroken: Nobody answers, or access is refused; in one line, without the password.
    """
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    address = parsed(url)
    name = said(address)
    waiting = {} if "connect_timeout" in address.query else {"connect_timeout": CONNECT_SECONDS}
    engine = sqlalchemy.create_engine(
        address.set(password=password) if password is not None else address,
        poolclass=NullPool,
        hide_parameters=True,
        isolation_level="REPEATABLE READ",
        connect_args={"client_encoding": "utf8", "application_name": "fedward", **waiting},
    )
    try:
        with in_words(name):
            connection = engine.connect().execution_options(postgresql_readonly=True)
        try:
            with in_words(name):
                connection.execute(sqlalchemy.text("set local time zone 'UTC'"))
                # All rows are wanted: the server is to plan for the last, not the first.
                connection.execute(sqlalchemy.text("set local cursor_tuple_fraction = 1"))
            yield connection
        finally:
            with suppress(sqlalchemy.exc.SQLAlchemyError):  # lost already; why was said before
                connection.close()
    finally:
        engine.dispose()


def parsed(text: str) -> URL:
    """A URL of a PostgreSQL database, for psycopg.

    Raises:
        ValueError: It is none, or holds a password.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    shape = "postgresql://USER@HOST:PORT/DATABASE"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"must be {shape}") from None
    if url.drivername not in {"postgresql", "postgresql+psycopg"}:
        raise ValueError(f"must be {shape}; other databases are not read")
    if url.password is not None or {"password", "sslpassword"} & set(url.query):
        raise ValueError(
            "holds a password; put it into a file of mode 0600 that password_file names, or into "
            "libpq's .pgpass"
        )
    return url.set(drivername="postgresql+psycopg")


def said(url: URL) -> str:
    """A database in words, for errors."""
    host = url.host or url.query.get("host") or "this machine"
    place = host if isinstance(host, str) else ", ".join(host)
    port = f":{url.port}" if url.port else ""
    return f"database {url.database or url.username or 'of libpq'} at {place}{port}"


def read_password(path: Path) -> str:
    """The password in a file's first line.

    Raises:
        SourceBroken: The file is not there, is open to others or is empty.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            first = file.readline(4096).decode().rstrip("\r\n")
    except OSError as error:
        raise SourceBroken(f"{path.name}: cannot be read ({type(error).__name__})") from None
    except UnicodeDecodeError:
        raise SourceBroken(f"{path.name}: is not UTF-8") from None
    if mode & 0o077:
        raise SourceBroken(
            f"{path.name} is open to its group or to others (mode {mode:04o}); run: "
            f"chmod 600 {path.name}"
        )
    if not first:
        raise SourceBroken(f"{path.name}: is empty; its first line must be the password")
    return first


@contextmanager
def in_words(where: str) -> Iterator[None]:
    """Says what is wrong in a line of ours.

    Raises:
        SourceBroken: In place of an error of SQLAlchemy or psycopg.
    """
    import psycopg
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except UnicodeDecodeError:
        raise SourceBroken(f"{where}: holds text that is not UTF-8; mend the database") from None
    except SQLAlchemyError as error:
        original = getattr(error, "orig", None)
        why = _why(original) if isinstance(original, psycopg.Error) else type(error).__name__
        raise SourceBroken(f"{where}: {why}") from None
    except psycopg.Error as error:
        raise SourceBroken(f"{where}: {_why(error)}") from None


def _why(error: psycopg.Error) -> str:
    import psycopg

    if error.sqlstate is not None:
        known = _WHY.get(error.sqlstate) or _WHY_CLASS.get(error.sqlstate[:2])
        return known or f"the server refused it (SQLSTATE {error.sqlstate})"
    if isinstance(error, psycopg.DataError):
        return "holds a date outside the years 1 to 9999; mend it"
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return "it does not answer; look at its address and at the firewall"
    return _refused(str(error), error.pgconn)


def _refused(text: str, connection: psycopg.pq.abc.PGconn | None) -> str:
    """Why a connection failed. Of that, libpq gives no SQLSTATE: only words, maybe translated."""
    if connection is not None and connection.needs_password:
        return "it wants a password; password_file or .pgpass may give one"
    known = {
        "password authentication failed": _WHY["28P01"],
        "pg_hba.conf": "the server lets this user in neither from here nor in this way",
        "Connection refused": "nobody listens there; look whether the server runs",
        "No such file": "nobody listens there; look whether the server runs",
        "timeout expired": "it does not answer; look at its address and at the firewall",
        "translate host name": "there is no such host",
        "resolve host": "there is no such host",
        "SSL": "no encrypted connection came about; look at sslmode and sslrootcert",
        "certificate": "no encrypted connection came about; look at sslmode and sslrootcert",
        "starting up": _WHY["57P03"],
        "shutting down": _WHY["57P03"],
        "too many": _WHY["53300"],
    }
    for words, why in known.items():
        if words in text:
            return why
    if "database" in text and "does not exist" in text:
        return _WHY["3D000"]
    if connection is None:
        return "the connection was lost"
    if connection.used_password:
        return "the server refused user, password or database"
    return "no connection came about; look at the url and the server's log"
