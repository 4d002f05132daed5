"""Breaks the code on purpose, one guarantee at a time: some test must fail for each.

    make mutations                       # all
    python tests/mutations.py clip noise # those whose name holds one of these words

Every mutation is made in a copy of the tree. Exit status 0 only when the tests pass in the copy
as it is and fail with every mutation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mutations_of_mechanisms
import mutations_of_privacy
import mutations_of_sites
from mutation import Mutation

ROOT = Path(__file__).parents[1]
MUTATIONS = (
    *mutations_of_mechanisms.MUTATIONS,
    *mutations_of_privacy.MUTATIONS,
    *mutations_of_sites.MUTATIONS,
)
AT_ONCE = 2
LONGEST_SECONDS = 300
FAILED = 1  # pytest's status where tests ran and some failed


@dataclass(frozen=True)
class Outcome:
    """What the tests said."""

    name: str
    caught: bool
    why: str
    seconds: float


def tracked() -> list[str]:
    """The tree's files, those that are not committed yet included."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in found.stdout.splitlines() if (ROOT / name).is_file()]


@contextmanager
def copied(names: list[str]) -> Iterator[Path]:
    """A copy of the tree that goes away again."""
    with tempfile.TemporaryDirectory(prefix="fedward-mutation-") as folder:
        copy = Path(folder) / "tree"
        for name in names:
            target = copy / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        yield copy


def pytest(copy: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """Runs some tests of a copy, on the copy's own code."""
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        words,
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )


def tried(mutation: Mutation, names: list[str]) -> Outcome:
    """Makes one mutation and runs its tests."""
    began = time.monotonic()
    with copied(names) as copy:
        path = copy / mutation.file
        text = path.read_text("utf-8")
        if text.count(mutation.before) != 1:
            found = text.count(mutation.before)
            return Outcome(mutation.name, False, f"stands {found} times in {mutation.file}", 0)
        path.write_text(text.replace(mutation.before, mutation.after), "utf-8")
        try:
            ran = pytest(copy, mutation.tests)
        except subprocess.TimeoutExpired:
            return Outcome(mutation.name, False, "the tests never ended", LONGEST_SECONDS)
    failed = [line for line in ran.stdout.splitlines() if line.startswith("FAILED")]
    why = failed[0].split(" - ")[0].removeprefix("FAILED ") if failed else "no test failed"
    if ran.returncode not in {0, FAILED}:
        why = f"pytest ended with {ran.returncode}: {ran.stdout[-300:]}"
    caught = ran.returncode == FAILED and bool(failed)
    return Outcome(mutation.name, caught, why, time.monotonic() - began)


def main(words: list[str]) -> int:
    """Runs the mutations whose name holds one of the words, or all; the exit status."""
    chosen = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    names = tracked()
    with copied(names) as copy:
        files = tuple(sorted({test for mutation in chosen for test in mutation.tests}))
        sound = pytest(copy, files)
    if sound.returncode:
        print(sound.stdout[-3000:])
        print("the tests fail without any mutation")
        return 1
    missed = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(tried, mutation, names) for mutation in chosen]
        for number, done in enumerate(as_completed(running), 1):
            outcome = done.result()
            word = "caught" if outcome.caught else "MISSED"
            print(
                f"{number:3}/{len(chosen)}  {word}  {outcome.name}  "
                f"({outcome.why}, {outcome.seconds:.0f} s)",
                flush=True,
            )
            if not outcome.caught:
                missed.append(outcome.name)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} mutations caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
