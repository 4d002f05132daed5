"""What becomes of an invented patient beyond the codes: planned or not, denied or not, death."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from client.sources.synthetic.courses import Episode

FOLLOWED_UNTIL = datetime(2024, 1, 1, tzinfo=UTC)
"""Until when an invented hospital knows what became of its patients."""

_ELECTIVE = {"M17": 3.0, "N40": 2.5, "K80": 1.5, "C50": 2.0, "C61": 2.0, "C18": 1.5, "I35": 1.5}
_FRAIL = {"C78": 1.6, "C25": 1.8, "I50": 0.8, "J44": 0.6, "F03": 0.9, "K74": 0.9, "L89": 0.9}
_DISPUTED = {"M17": 1.2, "R07": 1.0, "F10": 0.9, "E66": 1.0, "I10": 0.3, "N40": 0.6}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a hospital knows of one stay beside its codes.

    Attributes:
        planned: Whether the admission was elective.
        denied: Whether the insurer denied the claim in the end; None where nobody has decided.
        ward: Where the patient lay: `medical`, `surgical` or `intensive care`.
        decided: When the insurer decided; None where nobody has.
        fall: Whether the patient fell during the stay.
        infection: Whether an infection was caught in the hospital.
    """

    planned: bool
    denied: bool | None
    ward: str
    decided: datetime | None
    fall: bool
    infection: bool


def draw_outcome(episode: Episode, rng: np.random.Generator) -> Outcome:
    """The outcome of a stay; planned stays are those whose reason is commonly operated on."""
    principal = episode.diagnoses[0].category
    planned = rng.random() < _chance(-3.0 + _ELECTIVE.get(principal, 0.0))
    days = (episode.discharged - episode.admitted) / timedelta(days=1)
    denied = rng.random() < _chance(
        -2.2 + sum(_DISPUTED.get(category, 0.0) for category in episode.categories) - 0.1 * days
    )
    undecided, wait = rng.random() < 0.1, 20 + 60 * rng.random()
    intensive = bool(episode.categories & {"A41", "J96", "I21"}) and rng.random() < 0.7
    ward = "intensive care" if intensive else "surgical" if planned else "medical"
    fell = rng.random() < _chance(-4.2 + (episode.age - 65) / 15 + 0.05 * days)
    infected = rng.random() < _chance(-4.0 + 0.12 * days + (1.0 if intensive else 0.0))
    return Outcome(
        planned=bool(planned),
        denied=None if undecided else bool(denied),
        ward=ward,
        decided=None if undecided else episode.discharged + timedelta(days=wait),
        fall=bool(fell),
        infection=bool(infected),
    )


def draw_death(episodes: Sequence[Episode], rng: np.random.Generator) -> datetime | None:
    """When the patient died: with the last stay, in the year after it, or not yet."""
    last = episodes[-1]
    if last.died:
        return last.discharged
    burden = sum(_FRAIL.get(category, 0.0) for category in last.categories)
    dies = rng.random() < _chance(-4.0 + burden + (last.age - 65) / 20)
    days = -60 * math.log(1 - rng.random())
    return last.discharged + timedelta(days=1 + min(days, 364)) if dies else None


def _chance(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
