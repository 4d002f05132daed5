"""The accountant beside Google's `dp_accounting`, which shares no code with Opacus."""

from __future__ import annotations

import logging

import pytest
from dp_accounting import dp_event, pld, rdp
from opacus.accountants import RDPAccountant

from privacy import accounting
from privacy.accounting import epsilon, merged
from privacy.budget import Spend

# (study, noise multiplier, sample rate, steps)
STUDIES = {
    "one study": [("a", 1.1, 0.1, 30)],
    "two rates": [("a", 1.1, 0.1, 30), ("b", 2.0, 0.02, 100)],
    "steps and sums": [("a", 1.1, 0.1, 30), ("b", 20.0, 1.0, 3), ("a", 4.0, 0.5, 7)],
    "little noise": [("a", 0.6, 0.01, 200), ("b", 8.0, 1.0, 4)],
    "one large, many small": [("a", 1.0, 1.0, 1), ("b", 0.8, 0.005, 500), ("c", 3.0, 0.3, 10)],
    "five thousand steps": [("a", 1.0, 0.01, 5000), ("b", 2.0, 1.0, 2)],
    "almost everybody": [("a", 2.0, 0.9, 20)],
    "hardly any": [("a", 30.0, 1.0, 1)],
    "beyond sense": [("a", 0.4, 0.2, 3)],
}


def event(noise: float, rate: float, steps: int) -> dp_event.DpEvent:
    gaussian = dp_event.GaussianDpEvent(noise)
    one = gaussian if rate == 1 else dp_event.PoissonSampledDpEvent(rate, gaussian)
    return dp_event.SelfComposedDpEvent(one, steps)


@pytest.fixture(autouse=True)
def quiet(caplog):
    """It says of each order that it leaves out that it does."""
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize(
    ("name", "delta"),
    [*((name, 1e-5) for name in STUDIES), ("two rates", 1e-8), ("hardly any", 1e-8)],
)
def test_epsilon_lies_just_above_what_another_accountant_says(name, delta):
    tight, loose = pld.PLDAccountant(), rdp.RdpAccountant()
    same = rdp.RdpAccountant(RDPAccountant.DEFAULT_ALPHAS)
    spends = []
    for number, (study, noise, rate, steps) in enumerate(STUDIES[name], 1):
        spends.append(
            Spend(
                study=study * 64,
                round=number,
                noise_multiplier=noise,
                sample_rate=rate,
                steps=steps,
            )
        )
        for accountant in (tight, loose, same):
            accountant.compose(event(noise, rate, steps))
    ours = epsilon(spends, delta=delta)
    theirs = tight.get_epsilon(delta)  # for neighbours by adding or removing one
    assert theirs - 1e-4 <= ours <= theirs + 0.02 + 0.01 * theirs
    assert ours <= loose.get_epsilon(delta) + 1e-6
    # Over the same orders both libraries' RDP is one number, but for broken orders, between which
    # theirs rounds up.
    assert accounting._rdp(merged(spends), delta) == pytest.approx(
        same.get_epsilon(delta), rel=1e-3
    )
