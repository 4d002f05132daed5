"""What crosses the border: requests in, releases out, and the tallies inside a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from privacy.ledger import Receipt
from privacy.spec import Spec

Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Shapes = Mapping[str, tuple[int, ...]]

_Receipt = Annotated[int, Field(ge=1, lt=2**63)]


@dataclass(frozen=True, slots=True)
class Tally:
    """An additive count over a group of patients: tallies of two sites add up to the pooled one.

    Attributes:
        name: What is counted, such as `heldout/labels`.
        sums: int64 counts or float64 sums.
        patients: How many patients are behind it.
    """

    name: str
    sums: NDArray[np.int64] | NDArray[np.float64]
    patients: int

    def __add__(self, other: Tally) -> Tally:
        """The tally of both groups of patients.

        Raises:
            ValueError: The two do not count the same thing.
        """
        if self.name != other.name or self.sums.shape != other.sums.shape:
            raise ValueError(f"cannot add tally {other.name} to {self.name}")
        return Tally(self.name, self.sums + other.sums, self.patients + other.patients)


class Hello(Spec):
    """A site's answer to a study that it takes part in; public facts only.

    Attributes:
        site: Its name.
        code: Its code fingerprint.
        encoder: The identity of its encoder and chunking for this study.
        declared_patients: Public, rounded number of its training patients.
    """

    site: SiteName
    code: Hex
    encoder: Hex
    declared_patients: Annotated[int, Field(ge=1, le=10**9)]


class Refusal(Spec):
    """A site's no, or its failure, in words that it may say aloud (`privacy.errors`).

    Attributes:
        error: The class of the error.
        reason: What a SiteError says aloud; of anything else, that it failed.
        site: The site's name; None where not even that could be read.
    """

    error: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,62}$")]
    reason: Annotated[str, Field(max_length=2000)]
    site: SiteName | None = None


class RequestHeader(Spec):
    """What the coordinator asks, besides the weights.

    Attributes:
        study: The study, as canonical JSON; parsed at the site and never trusted.
        round: From 1; for an evaluation, the number of rounds that made the weights.
        code: The coordinator's code fingerprint.
        encoder: The encoder identity that all sites share; None in the first question, which
            asks for it.
    """

    study: Annotated[str, Field(max_length=4_000_000)]
    round: Annotated[int, Field(ge=0, le=10**6)] = 0
    code: Hex
    encoder: Hex | None = None


class ReleaseHeader(Spec):
    """Who releases what under which charge.

    Attributes:
        study: Digest of the study.
        round: The round that the release answers.
        site: The site's name.
        code: The site's code fingerprint.
        encoder: The identity of its encoder and chunking.
        declared_patients: Public, rounded number of its training patients.
        patients: For each tally, how many patients are behind it; 0 where the tally is noised,
            because the true number is private.
        receipt: The ledger's number for the charge; None where nothing was trained.
        noise_multiplier: As charged.
        sample_rate: As charged.
        steps: As charged.
        attempt: How often the round was charged by now, this time included. Above 1 where answers
            were lost: without it the coordinator would report less than was spent.
        tally_receipt: The ledger's number for the charge of the tallies; None where there are none.
        tally_noise: Noise multiplier of the tallies; 0 where they are exact.
    """

    study: Hex
    round: Annotated[int, Field(ge=0, le=10**6)]
    site: SiteName
    code: Hex
    encoder: Hex
    declared_patients: Annotated[int, Field(ge=1, le=10**9)]
    patients: dict[str, Annotated[int, Field(ge=0, le=10**9)]] = {}
    receipt: _Receipt | None = None
    noise_multiplier: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    sample_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    attempt: Annotated[int, Field(ge=1, le=1000)] | None = None
    tally_receipt: _Receipt | None = None
    tally_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A header and the study's present weights, float32 by parameter name."""

    header: RequestHeader
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Release:
    """What one site lets out in one round.

    Attributes:
        header: Who, what, under which charge.
        update: The head's weights after local training, float32; empty for an evaluation.
        tallies: Counts on patients that were not trained on.
        receipt: The charge, at the site only; None where nothing was trained.
        tally_receipt: The charge of the tallies, at the site only; None where there are none.
    """

    header: ReleaseHeader
    update: Mapping[str, NDArray[np.float32]]
    tallies: tuple[Tally, ...]
    receipt: Receipt | None = None
    tally_receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Contract:
    """What a study's messages must look like, worked out from the study alone.

    Attributes:
        study: The study's digest.
        parameters: Shape of every trained array by name.
        tallies: Shape and dtype (`int64` or `float64`) of every tally by name.
        noised: Which of them carry noise; the others are exact. A release has one sort only.
    """

    study: str
    parameters: Shapes
    tallies: Mapping[str, tuple[tuple[int, ...], str]]
    noised: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outlet:
    """What a site's policy lets out of tallies; the door holds every release against it.

    Attributes:
        metrics: `exact`, `noised` or `withheld`.
        smallest_count: Patients that an exact tally must have behind it.
    """

    metrics: Literal["exact", "noised", "withheld"]
    smallest_count: int = 0
