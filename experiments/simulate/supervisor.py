"""Runs one command and leaves no process of it behind. Linux.

Ray starts agents that outlive their driver, and opens ports on every interface. This process
makes itself the reaper of all its descendants, ends each of them when the command is over, and
first moves into a network namespace of its own where it may, so that those ports are reachable
from nowhere.

Run as `python -P supervisor.py SECONDS COMMAND...`; exits as the command does, 124 on a timeout.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
TIMED_OUT = 124


def supervise(command: list[str], *, seconds: float) -> int:
    """Runs a command, then ends whatever is left of it; gives its exit status."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, _stop)
    enter_own_network()
    # Short: Ray puts UNIX sockets in it, whose paths have at most 107 bytes.
    scratch = tempfile.mkdtemp(prefix="fw-", dir="/tmp")
    try:
        return subprocess.call(command, timeout=seconds, env={**os.environ, "RAY_TMPDIR": scratch})
    except subprocess.TimeoutExpired:
        return TIMED_OUT
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_descendants()
        shutil.rmtree(scratch, ignore_errors=True)


def enter_own_network() -> bool:
    """Moves this process into a network namespace of its own; False where it may not."""
    for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET):
        # Tried in a fork first: a user namespace half made cannot be left again.
        child = os.fork()
        if child == 0:
            try:
                _unshare(flags)
            except OSError:
                os._exit(1)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            _unshare(flags)
            return True
    return False


def end_descendants(grace: float = 3.0) -> None:
    """Waits a little for what is left, then ends it; orphans come to this process."""
    end = time.monotonic() + grace
    while _some_left() and time.monotonic() < end:
        time.sleep(0.05)
    while _some_left():
        for pid in _children():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def _unshare(flags: int) -> None:
    user, group = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if flags & CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:  # ip link set lo up
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh", b"lo", 0))
        up = struct.unpack("16sh", answer)[1] | IFF_UP
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", up))


def _children() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                found.append(int(folder.name))
    return found


def _some_left() -> bool:
    """Takes in the children that have ended; whether any is left."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[2:], seconds=float(sys.argv[1])))
