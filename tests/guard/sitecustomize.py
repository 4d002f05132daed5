"""Python loads this at the start of every process that has its folder on PYTHONPATH.

`FEDWARD_TEST_TARGETS` names a file: each address that the process connects to, each name that it
looks up and each program that it starts is added to it. Sockets of C++ libraries are not seen.

`FEDWARD_TEST_BREAK` names a file: while it exists, training fails with its content.

`FEDWARD_TEST_STRIKE` names a file with three words: a module, a function or method of it, and what
happens to the process the next time it is called: `before` or `after` kill it then, once; `nan`
spoils the head that it trained, each time.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path

CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKS_UP = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
STARTS = {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}


def watch(path: str) -> None:
    file = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def hook(event: str, values: tuple) -> None:
        if event in CONNECTS:
            what, target = "connect", values[1]
        elif event in LOOKS_UP:
            what, target = "look-up", values[0]
        elif event in STARTS:
            what, target = "start", values[0] or values[1][0]
        else:
            return
        target = list(map(str, target)) if isinstance(target, tuple) else str(target)
        line = {"what": what, "target": target, "program": Path(sys.argv[0]).name}
        os.write(file, json.dumps(line).encode() + b"\n")

    sys.addaudithook(hook)


class Breaks:
    """Puts a failing `fit` into `client.local` while the file exists."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def find_spec(self, name: str, path: object = None, target: object = None):
        if name != "client.local" or not self.path.exists():
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            module.fit = self.fit

        spec.loader.exec_module = exec_module
        return spec

    def fit(self, *_: object, **__: object) -> None:
        raise ValueError(self.path.read_text())


class Strikes:
    """Wraps a function of a module when that is loaded, while the file exists."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def find_spec(self, name: str, path: object = None, target: object = None):
        words = self.path.read_text().split() if self.path.exists() else [""]
        if name != words[0]:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        _, what, how = words

        def exec_module(module):
            run(module)
            *owners, last = what.split(".")
            owner = getattr(module, owners[0]) if owners else module
            setattr(owner, last, self.wrapped(getattr(owner, last), how))

        spec.loader.exec_module = exec_module
        return spec

    def wrapped(self, function, how: str):
        def wrapper(*values, **named):
            if how == "before":
                self.die()
            result = function(*values, **named)
            if how == "after":
                self.die()
            if how == "nan":
                for parameter in values[1].parameters():
                    parameter.data.fill_(float("nan"))
            return result

        return wrapper

    def die(self) -> None:
        if self.path.exists():
            self.path.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


if "FEDWARD_TEST_TARGETS" in os.environ:
    watch(os.environ["FEDWARD_TEST_TARGETS"])
if "FEDWARD_TEST_BREAK" in os.environ:
    sys.meta_path.insert(0, Breaks(os.environ["FEDWARD_TEST_BREAK"]))
if "FEDWARD_TEST_STRIKE" in os.environ:
    sys.meta_path.insert(0, Strikes(os.environ["FEDWARD_TEST_STRIKE"]))
