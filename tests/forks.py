"""Runs code in processes that can be killed at any point of their writing.

`Forks` starts this file once as a program, which imports what is slow and then forks a process for
each run: milliseconds instead of seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[1]

# A killed process loses nothing that it wrote, wherever it wrote: memory is as good and quicker.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - a folder of its own


@dataclass(frozen=True)
class Run:
    """How a run ended: 0, or minus a signal, and what it said until then."""

    code: int
    said: list[Any]

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Forks:
    """A program to fork from.

    Args:
        before: Code that it runs before it forks: imports, and whatever else is slow.
    """

    def __init__(self, before: str) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, before],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.communicate()

    def run(self, code: str, folder: Path, *, times: int = 1, die: int = 0) -> list[Run]:
        """Runs code in `times` processes at once.

        The code sees `folder`, `number` (of the process, from 0) and `say`, which reports to here.

        Args:
            code: Python.
            folder: What it works in.
            times: Processes.
            die: At which point each is killed; 0 is none, -1 leaves it to the code. See `_Points`.
        """
        request = {"code": code, "folder": str(folder), "times": times, "die": die}
        self._program.stdin.write(json.dumps(request) + "\n")
        self._program.stdin.flush()
        runs = [Run(**run) for run in json.loads(self._program.stdout.readline())]
        assert all(run.code == 0 or (die and run.killed) for run in runs), runs
        return runs

    def killed_everywhere(self, code: str, start: Path) -> Iterator[tuple[Path, Run]]:
        """Runs code once for each point of its writing, killed there; at last without.

        Args:
            code: See `run`.
            start: A folder; each run gets a copy of it.

        Yields:
            The run's folder, and how it ended. The folder is gone afterwards.
        """
        for point in count(1):
            with tempfile.TemporaryDirectory(dir=MEMORY) as work:
                folder = shutil.copytree(start, Path(work) / "site")
                (run,) = self.run(code, folder, die=point)
                yield folder, run
            if not run.killed:
                assert point > 5, "hardly any point at all: is the code still watched?"
                return


# What follows runs in the program.


class _Points:
    """Counts points, and kills the process at one of them.

    A point lies before each SQL statement (so after the one before it, a COMMIT too), and before,
    after and, of a write, in the middle of each call that changes another file.
    """

    def __init__(self, die: int) -> None:
        self.left = die

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        point = self

        class Traced(sqlite3.Connection):
            def __init__(self, *arguments: Any, **more: Any) -> None:
                super().__init__(*arguments, **more)
                self.set_trace_callback(point)

        connect, write = sqlite3.connect, os.write
        sqlite3.connect = lambda *a, **k: connect(*a, **k, factory=Traced)

        def halved(file: int, data: bytes) -> int:
            point()
            done = write(file, data[: len(data) // 2])
            point()
            done += write(file, data[len(data) // 2 :])
            point()
            return done

        os.write = halved
        for name in ("open", "fsync", "ftruncate", "replace"):
            setattr(os, name, self._around(getattr(os, name)))

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def around(*arguments: Any, **more: Any) -> Any:
            self()
            done = call(*arguments, **more)
            self()
            return done

        return around


def _child(request: dict[str, Any], number: int, gate: int, out: int) -> None:
    write = os.write

    def say(value: object) -> None:
        write(out, json.dumps(value).encode() + b"\n")

    os.read(gate, 1)  # all at once: it ends when the program closes it
    if request["die"]:
        _Points(request["die"]).watch()
    names = {"folder": Path(request["folder"]), "number": number, "say": say}
    try:
        exec(request["code"], names)  # noqa: S102 - the tests' own
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _serve(request: dict[str, Any]) -> list[dict[str, Any]]:
    gate, opens = os.pipe()
    children = []
    for number in range(request["times"]):
        said, out = os.pipe()
        if (child := os.fork()) == 0:
            os.close(opens)
            _child(request, number, gate, out)
        os.close(out)
        children.append((child, said))
    os.close(gate)
    os.close(opens)
    runs = []
    for child, said in children:
        with os.fdopen(said) as lines:
            heard = [json.loads(line) for line in lines]
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        runs.append({"code": code, "said": heard})
    return runs


def _main() -> None:
    exec(sys.argv[1], {})  # noqa: S102 - the tests' own
    for line in sys.stdin:
        print(json.dumps(_serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    _main()
