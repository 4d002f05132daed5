"""What a grid keeps between calls: the result of each cell that was run to its end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from experiments.simulate.result import Result
from privacy.files import replacing
from privacy.spec import Spec


class Done(Spec):
    """A cell that was run to its end.

    Attributes:
        values: Its value on each axis.
        code: Fingerprint of the code that ran it.
        run: Name of its run's folder.
        result: What came out.
    """

    values: dict[str, str]
    code: str
    run: str
    result: Result


@dataclass(frozen=True, slots=True)
class Shelf:
    """The files of a grid.

    Attributes:
        home: Of runs, vectors and MLflow.
        name: Of the grid.
    """

    home: Path
    name: str

    @property
    def folder(self) -> Path:
        """Holds everything of the grid but runs and vectors."""
        return self.home / "compare" / self.name

    @property
    def baselines(self) -> Path:
        """Those of all its cells."""
        return self.folder / "baselines"

    @property
    def lock(self) -> Path:
        """Held by whoever runs the grid."""
        return self.folder / "lock"

    def file(self, digest: str) -> Path:
        """A cell's result."""
        return self.folder / f"{digest}.json"

    def log(self, digest: str) -> Path:
        """What the libraries said while the cell was run."""
        return self.folder / f"{digest}.log"

    def study(self, digest: str) -> Path:
        """The cell as a study file of its own."""
        return self.folder / f"{digest}.toml"

    def run(self, digest: str) -> str:
        """The name of the cell's run."""
        return f"{self.name}-{digest[:16]}"

    def done(self, digest: str) -> Done | None:
        """A cell's result; None where it was not run to its end, or not by a version that wrote
        what this one reads.
        """
        try:
            return Done.model_validate_json(self.file(digest).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def keep(self, digest: str, done: Done) -> None:
        """Writes a result, whole or not at all."""
        with replacing(self.file(digest)) as file:
            file.write(done.model_dump_json(ensure_ascii=True))

    def forget(self) -> None:
        """Removes every result; vectors stay."""
        for path in self.folder.glob("*.json"):
            path.unlink()
        shutil.rmtree(self.baselines, ignore_errors=True)
