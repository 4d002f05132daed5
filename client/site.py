"""Site: one hospital's own configuration, private, in site.toml."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, Self

from filelock import FileLock
from pydantic import Field, PrivateAttr, model_validator

from client.policy import Policy
from client.sources.kinds import AnySource
from client.split import Split
from embeddings.encoder import EncoderSettings, Precision
from privacy.address import HostPort
from privacy.audit_log import AuditLog
from privacy.errors import LedgerBroken
from privacy.keys import derive, make_key, read_key
from privacy.ledger import Ledger, Receipt
from privacy.randomness import Stream, stream
from privacy.release import SiteName
from privacy.releases import Releases
from privacy.spec import Spec


class Encoders(Spec):
    """How this machine gets and runs encoders; see `EncoderSettings`."""

    paths: dict[str, Path] = {}
    folders: bool = False
    hub: bool = False
    device: str = "auto"
    precision: Precision = "auto"
    batch: Annotated[int, Field(ge=1)] = 16


class Coordinator(Spec):
    """Whom a site's node connects to, and as whom.

    Attributes:
        superlink: HOST:PORT; the only address that the node connects to.
        ca: File of the CA certificate, PEM, that the coordinator handed over; no other is trusted.
        node_key: File of the node's private key, OpenSSH format. Whoever has it can answer in
            the site's place.
        port: Of 127.0.0.1, where the node's own processes reach it; one for each node on a machine.
        monitor: Of 127.0.0.1, where `fedward site run` serves /healthz and /metrics; one for each
            site on a machine; 0 is none.
        embed: Whether `fedward site run` prepares studies and takes in new notes by itself, or
            somebody runs or schedules `fedward site embed`.
        longest_message_minutes: A message that takes longer is given up, so that one which hangs
            does not keep the node for ever.
    """

    superlink: HostPort
    ca: Path = Path("coordinator-ca.crt")
    node_key: Path = Path("node.key")
    port: Annotated[int, Field(ge=1, le=65535)] = 9094
    monitor: Annotated[int, Field(ge=0, le=65535)] = 9095
    embed: Literal["daemon", "manual"] = "daemon"
    longest_message_minutes: Annotated[float, Field(gt=0, le=10_080)] = 60.0

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.monitor == self.port:
            raise ValueError("port and monitor are the same; give each a port of its own")
        return self


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
        coordinator: Whom the node connects to; simulated sites have none.
        split: Who is trained on.
        encoders: How this machine runs encoders.
        studies: Folder of studies that were received and await a decision, or had one.
        threads: CPU threads that training uses. Fixed, because sums in another order differ in
            their last bits.
        secret: File of the key for hashing ids and notes; made with mode 0600 when missing.
        store_key: File of the key that the embedding store is sealed with; made with mode 0600
            when the store is new. Without it the store's vectors are lost.
        ledger: File of the ledger.
        mark: File of the high-water mark of ledger and audit log. Keep it apart from them, best on
            another disk that is not restored together with theirs.
        audit_log: File of the audit log.
        releases: File of the last releases, for retries.
        vectors: File of the embedding store.
        quota_gb: Most that the embedding store may take on the disk, in GB of 10**9 bytes; None
            for as much as there is.
        cohorts: Folder of prepared studies.
        heads: Folder of the federation's final heads, and of heads of the site's own.
        parts: File of the part of the split that each patient was ever in, by keyed hash.
        withdrawn: File of the keyed hashes of patients who take part in nothing any more.
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
    coordinator: Coordinator | None = None
    split: Split = Split()
    encoders: Encoders = Encoders()
    threads: Annotated[int, Field(ge=1)] = 1
    secret: Path = Path("site.key")
    store_key: Path = Path("store.key")
    ledger: Path = Path("ledger.sqlite")
    mark: Path = Path("mark/high-water.sqlite")
    audit_log: Path = Path("audit.jsonl")
    releases: Path = Path("releases.sqlite")
    studies: Path = Path("studies")
    vectors: Path = Path("vectors.sqlite")
    quota_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    cohorts: Path = Path("cohorts")
    heads: Path = Path("heads")
    parts: Path = Path("parts.txt")
    withdrawn: Path = Path("withdrawn.txt")
    test_seed: Annotated[int, Field(ge=0)] | None = None

    _at_hand: Ledger | None = PrivateAttr(None)
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

    @contextmanager
    def ledger_at_hand(self) -> Iterator[None]:
        """Has everybody use one open ledger while a message is answered."""
        ledger = self.open_ledger()
        with ledger.at_hand():
            self._at_hand = ledger
            try:
                yield
            finally:
                self._at_hand = None

    def open_ledger(self) -> Ledger:
        """The site's ledger.

        Raises:
            LedgerBroken: It and its mark are gone, though studies were prepared here.
        """
        if self._at_hand is not None:
            return self._at_hand
        path, mark, parts = self.at(self.ledger), self.at(self.mark), self.at(self.parts)
        # Neither of the two is there to miss the other; this one is only ever written after both.
        if parts.exists() and not path.exists() and not mark.exists():
            raise LedgerBroken(
                f"{path.name} and its high-water mark are gone, though studies were prepared here "
                f"({parts.name}): a new ledger would forget what was spent. Restore it from where "
                "it was moved or backed up"
            )
        return Ledger(path, dataset=self.dataset, mark=mark)

    def open_log(self) -> AuditLog:
        """The site's audit log."""
        return AuditLog(self.at(self.audit_log), site=self.name, mark=self.at(self.mark))

    def new_marks(self) -> dict[str, int]:
        """Begins the high-water marks that were lost; the operator's own decision.

        Both stand in one file, so both are lost with it.

        Returns:
            Where each stands now, by the name of its chain.

        Raises:
            LedgerBroken: None is lost, or a chain itself does not hold.
        """
        chains: dict[str, Ledger | AuditLog] = {
            "ledger": self.open_ledger(),
            "audit log": self.open_log(),
        }
        lost = {name: chain for name, chain in chains.items() if chain.mark_is_lost}
        if not lost:
            raise LedgerBroken("no high-water mark is missing; nothing to begin")
        begun = {name: chain.new_mark().length for name, chain in lost.items()}
        for name, length in begun.items():
            self.open_log().write("mark", chain=name, length=length)
        return begun

    def open_releases(self) -> Releases:
        """The site's kept releases."""
        return Releases(self.at(self.releases))

    def one_at_a_time(self) -> FileLock:
        """A lock that only one process of this site holds; the system lets go of it at a kill."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.at(Path("site.lock")), mode=0o600)

    def key(self, purpose: str) -> bytes:
        """A key of 32 bytes for one purpose, derived from the site's secret.

        Raises:
            KeyBroken: The secret's file is damaged or open to others.
        """
        path = self.at(self.secret)
        if not path.exists():
            make_key(path)
        return derive(read_key(path), purpose)

    def stream(self, receipt: Receipt) -> Stream:
        """Where sampling and noise of one charge come from.

        From the operating system; in a simulation from `test_seed`, the site's name and the
        charge, so that no two charges ever share their noise.
        """
        if self.test_seed is None:
            return stream()
        spend = receipt.spend
        which = f"{receipt.cohort}/{spend.study}/{spend.round}/{receipt.attempt}"
        return stream(f"{self.test_seed}/{self.name}/{which}")
