"""What joining is worth to a site: is it better off, worse off, or can nobody tell?

Compared are what a site has when it joins and what it has when it stays alone, on the same held-out
patients. When it joins it may use the federation's head as it is, or one that it goes on with for
itself (`experiments.personal`). Which of them is chosen by its tune patients; a head chosen by
held-out patients would look better than it is.

The difference is resampled over held-out patients, both heads on the same resamples (a paired
bootstrap, Efron and Tibshirani 1993, chapter 8): most of what makes a metric of few patients
uncertain is common to both, and would hide a difference where two intervals are laid side by side.
The heads stay as they are, so the interval tells of other patients, not of another training. It is
one of each site: of forty sites where joining changes nothing, one will look better off and one
worse. And where one of few outputs is true of two or three patients, its AUROC and so their mean
look surer than they are: nobody else of them could be drawn. How many have it stands beside it
(`experiments.each_output`).

| the 95% interval of joined minus alone | the site is |
| --- | --- |
| lies above 0 | better off |
| holds 0 | not told apart |
| lies below 0 | worse off |
| there is none, or it is of fewer than `FEWEST` | without a verdict |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from experiments import bootstrap
from experiments.baselines import Scored
from experiments.bootstrap import Interval
from privacy.spec import Spec

OwnHead = Literal["fine_tuned", "mean_regularised"]
"""What a site makes of the federation's head for itself."""

Joined = Literal["federated"] | OwnHead
"""The heads that a site has when it joins."""

Name = TypeVar("Name", bound=Joined)

Verdict = Literal["better off", "not told apart", "worse off"]

VERDICTS: tuple[Verdict, ...] = ("better off", "not told apart", "worse off")

FEWEST = 10
"""Held-out patients, and true outputs of their stays, without which there is no verdict: resamples
of so few are too alike, of one all the same, and any difference would count as certain."""


class Gain(Spec):
    """A head of one who joined against that of the same site alone.

    Attributes:
        difference: Joined minus alone, of the leading metric; None where either has none.
        interval: 95% interval of it over held-out patients.
        verdict: See the table above; None where there is none.
    """

    difference: float | None = None
    interval: Interval | None = None
    verdict: Verdict | None = None


class Joining(Spec):
    """What joining is worth to one site.

    Attributes:
        metric: The leading one of the study (`experiments.columns.leading`), field of `Metrics`.
        tune: What each head reaches in it on the site's tune patients, at its threshold; None
            without such patients.
        taken: The head with the most there; the federation's own where nothing is above it.
        gains: Of each head.
    """

    metric: str
    tune: dict[Joined, float | None]
    taken: Joined
    gains: dict[Joined, Gain]

    @property
    def own(self) -> OwnHead | None:
        """Of the heads that the site goes on with, the one with the most there."""
        return _most({name: of for name, of in self.tune.items() if name != "federated"})

    @property
    def gain(self) -> Gain:
        """Of the head that is taken."""
        return self.gains[self.taken]


def joining(site: str, *, metric: str, alone: Scored, joined: Mapping[Joined, Scored]) -> Joining:
    """What joining is worth to a site.

    Args:
        site: Its name.
        metric: The leading one.
        alone: The head that it trains by itself.
        joined: The heads it has when it joins, the federation's first.

    Raises:
        ValueError: The heads were not scored on the same resamples.
    """
    tune = {name: of.site_tune.get(site) for name, of in joined.items()}
    return Joining(
        metric=metric,
        tune=tune,
        taken=_most(tune) or "federated",
        gains={name: _gain(site, metric, of, alone) for name, of in joined.items()},
    )


def _most(tune: Mapping[Name, float | None]) -> Name | None:
    """The first of those with the most; one without a figure has less than all others."""
    known = {name: -1.0 if of is None else of for name, of in tune.items()}
    return max(known, key=known.__getitem__, default=None)


def _gain(site: str, metric: str, joined: Scored, alone: Scored) -> Gain:
    each = (getattr(of.sites[site], metric) for of in (joined, alone))
    values = [value for value in each if value is not None]
    difference = values[0] - values[1] if len(values) == 2 else None
    found = difference_between(joined.site_draws.get(site, ()), alone.site_draws.get(site, ()))
    rows = alone.site_outputs.get(site)  # told where outputs are few; of many, enough are true
    true = FEWEST if rows is None else sum(row.support for row in rows)
    enough = min(alone.sites[site].patients, true) >= FEWEST
    return Gain(difference=difference, interval=found, verdict=verdict(found) if enough else None)


def difference_between(
    joined: tuple[float | None, ...], alone: tuple[float | None, ...]
) -> Interval | None:
    """95% interval of a difference, from the metric of both in each resample; None of none.

    Raises:
        ValueError: They were not drawn alike.
    """
    if len(joined) != len(alone):
        raise ValueError(
            f"{len(joined)} resamples of one head and {len(alone)} of another are no pairs"
        )
    return bootstrap.between(_values(joined) - _values(alone))


def verdict(interval: Interval | None) -> Verdict | None:
    """What an interval of joined minus alone says.

    >>> [verdict(found) for found in ((0.01, 0.2), (0.0, 0.2), (-0.2, -0.01))]
    ['better off', 'not told apart', 'worse off']
    """
    if interval is None:
        return None
    low, high = interval
    if low > 0:
        return "better off"
    return "worse off" if high < 0 else "not told apart"


def _values(drawn: tuple[float | None, ...]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in drawn], np.float64)
