"""Policy: what a site allows, whoever asks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from privacy.budget import Budget
from privacy.errors import StudyRefused
from privacy.spec import Spec
from tasks.study import Study


class Policy(Spec):
    """The site's own ceilings. No study and no coordinator can loosen them.

    Attributes:
        lifetime: What all studies together may cost a training patient, for ever.
        tasks: Kinds of task allowed.
        mechanisms: Kinds of mechanism allowed; `off` only where it is written here.
        metrics: Tallies of tune and held-out patients leave `exact` (small counts blanked), or
            are `withheld`.
        smallest_count: See `privacy.suppression`; applies to every tally.
    """

    lifetime: Budget
    tasks: tuple[str, ...] = ("icd-coding",)
    mechanisms: tuple[str, ...] = ("dp-sgd",)
    metrics: Literal["exact", "withheld"] = "exact"
    smallest_count: Annotated[int, Field(ge=0)] = 10

    def admit(self, study: Study) -> None:
        """Lets a study in, as far as can be told without the ledger.

        Raises:
            StudyRefused: Says which rule, what is asked and what is allowed.
        """
        for what, asked, allowed in (
            ("tasks", study.task.kind, self.tasks),
            ("mechanisms", study.privacy.kind, self.mechanisms),
        ):
            if asked not in allowed:
                raise StudyRefused(
                    f"policy.{what} allows {', '.join(allowed) or 'none'}; "
                    f"the study asks for {asked!r}"
                )
