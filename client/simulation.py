"""Simulated sites: how a study's `[simulation]` table becomes site.toml files.

Only simulations read that table; a real site has its own site.toml and ignores it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

import tomli_w
from pydantic import Field, model_validator

from client.dealing import dealt
from client.drawn import Drawn, before, named, waits
from client.partition import AnyPartition, Partition
from client.policy import Policy
from client.site import Site
from client.sources.kinds import AnySource
from client.sources.share import Share
from client.sources.source import Attrition, Source
from client.sources.whole import WholeSource
from client.split import Split
from client.split_file import read_split_file, write_split_file
from client.stratify import Stratified, stratify, true_outputs
from privacy.budget import Budget
from privacy.keys import derive, make_key
from privacy.release import SiteName
from privacy.spec import Spec, read_toml
from tasks.heads.kinds import AnyHead
from tasks.places import Places
from tasks.study import SIMULATION, OptimizerSpec, Study
from tasks.task import Task
from tasks.term_coding import TermCoding

Draws = dict[tuple[str | int, ...], tuple[str, ...]]
"""Names by what they were drawn from: data, system, how many, sources."""


class Cut(Spec):
    """Cuts pooled data into sites by a column; see `Source.cut`."""

    column: str
    largest: Annotated[int, Field(ge=1)]
    rest: SiteName = "others"


class SimulatedSite(Spec):
    """One site that is named in the table."""

    name: SiteName
    declared_patients: Annotated[int, Field(ge=1)]
    source: AnySource
    policy: Policy | None = None
    split: Split | None = None


class Recipe(Spec):
    """How the baselines without privacy train, where that is not how the study trains."""

    rounds: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    optimizer: OptimizerSpec
    head: AnyHead | None = None


class Simulation(Spec):
    """The `[simulation]` table of a study file: either `sites`, or pooled data and how it becomes
    sites, `cut` or `partition`.

    The sites of a partition share one key and one store of vectors, which follow from the seed and
    the source. A patient is then in the same part of the split whichever site has the patient, so
    that two partitions hold out the same people, and no note is embedded again for another
    partition. A note's owners in that store are patients of the pooled data, whatever their site.

    Attributes:
        seed: Of the sites' secrets (so of their splits), sampling and noise.
        policy: Of every site that has none of its own.
        split: Of every site that has none of its own.
        threads: CPU threads that each site trains with.
        sites: Sites by name.
        source: Pooled data.
        cut: How pooled data becomes sites. Each declares its number of training patients,
            rounded to the nearest ten.
        partition: How pooled data becomes sites where no column names them; see
            `client.partition`. They declare their numbers as those of a cut do.
        stratified: Deals all sites' patients together into parts with about the same share of
            every output, in place of `split` and of a split that the source brings along.
        names: Draws what a `term-coding` study asks for; see `Drawn`.
        baseline: What suits training under noise seldom suits training without it; this keeps
            the comparison fair to those who train alone.
    """

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    policy: Policy = Policy(lifetime=Budget(epsilon=float("inf")), studies="any", metrics="exact")
    split: Split = Split()
    threads: Annotated[int, Field(ge=1)] = 1
    sites: tuple[SimulatedSite, ...] = ()
    source: WholeSource | None = None
    cut: Cut | None = None
    partition: AnyPartition | None = None
    stratified: Stratified | None = None
    names: Drawn | None = None
    baseline: Recipe | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [way for way in (self.cut, self.partition) if way is not None]
        pooled = self.source is not None
        if pooled == bool(self.sites) or len(ways) != pooled:
            raise ValueError("give either sites, or both source and cut or partition")
        if self.names is not None and self.stratified is not None:
            raise ValueError("names are drawn before patients are dealt: take stratified away")
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ValueError("two sites have the same name")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the table of a study file.

        Raises:
            ValueError: It has none, or the table does not fit.
        """
        table = read_toml(path).get(SIMULATION)
        if not isinstance(table, dict):
            raise ValueError(f"{path}: has no [{SIMULATION}] table, so it cannot be simulated")
        return cls.parse_table(table, where=f"{path}: {SIMULATION}")

    def with_names(self, places: Places) -> Places:
        """Where the study's task waits for its names, the run's own study file that has them.

        Raises:
            SourceBroken: The records cannot be read.
            ValueError: Not so many are there, or the study has names and would draw others.
        """
        before(places.study)  # a mistake is told before records are read
        table = read_toml(places.study)
        found = self.named(table, data=places.data, where=str(places.study))
        if found == table:
            return places
        path = places.run / "study.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(found), "utf-8")
        return replace(places, study=path)

    def named(
        self, table: dict[str, Any], *, data: Path, where: str, drawn: Draws | None = None
    ) -> dict[str, Any]:
        """The table of a study file, with names where its task waits for them (`client.drawn`).

        Args:
            table: With the `[simulation]` that this is.
            data: Where the relative paths of its source start.
            where: Stands in front of a complaint.
            drawn: Keeps what was drawn, so that the same names are drawn once.

        Raises:
            SourceBroken: The records cannot be read.
            ValueError: Not so many are there, or the study has names and would draw others.
        """
        if waits(table) is (self.names is None):
            raise ValueError(
                f"{where}: list the names of its term-coding task, or have simulation.names draw "
                "them; one of the two"
            )
        if self.names is None:
            return table
        task = {key: value for key, value in table["task"].items() if key != "kind"}
        system = TermCoding.parse_table(task | {"names": ["-"]}, where=f"{where}: task").system
        sources = [site.source for site in self.sites] if self.source is None else [self.source]
        of = [f"{source.kind}/{source.content_hash()}" for source in sources]
        rule: tuple[str | int, ...] = (str(data.resolve()), system, self.names.most, *of)
        drawn = {} if drawn is None else drawn
        if rule not in drawn:
            patients = (
                patient
                for source in sources
                for patient in source.patients(root=data, attrition=Attrition())
            )
            drawn[rule] = self.names.names(patients, system=system)
        return named(table, drawn[rule])

    def names_of_sites(self, data: Path) -> tuple[str, ...]:
        """The name of every site, in order; of a partition without reading anything.

        Raises:
            SourceBroken: Pooled data cannot be read.
        """
        if self.partition is not None:
            return self.partition.names
        return tuple(site.name for site in self.named_sites(data))

    def named_sites(self, data: Path) -> tuple[SimulatedSite, ...]:
        """Every site that is listed or cut, in a stable order.

        Raises:
            SourceBroken: Pooled data cannot be read.
            ValueError: The sites are those of a partition, which is dealt out in a run (`divided`).
        """
        if self.partition is not None:
            raise ValueError("a partition has no sites outside of a run")
        if self.source is None or self.cut is None:
            return self.sites
        pieces = self.source.cut(
            self.cut.column, largest=self.cut.largest, rest=self.cut.rest, root=data
        )
        return tuple(
            SimulatedSite(
                name=piece.name,
                source=piece.source,
                declared_patients=rounded(piece.training_patients * (1 - self.split.tune)),
            )
            for piece in pieces
        )

    def divided(self, places: Places) -> tuple[SimulatedSite, ...]:
        """Every site, with its share of a stratified split where that is asked for.

        The same seed deals alike in every process, so each may do it for itself.

        Raises:
            SourceBroken: The data cannot be read.
            ValueError: There are too few patients to divide.
        """
        source, partition = self.source, self.partition
        if source is None or partition is None:
            sites = self.named_sites(places.data)
        else:
            sites = self._dealt(source, partition, places)
        if self.stratified is None:
            return sites
        folder = places.run / "split"
        files = {site.name: folder / f"{site.name}.csv" for site in sites}
        if not all(path.exists() for path in files.values()):
            task = Study.read(places.study).task
            told = {site.name: _told(site.source, places.data, task) for site in sites}
            folder.mkdir(parents=True, exist_ok=True)
            for name, parts in stratify(told, task.outputs, how=self.stratified).items():
                write_split_file(files[name], parts)
        return tuple(self._given(site, files[site.name]) for site in sites)

    def _dealt(
        self, source: Source, partition: Partition, places: Places
    ) -> tuple[SimulatedSite, ...]:
        """The sites of a partition, each with its share of the pooled source."""
        secret = derive(self._secret(), "split")
        shares = dealt(
            partition,
            source,
            study=places.study,
            part=lambda patient: self.split.part(patient, secret=secret, root=places.data),
            data=places.data,
            folder=places.run / "partition",
        )
        return tuple(
            SimulatedSite(
                name=share.name,
                source=Share(of=source, file=str(share.file)),
                declared_patients=rounded(share.training_patients),
            )
            for share in shares
        )

    def _secret(self, site: str = "") -> bytes:
        """A site's secret; of a partition that of all its sites."""
        whose = site
        if self.source is not None and self.partition is not None:
            # No site is called so: a name has no stroke.
            whose = f"pooled/{self.source.kind}/{self.source.content_hash()}"
        return hashlib.sha256(f"fedward/simulation/{self.seed}/{whose}".encode()).digest()

    def _given(self, site: SimulatedSite, file: Path) -> SimulatedSite:
        """A site whose split is a file; where it was made of pooled data, it declares those whom
        it trains on.
        """
        changed: dict[str, object] = {"split": Split(file=str(file.resolve()))}
        if self.source is not None:
            parts = read_split_file(file).parts.values()
            changed["declared_patients"] = rounded(sum(part == "train" for part in parts))
        return site.model_copy(update=changed)

    def make(self, number: int, places: Places) -> Path:
        """Writes the sites' folders where they are not there, and gives one's site.toml.

        Args:
            number: Which site, from 0; Flower's simulation calls it the partition.
            places: Of the run.
        """
        # Who the sites are is read off the data, once a run: every message of a run asks. Shares
        # of a partition look after themselves.
        names = places.run / "sites.json"
        if self.partition is None and names.exists():
            made = places.site(json.loads(names.read_text("utf-8"))[number]) / "site.toml"
            if made.exists():
                return made
        sites = self.divided(places)
        for site in sites:
            self._furnish(site, places)
        _write(names, json.dumps([site.name for site in sites]))
        return places.site(sites[number].name) / "site.toml"

    def _furnish(self, site: SimulatedSite, places: Places) -> None:
        """Writes one site's folder, if it is not there."""
        path = places.site(site.name) / "site.toml"
        if path.exists():
            return
        secret = self._secret(site.name)
        make_key(path.parent / "site.key", secret)
        # Kept between runs: the same notes under the same keys need not be embedded again.
        whose = site.name if self.partition is None else "pooled"
        vectors = places.home / "vectors" / f"{whose}-{secret.hex()[:12]}.sqlite"
        store_key = vectors.with_suffix(".key")
        make_key(store_key, derive(secret, "store"))
        table = {
            "name": site.name,
            "declared_patients": site.declared_patients,
            "data": str(places.data),
            "source": _toml(site.source),
            "policy": _toml(_open(site.policy or self.policy)),
            "split": _toml(site.split or self.split),
            "vectors": str(vectors),
            "store_key": str(store_key),
            "threads": self.threads,
            "encoders": {"folders": True},
            "test_seed": self.seed,
        }
        _write(path, tomli_w.dumps(table))


def _write(path: Path, text: str) -> None:
    """A whole file or none: other processes of the run may make the same one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text, "utf-8")
    draft.replace(path)


def _open(policy: Policy) -> Policy:
    """A simulation's policy lets any study in, unless it says otherwise: nobody is there to ask."""
    if "studies" in policy.model_fields_set:
        return policy
    return policy.model_copy(update={"studies": "any"})


def rounded(patients: float) -> int:
    """A number of patients as a site would declare it: to the nearest ten, at least ten."""
    return max(10, round(patients / 10) * 10)


def _toml(spec: Spec) -> dict[str, Any]:
    """A Spec as a TOML table; TOML has no null, so what is None is left out."""
    kind = getattr(type(spec), "kind", None)
    table = {"kind": kind} if isinstance(kind, str) else {}
    return table | _said(spec.model_dump(exclude_none=True, mode="python"))


def _said(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table without what is None, also in the tables below: a source that another one reads is
    written by its registry, which leaves nothing out.
    """
    return {
        key: _said(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if value is not None
    }


def _told(source: Source, data: Path, task: Task) -> dict[str, frozenset[str]]:
    """For each patient of a source, by id, the outputs that are true."""
    return true_outputs(source.patients(root=data, attrition=Attrition()), task)


def simulated_site(partition: int, places: Places) -> Site:
    """The site that a virtual node of Flower's simulation plays."""
    return Site.read(Simulation.read(places.study).make(partition, places))
