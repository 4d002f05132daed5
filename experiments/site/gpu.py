"""Memory of this machine's GPUs; nothing where there is none."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from typing import Any

from privacy.spec import Spec

MIB = 1 << 20
WAIT_SECONDS = 10.0


class GpuMemory(Spec):
    """One GPU.

    Attributes:
        index: Of the driver.
        used: Bytes, of all processes.
        total: Bytes.
    """

    index: int
    used: int
    total: int


def gpus() -> tuple[GpuMemory, ...]:
    """Every GPU that NVIDIA's library shows, or else `nvidia-smi`; empty without either."""
    try:
        library: Any = importlib.import_module("pynvml")
    except ImportError:
        return _from_program()
    try:
        library.nvmlInit()
    except library.NVMLError:
        return ()
    try:
        return tuple(_from_library(library))
    except library.NVMLError:
        return ()
    finally:
        library.nvmlShutdown()


def _from_library(library: Any) -> list[GpuMemory]:
    found = []
    for index in range(library.nvmlDeviceGetCount()):
        memory = library.nvmlDeviceGetMemoryInfo(library.nvmlDeviceGetHandleByIndex(index))
        found.append(GpuMemory(index=index, used=int(memory.used), total=int(memory.total)))
    return found


def _from_program() -> tuple[GpuMemory, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = ["--query-gpu=index,memory.used,memory.total", "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(
            [program, *query], capture_output=True, text=True, timeout=WAIT_SECONDS, check=True
        ).stdout
        rows = [tuple(map(int, line.split(","))) for line in out.splitlines()]
        return tuple(
            GpuMemory(index=index, used=used * MIB, total=total * MIB)
            for index, used, total in rows
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()  # no driver, or a GPU that does not tell
