"""Site: one hospital's own configuration, private, in site.toml."""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from client.policy import Policy
from client.sources.kinds import AnySource
from client.split import Split
from embeddings.encoder import EncoderSettings, Precision
from privacy.ledger import Cohort, Ledger
from privacy.randomness import Stream, stream
from privacy.release import SiteName
from privacy.spec import Spec


class Encoders(Spec):
    """How this machine gets and runs encoders; see `EncoderSettings`."""

    paths: dict[str, Path] = {}
    folders: bool = False
    hub: bool = False
    device: str = "auto"
    precision: Precision = "auto"
    batch: Annotated[int, Field(ge=1)] = 16


class Site(Spec):
    """One hospital. Never sent.

    Attributes:
        name: As the coordinator sees it.
        declared_patients: Training patients, rounded by hand; public. Rates and normalisers use
            it in place of the true number, which stays private.
        dataset: Names the patients in the ledger; two sources with the same patients must
            share it.
        data: Where the source's relative paths start, relative to site.toml.
        source: Where the patients come from.
        policy: What is allowed.
        split: Who is trained on.
        encoders: How this machine runs encoders.
        threads: CPU threads that training uses. Fixed, because sums in another order differ in
            their last bits.
        secret: File of the key for hashing ids and notes; made with mode 0600 when missing.
        ledger: File of the ledger.
        vectors: File of the embedding store.
        cohorts: Folder of prepared studies.
        test_seed: Simulations only: seeds sampling and noise, so that a run can be repeated.
            Whoever knows it can take the noise off; a real site must not set it.
        folder: Where site.toml stands; not a key of the file.
    """

    name: SiteName
    declared_patients: Annotated[int, Field(ge=1)]
    dataset: Annotated[str, Field(min_length=1)] = "patients"
    data: Path = Path()
    source: AnySource
    policy: Policy
    split: Split = Split()
    encoders: Encoders = Encoders()
    threads: Annotated[int, Field(ge=1)] = 1
    secret: Path = Path("site.key")
    ledger: Path = Path("ledger.sqlite")
    vectors: Path = Path("vectors.sqlite")
    cohorts: Path = Path("cohorts")
    test_seed: Annotated[int, Field(ge=0)] | None = None
    folder: Annotated[Path, Field(exclude=True)] = Path()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads site.toml.

        Raises:
            ValueError: In one line, what does not fit and where.
        """
        return super().read(path).model_copy(update={"folder": path.resolve().parent})

    def at(self, path: Path) -> Path:
        """A path of the configuration, from where site.toml stands."""
        return self.folder / path

    def settings(self) -> EncoderSettings:
        """How this site runs encoders."""
        own = self.encoders
        return EncoderSettings(
            paths={name: self.at(path) for name, path in own.paths.items()},
            folders=own.folders,
            hub=own.hub,
            device=own.device,
            precision=own.precision,
            batch=own.batch,
        )

    def open_ledger(self) -> Ledger:
        """The site's ledger."""
        return Ledger(self.at(self.ledger), dataset=self.dataset)

    def key(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, derived from the site's secret."""
        path = self.at(self.secret)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                pass  # another process of this site was first
            else:
                os.write(file, secrets.token_bytes(32))
                os.fsync(file)
                os.close(file)
        content = path.read_bytes()
        if len(content) != 32:
            raise ValueError(f"{path}: must hold 32 bytes; restore it from the backup")
        return hmac.digest(content, purpose.encode(), "sha256")

    def stream(self, *, receipt: int, cohort: Cohort = "train") -> Stream:
        """Where sampling and noise of one charge come from.

        From the operating system; in a simulation from `test_seed`, the site's name and the
        charge's number, so that no two charges ever share their noise.
        """
        if self.test_seed is None:
            return stream()
        return stream(f"{self.test_seed}/{self.name}/{cohort}/{receipt}")
