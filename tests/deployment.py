"""A deployment on this machine, through the commands that people type."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from federation import BIN, ROOT

FEDWARD = "import sys; sys.argv[0] = 'fedward'; from experiments.command import main; main()"


def until(done: Callable[[], object], otherwise: Callable[[], str], seconds: float = 180) -> None:
    """Waits until something is so; a failure says `otherwise`."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(otherwise())
        time.sleep(0.2)


def environment(folder: Path) -> dict[str, str]:
    """Nothing of this process's: what keeps Flower quiet must come from fedward."""
    scratch = folder / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.pathsep.join([str(BIN), os.defpath]),
        "HOME": str(folder),
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        # One for all, or each command would parse the ICD table for 3 s.
        "FEDWARD_CACHE": str(Path.home() / ".cache" / "fedward"),
        # Loopback is reached past any proxy.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }


def fedward(folder: Path, *words: object, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-P", "-c", FEDWARD, *map(str, words)],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )


@dataclass
class Daemon:
    """A `fedward ... run` that runs.

    Attributes:
        process: Its process.
        output: What it prints goes to this file.
    """

    process: subprocess.Popen[bytes]
    output: Path

    @classmethod
    def start(cls, folder: Path, *words: object, **more: str) -> Daemon:
        """Starts a command that goes on, with more in its environment."""
        output = folder / "said.txt"
        with output.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", FEDWARD, *map(str, words)],
                cwd=folder,
                env=environment(folder) | more,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return cls(process, output)

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.output.read_text(errors="replace")

    def says(self, words: str, *, times: int = 1, seconds: float = 300) -> None:
        """Waits until it has said something."""
        until(lambda: self.said.count(words) >= times, lambda: self.logs(words), seconds)

    def children(self, name: str) -> list[int]:
        """Every process id that it named for one of its children; the last is the present one."""
        return [int(pid) for pid in re.findall(rf"{name} started, process (\d+)", self.said)]

    def logs(self, words: str) -> str:
        """What it and its children said, for a message about a failure."""
        files = sorted(self.output.parent.rglob("*.log"))
        texts = [f"--- {file}\n{file.read_text(errors='replace')[-3000:]}" for file in files]
        return "\n".join([f"did not say {words!r} but:", self.said, *texts])

    def stop(self) -> int:
        """Ends it as a service manager would; its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
