"""Policy: what a site allows, whoever asks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from privacy.budget import Budget
from privacy.entries import Cohort
from privacy.errors import StudyRefused
from privacy.release import Outlet
from privacy.spec import Spec
from tasks.study import Study

_Count = Annotated[int, Field(ge=1)]


class Policy(Spec):
    """The site's own ceilings. No study and no coordinator can loosen them.

    Every rule is checked against public numbers alone (the study's and the site's declared
    ones), so that a refusal tells nothing about a patient.

    Attributes:
        lifetime: What all studies together may cost a training patient, for ever.
        studies: `approved`: only what `fedward site approve` let in; `any`: whatever the other
            rules allow.
        tasks: Kinds of task allowed.
        encoders: Kinds of encoder allowed, or `kind:model` for one model of a kind.
        heads: Kinds of head allowed.
        mechanisms: Kinds of mechanism allowed; `off` only where it is written here.
        least_noise: Least noise multiplier of a training step.
        largest_clip: Largest norm that a patient's gradient may keep.
        spare_rounds: Rounds that a study may be charged for beyond its own. One that was broken
            off after its charge is charged again; without a limit a coordinator could break off
            as many as the lifetime pays for.
        rounds_per_day: Charges for training that any 24 hours may see; None is no limit.
        smallest_cohort: Declared patients without which the site trains nothing.
        smallest_count: See `privacy.suppression`; applies to every exact tally.
        metrics: Tallies of tune and held-out patients leave `noised`, are `withheld`, or leave
            `exact`. Exact ones with small counts hidden are still no protection against a
            coordinator that means harm: it chooses the weights, and can choose such that a tally
            shows one patient's vectors. For simulations, and coordinators that are trusted as
            the site itself.
        heldout: What `noised` tallies together may cost a tune or held-out patient, for ever.
            When it is spent, tallies are withheld and training goes on.
        tally_noise: Noise multiplier of each noised release of tallies.
        most_numbers: Numbers that a head may train.
        most_chunks: Chunks that one patient's bag may hold, over all stays.
        longest_chunk: Tokens of a chunk.
    """

    lifetime: Budget
    studies: Literal["approved", "any"] = "approved"
    tasks: tuple[str, ...] = ("icd-coding",)
    encoders: tuple[str, ...] = ("sentence-transformer", "hashing")
    heads: tuple[str, ...] = (
        "linear",
        "mlp",
        "random-features",
        "label-attention",
        "code-query",
        "ridge",
    )
    mechanisms: tuple[str, ...] = ("dp-sgd",)
    least_noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    largest_clip: Annotated[float, Field(gt=0)] = 10.0
    spare_rounds: Annotated[int, Field(ge=0)] = 2
    rounds_per_day: _Count | None = None
    smallest_cohort: Annotated[int, Field(ge=0)] = 0
    smallest_count: Annotated[int, Field(ge=0)] = 10
    metrics: Literal["exact", "noised", "withheld"] = "noised"
    heldout: Budget = Budget(epsilon=2.0)
    tally_noise: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0
    most_numbers: _Count = 20_000_000
    most_chunks: _Count = 4096
    longest_chunk: _Count = 8192

    @property
    def outlet(self) -> Outlet:
        """What the door lets out of tallies."""
        return Outlet(metrics=self.metrics, smallest_count=self.smallest_count)

    def admit(self, study: Study, *, declared_patients: int) -> None:
        """Lets a study in, as far as can be told without the ledger.

        Raises:
            StudyRefused: Says of every rule that is broken what is asked and what is allowed.
        """
        broken = list(self.broken(study, declared_patients=declared_patients))
        if broken:
            raise StudyRefused("; ".join(broken))

    def most_charges(self, study: Study, cohort: Cohort) -> int:
        """How often a study may ever be charged on a line.

        Tune and held-out patients are tallied in each round, and once more before the first and
        after each.
        """
        rounds = study.rounds + self.spare_rounds
        return rounds if cohort == "train" else 2 * rounds + 1

    def broken(self, study: Study, *, declared_patients: int) -> Iterator[str]:
        """Every rule that the study breaks, in words."""
        yield from self._kinds(study)
        yield from self._noise(study)
        if declared_patients < self.smallest_cohort:
            yield (
                f"policy.smallest_cohort is {self.smallest_cohort}; the site declares "
                f"{declared_patients} patients"
            )
        for what, asked, allowed in (
            ("most_chunks", study.bag.stays * study.bag.chunks, self.most_chunks),
            ("longest_chunk", study.chunker.tokens, self.longest_chunk),
            ("most_numbers", study.numbers, self.most_numbers),
        ):
            if asked > allowed:
                yield f"policy.{what} allows {allowed:,}; the study asks for {asked:,}"

    def _kinds(self, study: Study) -> Iterator[str]:
        model = getattr(study.encoder, "model", None)
        for what, asked, allowed in (
            ("tasks", (study.task.kind,), self.tasks),
            ("encoders", (study.encoder.kind, f"{study.encoder.kind}:{model}"), self.encoders),
            ("heads", (study.head.kind,), self.heads),
            ("mechanisms", (study.privacy.kind,), self.mechanisms),
        ):
            if not set(asked) & set(allowed):
                named = asked[-1] if model is not None and what == "encoders" else asked[0]
                yield (
                    f"policy.{what} allows {', '.join(allowed) or 'none'}; "
                    f"the study asks for {named!r}"
                )

    def _noise(self, study: Study) -> Iterator[str]:
        if study.privacy.promise is None:
            # Named under `mechanisms` or refused there: it has neither noise nor clip to check.
            return
        try:
            noise = study.spend(1).noise_multiplier
        except ValueError as error:  # no noise is enough for what it promises
            yield str(error)
            return
        if noise < self.least_noise:
            yield (
                f"policy.least_noise is {self.least_noise:g}; the study's noise multiplier is "
                f"{noise:.3g}"
            )
        clip = study.privacy.largest_clip
        if clip is None or clip > self.largest_clip:
            asked = math.inf if clip is None else clip
            yield f"policy.largest_clip is {self.largest_clip:g}; the study clips at {asked:g}"
