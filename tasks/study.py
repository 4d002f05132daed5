"""Study: everything that a federation agrees on, public, in one file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, ValidationError, model_validator

from embeddings.chunker import Chunker
from embeddings.encoders import AnyEncoder
from privacy.budget import Spend
from privacy.errors import StudyRefused
from privacy.mechanisms import AnyMechanism
from privacy.release import Contract
from privacy.spec import Spec, one_line, read_toml
from tasks import noised, tallies
from tasks.bags import BagSpec
from tasks.heads.head import Weights, shapes_of
from tasks.heads.kinds import AnyHead
from tasks.kinds import AnyTask
from tasks.rollup import rollups
from tasks.start import Start
from tasks.strategy import AnyStrategy, FedAvgSpec

SIMULATION = "simulation"
"""The table of a study file that only simulations read (`client.simulation`)."""

COMPARE = "compare"
"""The table of a study file that only comparisons read (`experiments.compare`)."""


MOST_STEPS = 100_000


class OptimizerSpec(Spec):
    """The optimizer of a site's local steps; made afresh in every round.

    Attributes:
        kind: `adam` (Kingma and Ba 2015, arXiv:1412.6980) or `sgd`.
        learning_rate: Of every step.
        momentum: Of `sgd`.
        decay: `linear` lowers the rate from round to round, to `learning_rate / rounds` in the
            last, so that the last steps under noise are small.
    """

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    decay: Literal["none", "linear"] = "none"

    def build(
        self, parameters: Iterator[torch.nn.Parameter], *, round: int = 1, rounds: int = 1
    ) -> torch.optim.Optimizer:
        """The optimizer of these parameters in one of so many rounds, counted from 1."""
        share = 1 - (round - 1) / rounds if self.decay == "linear" else 1.0
        rate = self.learning_rate * share
        if self.kind == "adam":
            return torch.optim.Adam(parameters, lr=rate)
        return torch.optim.SGD(parameters, lr=rate, momentum=self.momentum)


_Line = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class About(Spec):
    """Who asks and why, in the coordinator's own words; nobody has checked them."""

    coordinator: _Line = ""
    contact: _Line = ""
    purpose: _Line = ""


class Study(Spec):
    """What a federation agrees on. Public: the same bytes at every site, and never trusted.

    Attributes:
        name: For people; letters, digits, dot, dash and underscore.
        rounds: Rounds of training.
        steps: Local steps in a round.
        sample_rate: Chance of each training patient to be in a step.
        seed: Of the head's start, and in simulations of everything else.
        task: What is predicted.
        encoder: What turns text into vectors.
        chunker: How notes are cut.
        bag: How large a patient's bag may grow.
        head: What is trained.
        start: Weights of an earlier study that it is trained on from.
        optimizer: How its steps are taken.
        privacy: How its privacy is kept.
        strategy: How updates become one.
        about: Who asks and why, for those who decide at a site.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    rounds: Annotated[int, Field(ge=1, le=100_000)]
    steps: Annotated[int, Field(ge=1, le=100_000)]
    sample_rate: Annotated[float, Field(gt=0, le=1)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    task: AnyTask
    encoder: AnyEncoder
    chunker: Chunker = Chunker()
    bag: BagSpec = BagSpec()
    head: AnyHead
    start: Start | None = None
    optimizer: OptimizerSpec = OptimizerSpec()
    privacy: AnyMechanism
    strategy: AnyStrategy = FedAvgSpec()
    about: About = About()

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.rounds * self.steps > MOST_STEPS:
            raise ValueError(f"rounds times steps must be at most {MOST_STEPS:,}")
        if self.strategy.mean_of_last > self.rounds:
            raise ValueError("strategy.mean_of_last must not be above rounds")
        pull = self.strategy.proximal_mu * self.optimizer.learning_rate
        if self.optimizer.kind == "sgd" and pull > 1:
            raise ValueError(
                "strategy.proximal_mu times optimizer.learning_rate must be at most 1: beyond it "
                "each step overshoots where the round began"
            )
        return self

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        broken = None if self.start is None else self.start.broken(self.head)
        if broken is not None:
            raise ValueError(broken)
        head, privacy = self.head.kind, self.privacy.kind
        if not self.head.by_sums:
            if not self.privacy.by_steps:
                raise ValueError(
                    f"privacy {privacy!r} sums over patients once and head {head!r} learns by "
                    "steps; choose a head that follows from sums, or another privacy"
                )
            return self
        if not self.privacy.by_sums:
            raise ValueError(
                f"head {head!r} follows from sums over patients and privacy {privacy!r} takes "
                "steps; choose a privacy that sums, or another head"
            )
        if (self.rounds, self.steps, self.sample_rate) != (1, 1, 1):
            raise ValueError(
                f"head {head!r} follows from one sum over all patients: rounds, steps and "
                "sample_rate must be 1"
            )
        if not self.strategy.averages:
            raise ValueError(
                f"head {head!r} follows from sums over patients, and strategy "
                f"{self.strategy.kind!r} does not add up what the sites send; choose 'fedavg'"
            )
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a study file, without its `[simulation]` and `[compare]` tables.

        Raises:
            ValueError: In one line, what does not fit and where.
        """
        table = read_toml(path)
        table.pop(SIMULATION, None)
        table.pop(COMPARE, None)
        return cls.parse_table(table, where=str(path))

    @classmethod
    def received(cls, text: str) -> Self:
        """Reads a study that the coordinator sent.

        Raises:
            StudyRefused: It is not one that this site can read.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise StudyRefused(f"the study cannot be read here: {one_line(error)}") from None

    @property
    def digest(self) -> str:
        """The study's name for good: SHA-256 of its canonical JSON, in hex."""
        return self.content_hash()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what is predicted; L of them."""
        return self.task.outputs

    @property
    def questions(self) -> tuple[tuple[str, ...], ...]:
        """What each output means, in the texts that the head reads: its question, and its other
        terms where the head asks for them.
        """
        texts = tuple((question,) for question in self.task.questions)
        if not self.head.reads_terms or not self.task.terms:
            return texts
        pairs = zip(texts, self.task.terms, strict=True)
        return tuple(tuple(dict.fromkeys((*text, *more))) for text, more in pairs)

    @property
    def numbers(self) -> int:
        """How many numbers the head trains."""
        return sum(math.prod(shape) for shape in self.contract().parameters.values())

    def spend(self, round: int) -> Spend:
        """What a round costs each site, from this file alone."""
        return self.privacy.spend(
            study=self.digest,
            round=round,
            rounds=self.rounds,
            steps=self.steps,
            sample_rate=self.sample_rate,
        )

    def spends(self) -> tuple[Spend, ...]:
        """What every round costs, first to last."""
        return tuple(self.spend(number) for number in range(1, self.rounds + 1))

    def initial(self, earlier: Weights | None = None) -> Weights:
        """The weights that round 1 starts from.

        Args:
            earlier: Those of the earlier study that `start` names, where the study has it.

        Raises:
            ValueError: They are missing, or are not what the study can start from.
        """
        generator = torch.Generator().manual_seed(self.seed)
        dim, outputs = self.encoder.dim, len(self.outputs)
        own = self.head.initial(dim=dim, outputs=outputs, generator=generator)
        if self.start is None:
            return own
        if earlier is None:
            raise ValueError(
                f"the study {self.name} starts from weights of an earlier one, SHA-256 "
                f"{self.start.weights_sha256}, which are not here"
            )
        return self.start.weights(earlier, own, of=self.head, dim=dim, outputs=outputs)

    def contract(self) -> Contract:
        """What this study's messages must look like."""
        with torch.device("meta"):  # shapes only: a study may ask for more than there is memory
            head = self.head.build(dim=self.encoder.dim, outputs=len(self.outputs))
        return Contract(
            study=self.digest,
            parameters=shapes_of(head),
            tallies=tallies.shapes(
                len(self.outputs),
                exclusive=self.task.exclusive,
                rollups=rollups(self.task.rollups),
            )
            | noised.shapes(),
            noised=frozenset(noised.shapes()),
        )
