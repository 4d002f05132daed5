"""Grids: the `[compare]` table of a study file, and the cells that it names.

A grid file is a study file with one table more, so it can be simulated and planned as it is. The
table may name another study file as `base`; what the grid file says then goes on top of that.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from client.simulation import Draws, Simulation
from experiments import baselines
from privacy.spec import Spec, read_toml
from tasks.study import COMPARE, SIMULATION, Study

MOST_CELLS = 10_000

Table = dict[str, Any]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,39}$")]
_Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Value(Spec):
    """One value of an axis.

    Attributes:
        name: In tables and figures.
        set: Goes on top of the study: see `merged`.
    """

    name: _Name
    set: Table = {}


class Axis(Spec):
    """What is varied: either values, or seeds that repeat the same cell.

    Attributes:
        name: In tables and figures.
        value: Its values.
        seeds: Seeds of the study: another start of the head, another sampling and noise.
        split_seeds: Seeds of a stratified split of all patients (`client.stratify`).
    """

    name: _Name
    value: tuple[Value, ...] = ()
    seeds: tuple[_Seed, ...] = ()
    split_seeds: tuple[_Seed, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.value, self.seeds, self.split_seeds))) != 1:
            raise ValueError("give one of value, seeds and split_seeds")
        names = [value.name for value in self.values]
        if len(set(names)) != len(names):
            raise ValueError("two values have the same name")
        return self

    @property
    def repeats(self) -> bool:
        """Whether its values are the same cell again, to be averaged over."""
        return not self.value

    @property
    def values(self) -> tuple[Value, ...]:
        """Its values, those of seeds too."""
        if self.value:
            return self.value
        if self.seeds:
            return tuple(Value(name=str(seed), set={"seed": seed}) for seed in self.seeds)
        return tuple(
            Value(name=str(seed), set={SIMULATION: {"stratified": {"seed": seed}}})
            for seed in self.split_seeds
        )


class Compare(Spec):
    """The `[compare]` table.

    Attributes:
        base: A study file to start from, relative to the grid's.
        axis: The grid is their product; the first varies slowest.
        leave_out: Cells that are not run: those that have all of a table's values, each the name
            of a value, or a list of names, by the name of its axis.
    """

    base: str | None = None
    axis: Annotated[tuple[Axis, ...], Field(min_length=1)]
    leave_out: tuple[dict[str, str | tuple[str, ...]], ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = {axis.name: {value.name for value in axis.values} for axis in self.axis}
        if len(known) != len(self.axis):
            raise ValueError("axis: two have the same name")
        for number, rule in enumerate(self.leave_out):
            for name, values in rule.items():
                unknown = set(_several(values)) - known.get(name, set())
                if unknown or not rule:
                    raise ValueError(
                        f"leave_out[{number}]: no axis {name!r} with {', '.join(sorted(unknown))}"
                    )
        if len(self.combinations) > MOST_CELLS:
            raise ValueError(f"it has {len(self.combinations):,} cells, at most {MOST_CELLS:,}")
        return self

    @cached_property
    def combinations(self) -> tuple[tuple[Value, ...], ...]:
        """A value of each axis, of every cell that is run."""
        return tuple(found for found in self._all() if not self._left_out(found))

    def _all(self) -> Iterator[tuple[Value, ...]]:
        yield from product(*(axis.values for axis in self.axis))

    def _left_out(self, found: tuple[Value, ...]) -> bool:
        here = {axis.name: value.name for axis, value in zip(self.axis, found, strict=True)}
        return any(
            all(here[name] in _several(values) for name, values in rule.items())
            for rule in self.leave_out
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One study of a grid.

    Attributes:
        values: The name of its value on each axis.
        table: The whole study file that it is.
        study: That, read.
        simulation: Its sites, read.
        digest: Names the cell for good: study, simulation and where the data lie.
    """

    values: Mapping[str, str]
    table: Table
    study: Study
    simulation: Simulation
    digest: str

    @property
    def said(self) -> str:
        """The cell in words, such as `head linear, epsilon 1`."""
        return ", ".join(f"{name} {value}" for name, value in self.values.items())

    @property
    def epsilon(self) -> float | None:
        """What the study promises; None without privacy."""
        promise = self.study.privacy.promise
        return promise.epsilon if promise else None

    @property
    def texts(self) -> str:
        """Cells with the same one need the same vectors."""
        study = self.study
        return _hash(study.encoder, study.chunker, study.task, _people(self.simulation))

    @property
    def unaided(self) -> str:
        """Cells with the same one have the same baselines."""
        study = baselines.without_privacy(self.study, self.simulation.baseline)
        return _hash(study, self.simulation)


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid, read and checked.

    Attributes:
        name: Of the study; names the grid's folder.
        path: Of the grid file.
        axes: What is varied.
        cells: All of them, in order.
    """

    name: str
    path: Path
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]

    @classmethod
    def read(cls, path: Path, *, data: Path) -> Self:
        """Reads a grid file and checks every cell, before anything is run. Names that a task
        waits for are drawn, once for all cells that draw the same from the same records.

        Args:
            path: Of the grid file.
            data: Where the relative paths of its source start.

        Raises:
            SourceBroken: The records that names are drawn from cannot be read.
            ValueError: In one line, what does not fit and in which cell.
        """
        table = read_toml(path)
        asked = table.pop(COMPARE, None)
        if not isinstance(asked, dict):
            raise ValueError(f"{path}: has no [{COMPARE}] table, so there is nothing to compare")
        compare = Compare.parse_table(asked, where=f"{path}: {COMPARE}")
        if compare.base is not None:
            base = read_toml(path.parent / compare.base)
            base.pop(COMPARE, None)
            table = merged(base, table)
        read = _Read(path, data)
        cells = [_cell(table, compare.axis, values, read=read) for values in compare.combinations]
        if not cells:
            raise ValueError(f"{path}: {COMPARE}.leave_out leaves no cell")
        _distinct(path, cells)
        return cls(cells[0].study.name, path, compare.axis, tuple(cells))

    @property
    def groups(self) -> dict[tuple[str, ...], tuple[Cell, ...]]:
        """Cells that differ in seeds alone, by their values on the other axes."""
        shown = [axis.name for axis in self.axes if not axis.repeats]
        found: dict[tuple[str, ...], tuple[Cell, ...]] = {}
        for cell in self.cells:
            key = tuple(cell.values[name] for name in shown)
            found[key] = (*found.get(key, ()), cell)
        return found


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> Table:
    """One table on top of another: tables are merged key by key, anything else is replaced.

    A table with a `kind` replaces what was there, because the keys of one kind are not those of
    another: `{privacy = {epsilon = 1.0}}` changes the epsilon and keeps the clip, and
    `{head = {kind = "linear"}}` is a new head.
    """
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        if isinstance(value, dict) and isinstance(under, dict) and "kind" not in value:
            found[key] = merged(under, value)
        else:
            found[key] = value
    return found


@dataclass(frozen=True, slots=True)
class _Read:
    """What the cells of a grid file share while they are read: to draw thousands of codes takes
    time, and so does to read the records that names are drawn from.
    """

    path: Path
    data: Path
    studies: dict[str, Study] = field(default_factory=dict)
    drawn: Draws = field(default_factory=dict)

    def study(self, table: Table, where: str) -> Study:
        plain = {key: value for key, value in table.items() if key != SIMULATION}
        key = json.dumps(plain, sort_keys=True, default=str)
        if key not in self.studies:
            self.studies[key] = Study.parse_table(plain, where=where)
        return self.studies[key]


def _cell(table: Table, axes: tuple[Axis, ...], values: tuple[Value, ...], *, read: _Read) -> Cell:
    named = {axis.name: value.name for axis, value in zip(axes, values, strict=True)}
    where = f"{read.path}: cell {', '.join(f'{name} {value}' for name, value in named.items())}"
    for value in values:
        table = merged(table, value.set)
    sites = table.get(SIMULATION)
    if not isinstance(sites, dict):
        raise ValueError(f"{where}: has no [{SIMULATION}] table, so it cannot be simulated")
    simulation = Simulation.parse_table(sites, where=f"{where}: {SIMULATION}")
    table = simulation.named(table, data=read.data, where=where, drawn=read.drawn)
    simulation = simulation.model_copy(update={"names": None})  # as the table now says
    study = read.study(table, where)
    try:
        baselines.without_privacy(study, simulation.baseline)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    refused = _refused(study, simulation)
    if refused is not None:
        raise ValueError(f"{where}: no site would take part: {refused}")
    digest = _hash(study, simulation, str(read.data.resolve()))
    return Cell(values=named, table=table, study=study, simulation=simulation, digest=digest)


def _distinct(path: Path, cells: list[Cell]) -> None:
    """Raises ValueError where two cells are one: an axis then changes nothing."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.digest, cell)
        if other is not cell:
            raise ValueError(f"{path}: the cells {other.said!r} and {cell.said!r} are the same")


def _refused(study: Study, simulation: Simulation) -> str | None:
    """Why the policy of every site would refuse the study, from public numbers; None where one
    would not. What only a ledger can say is left to the run.
    """
    said = []
    for policy in [site.policy or simulation.policy for site in simulation.sites] or [
        simulation.policy
    ]:
        broken = list(policy.broken(study, declared_patients=2**62))
        promise = study.privacy.promise
        asked = promise.epsilon if promise else math.inf
        if asked > policy.lifetime.epsilon:
            broken.append(f"policy.lifetime allows {policy.lifetime.epsilon:g}, asked {asked:g}")
        if not broken:
            return None
        said.append("; ".join(broken))
    return said[0]


def _people(simulation: Simulation) -> Table:
    """Of a simulation what decides whose texts lie where."""
    return simulation.model_dump(mode="json", include={"seed", "sites", "source", "cut"})


def _hash(*parts: Spec | Table | str) -> str:
    plain = [
        {"kind": getattr(part, "kind", None), **part.model_dump(mode="json")}
        if isinstance(part, Spec)
        else part
        for part in parts
    ]
    # Not `content_hash`: a simulation's policy may allow an infinite epsilon.
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _several(values: str | tuple[str, ...]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else values
