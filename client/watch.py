"""Watches a site: prepares what waits, and what has changed.

`python -m client.watch SITE --parent PID` is what `fedward site run` keeps running beside the node.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from client import wanted
from client.embed import Embedded, Embedder, Screen, alone, due, reason_of
from client.site import Site
from privacy.errors import SiteError
from privacy.process import end_with_parent
from privacy.spec import printable
from tasks.study import Study

LOOK_SECONDS = 1.0
"""How often it looks whether a study was marked as waiting."""
EVERY_SECONDS = 60.0
NICER = 10
"""Training goes first."""
SAID = "embed: "
"""Begins each line that `fedward site run` passes on."""


class Watch:
    """Prepares what is to be prepared, whenever something is.

    Args:
        path: site.toml; read anew each time.
        every: Seconds after which it looks whether the source has changed or a study was
            approved; a source that cannot tell is read each time.
        screen: Sees each study.
    """

    def __init__(self, path: Path, *, every: float, screen: Screen) -> None:
        self._path, self._every, self._screen = path, every, screen
        self._at: dict[str, str] = {}  # what the source was like when a study was prepared
        self._tried: dict[str, int] = {}  # when a study was marked last before it failed
        self._next = 0.0
        self._said = ""

    def run(self) -> None:
        """Goes on until the process ends."""
        while True:
            self.step()
            time.sleep(LOOK_SECONDS)

    def step(self) -> list[Embedded]:
        """Prepares what is due now."""
        try:
            found = self._step(Site.read(self._path))
        except (SiteError, OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, SiteError) else str(error)
            if reason != self._said:
                self._screen.trouble(reason)
            self._said = reason
            self._next = time.monotonic() + self._every
            return []
        if found:
            self._said = ""
        return found

    def _step(self, site: Site) -> list[Embedded]:
        by_clock = time.monotonic() >= self._next
        marks = wanted.wanted(site)
        asked = {digest for digest, at in marks.items() if self._tried.get(digest) != at}
        if not by_clock and not asked:
            return []
        # Before it is read: what changes meanwhile is read again.
        state = _state(site)
        try:
            with alone(site):
                embedder = Embedder(site, self._screen)
                found = [
                    embedder.prepare(digest)
                    for digest in due(site)
                    if digest in asked
                    or (by_clock and (state is None or self._at.get(digest) != state))
                ]
        except TimeoutError:
            return []  # somebody else embeds; what is left over is done after that
        marks = wanted.wanted(site)
        for one in found:
            self._at.pop(one.digest, None)
            if one.reason:
                self._tried[one.digest] = marks.get(one.digest, 0)
            elif state is not None:
                self._at[one.digest] = state
        if by_clock:
            self._next = time.monotonic() + self._every
        return found


def _state(site: Site) -> str | None:
    state = site.source.state(root=site.at(site.data))
    return None if state is None else f"{site.source.model_dump_json()} {state}"


class Lines:
    """A `Screen` for `fedward site run`, a line for each event. A study that fails in the same way
    again, or has nothing new, is not told again.
    """

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def begins(self, study: Study) -> None:
        """See `Screen.begins`."""
        if study.digest not in self._last:
            self._say(f"{printable(study.name, 60)} ({study.digest[:12]}) is being prepared")

    def progress(self, name: str, what: str, done: int, total: int) -> None:
        """See `Screen.progress`: told where something is to be embedded."""
        if what == "embedding" and not done:
            self._say(f"{printable(name, 60)}: {total:,} notes to embed")

    def ended(self, one: Embedded) -> None:
        """See `Screen.ended`."""
        said = one.reason or "prepared"
        if one.notes or self._last.get(one.digest) != said:
            self._say(one.said)
        self._last[one.digest] = said

    def trouble(self, reason: str) -> None:
        """See `Screen.trouble`."""
        self._say(reason)

    @staticmethod
    def _say(line: str) -> None:
        print(f"{SAID}{printable(line, 600)}", flush=True)


def main() -> None:
    """`python -m client.watch SITE --parent PID`: watches, until its parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m client.watch", allow_abbrev=False)
    parser.add_argument("site", type=Path, help="site.toml")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help="seconds")
    parser.add_argument("--parent", type=int, help="end when this is no longer the parent")
    given = parser.parse_args()
    if given.parent is not None:
        end_with_parent(given.parent)
    os.umask(0o077)
    os.nice(NICER)
    Watch(given.site, every=given.every, screen=Lines()).run()


if __name__ == "__main__":
    main()
