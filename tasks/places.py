"""Where a run under Flower keeps its files; the same for both sides of a simulation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the floors: checkout, installation, or the unpacked Flower bundle."""


@dataclass(frozen=True, slots=True)
class Places:
    """The files of one run.

    Attributes:
        study: The study file.
        data: Where relative paths of the simulation's source start.
        home: Kept between runs: vectors, MLflow.
        run: Of this run: sites and their ledgers, checkpoints, the journal.
    """

    study: Path
    data: Path
    home: Path
    run: Path

    @classmethod
    def of(cls, run_config: Mapping[str, object], run_id: int) -> Places:
        """The places that a Flower run names.

        Args:
            run_config: `study` (a path; relative ones start at `ROOT`), and optionally
                `data`, `home` and `run`.
            run_id: Flower's number of the run, which names its folder where `run` is not given.
        """

        def text(key: str) -> str:
            return str(run_config.get(key, "") or "")

        study = ROOT / text("study")
        home = Path(text("home") or os.environ.get("FEDWARD_HOME", "") or "~/.fedward")
        home = home.expanduser().resolve()
        run = text("run") or f"{study.stem}-{run_id}"
        return cls(
            study=study,
            data=Path(text("data") or ".").resolve(),
            home=home,
            run=home / "runs" / run,
        )

    def site(self, name: str) -> Path:
        """The folder of a simulated site in this run."""
        return self.run / "sites" / name
