"""What a large parquet source needs: peak memory and notes a second.

    python benchmarks/parquet_memory.py [--notes N] [--characters N]

Makes invented notes, three a patient, in no order, with their stays and codes, as Parquet files in
a temporary folder, and streams the patients in a process of its own. Peak memory is that process's
largest resident set as the system counts it. Exit status 1 where it reaches 2 GiB, or where a note
is lost.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

GIB = 2**30
LIMIT = 2 * GIB
ROWS_AT_A_TIME = 10_000

# fmt: off
WORDS = (
    "acute", "pain", "left", "right", "chest", "abdomen", "fever", "cough", "denies", "reports",
    "history", "diabetes", "weeks", "discharged", "home", "stable", "oral", "daily", "no", "the",
)
# fmt: on

SOURCE = {
    "kind": "parquet",
    "time_zone": "Europe/Madrid",
    "notes": {"paths": ["notes.parquet"], "columns": {"at": "at", "kind": "type", "stay": "stay"}},
    "stays": {"paths": ["stays.parquet"]},
    "codes": {"paths": ["codes.parquet"], "code_system": "icd-10-cm"},
}


def make(folder: Path, *, notes: int, characters: int) -> None:
    """Writes the three files, a few thousand rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(7)
    order = random.permutation(notes)
    vocabulary = np.array(WORDS)
    start = np.datetime64("2010-01-01T08:00:00", "us")

    def when(stays: np.ndarray, hours: int) -> pa.Array:
        return pa.array(start + stays.astype("m8[h]") + np.timedelta64(hours, "h"))

    writer: pq.ParquetWriter | None = None
    for first in range(0, notes, ROWS_AT_A_TIME):
        some = order[first : first + ROWS_AT_A_TIME]
        drawn = vocabulary[random.integers(len(vocabulary), size=(len(some), characters // 6))]
        texts = [(" ".join(words) + " " * characters)[:characters] for words in drawn.tolist()]
        table = pa.table(
            {
                "patient": pa.array(some // 3),
                "stay": pa.array(some // 3),
                "at": when(some // 3, 20),
                "type": ["discharge"] * len(some),
                "text": [f"{number} {text}" for number, text in zip(some, texts, strict=True)],
            }
        )
        writer = writer or pq.ParquetWriter(folder / "notes.parquet", table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    stays = np.arange((notes + 2) // 3)
    pq.write_table(
        pa.table(
            {
                "patient": stays,
                "stay": stays,
                "admitted": when(stays, 0),
                "discharged": when(stays, 72),
            }
        ),
        folder / "stays.parquet",
    )
    coded = np.repeat(stays, 10)
    codes = [f"{letter}{n:02d}.{n % 10}" for n in range(100) for letter in "AEIJK"]
    drawn = random.permuted(np.tile(np.arange(500), (len(stays), 1)), axis=1)[:, :10].ravel()
    pq.write_table(
        pa.table({"stay": coded, "code": np.array(codes)[drawn]}), folder / "codes.parquet"
    )


def stream(folder: Path) -> tuple[int, int, int]:
    """Streams the source; patients, notes and codes."""
    from client.sources.kinds import SOURCES
    from client.sources.source import Attrition

    patients = notes = codes = 0
    attrition = Attrition()
    for patient in SOURCES.parse(SOURCE).patients(root=folder, attrition=attrition):
        patients += 1
        notes += len(patient.notes)
        codes += sum(len(stay.codes) for stay in patient.stays)
    if attrition.counts:
        raise SystemExit(f"left out: {attrition.counts}")
    return patients, notes, codes


def main() -> int:
    """Prints the figures; exit status 1 at 2 GiB or where a note is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--notes", type=int, default=300_000)
    parser.add_argument("--characters", type=int, default=1_500)
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream is not None:
        began = time.perf_counter()
        patients, notes, codes = stream(options.stream)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(f"{patients:,} patients, {notes:,} notes, {codes:,} codes in {seconds:.1f} s")
        print(f"{notes / seconds:,.0f} notes a second, peak memory {peak / GIB:.2f} GiB")
        return 0 if peak < LIMIT and notes == options.notes else 1
    with tempfile.TemporaryDirectory(prefix="fedward-benchmark-") as name:
        folder = Path(name)
        make(folder, notes=options.notes, characters=options.characters)
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{options.notes:,} notes of {options.characters:,} characters, {size / 1e6:.0f} MB")
        sys.stdout.flush()
        own = [sys.executable, __file__, "--notes", str(options.notes), "--stream", name]
        return subprocess.run(own, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
