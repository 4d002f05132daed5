"""Starts processes, starts them again when they die, and ends them; one line for each event."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from experiments.said import Event

LOG_BYTES, LOG_FILES = 10_000_000, 3
GRACE_SECONDS = 10.0
STEADY_SECONDS = 60.0
"""Whoever lived for so long begins with the shortest wait again."""
TICK_SECONDS = 0.2
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Child:
    """A process that should always run.

    Attributes:
        name: In every line about it.
        command: Program and arguments.
        environment: All of it.
        folder: Where it starts.
        log: Its output goes to this file, of 10 MB and three older ones at most.
        waits: Seconds before the first start after a death, and the most; each death doubles it.
        ready: Asked each second after a start, until it says True; may print.
        heard: Gets every line of its output.
        why: What to add to the line about a death; asked after the last line was heard.
        before: Asked before each start; what it says keeps the process from starting for now, and
            is told once.
        takes_along: Whether what it started ends with it when it dies by itself.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    waits: tuple[float, float] = (1.0, 15.0)
    ready: Callable[[], bool] = lambda: True
    heard: Callable[[str], None] = lambda _: None
    why: Callable[[], str] = lambda: ""
    before: Callable[[], str] = lambda: ""
    takes_along: bool = True


class Supervised:
    """One child and its process, if there is one."""

    def __init__(self, child: Child, say: Callable[[str], None]) -> None:
        self._child = child
        self._say = say
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._began = 0.0
        self._next = 0.0
        self._look = 0.0
        self._ready = False
        self._wait = child.waits[0]
        self._said = ""
        self._log = logging.handlers.RotatingFileHandler(
            child.log, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
        )

    def step(self) -> None:
        """Starts it, notices its death, or asks whether it is ready."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next:
                self._start_or_wait()
        elif self._process.poll() is not None:
            self._died(self._process)
        elif not self._ready and now >= self._look:
            self._look = now + LOOK_SECONDS
            self._ready = self._child.ready()

    def stop(self) -> None:
        """Ends it and what it started: asks, waits, and then does not ask."""
        process = self._process
        if process is not None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            self._end_group(process)
            process.wait()
            self._hear_out()
            name = self._child.name
            self._say(Event(f"{name} stopped", "stopped", child=name))
        self._log.close()

    def _start_or_wait(self) -> None:
        reason = self._child.before()
        if reason and reason == self._said:
            self._postpone()
            return
        self._said = reason
        if reason:
            self._later("waiting", reason)
            return
        self._process = subprocess.Popen(
            list(self._child.command),
            cwd=self._child.folder,
            env=dict(self._child.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._began, self._look, self._ready = time.monotonic(), 0.0, False
        self._reader = threading.Thread(target=self._read, args=[self._process], daemon=True)
        self._reader.start()
        name, process = self._child.name, self._process.pid
        text = f"{name} started, process {process}"
        self._say(Event(text, "started", child=name, process=process))

    def _read(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        with process.stdout as output:
            for line in output:
                text = _COLOUR.sub("", line.rstrip("\n"))
                self._log.emit(logging.makeLogRecord({"msg": text}))
                self._child.heard(text)

    def _died(self, process: subprocess.Popen[str]) -> None:
        if self._child.takes_along:
            self._end_group(process)
        self._hear_out()
        self._process = None
        if time.monotonic() - self._began >= STEADY_SECONDS:
            self._wait = self._child.waits[0]
        code = process.returncode
        how = f"signal {-code}" if code < 0 else f"status {code}"
        why = self._child.why()
        reason = f"ended with {how}" + (f": {why}" if why else f"; see {self._child.log}")
        self._later("ended", reason)

    def _later(self, event: str, why: str) -> None:
        name, wait = self._child.name, self._wait
        text = f"{name} {why}; again in {wait:g} s"
        self._say(Event(text, event, level="warning", child=name, why=why, again_in_seconds=wait))
        self._postpone()

    def _postpone(self) -> None:
        self._next = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, self._child.waits[1])

    def _hear_out(self) -> None:
        if self._reader is not None:
            self._reader.join(2)

    @staticmethod
    def _end_group(process: subprocess.Popen[str]) -> None:
        """Ends what the process started; its session, and so its group, has its number."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Part(Protocol):
    """What the supervisor does beside its children, in its own process."""

    def step(self) -> None:
        """Does a little; asked some times a second."""

    def stop(self) -> None:
        """Ends it, once the children have ended."""


def supervise(
    children: Sequence[Child], say: Callable[[str], None], *, beside: Sequence[Part] = ()
) -> None:
    """Keeps children running until SIGTERM, SIGINT or SIGHUP, then ends them, the last first.

    Args:
        children: In the order in which they are started.
        say: Gets one line for each event; the supervisor's own are `Event`s.
        beside: What is done in this process meanwhile.

    Raises:
        OSError: A program is not there, or a log cannot be written.
    """
    with _told_to_stop() as stop:
        running: list[Part] = [*beside, *(Supervised(child, say) for child in children)]
        try:
            while not stop.wait(TICK_SECONDS):
                for one in running:
                    one.step()
        finally:
            for one in reversed(running):
                one.stop()


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that signals set; what they did before is put back."""
    stop = threading.Event()

    def tell(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, tell) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
