"""kill -9, by pid, of one process of a site after the other, each in a study of its own.

Every study ends; every ledger holds what was really trained, every metric is logged once.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from whole import Whole, begun, deployed, kill, once

pytestmark = [
    pytest.mark.deployment,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]

SITES = ("ash", "birch")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Iterator[Whole]:
    """Two sites with privacy for many studies."""
    with deployed(tmp_path_factory.mktemp("chaos"), names=SITES, epsilon=1000.0) as made:
        yield made


def test_a_supernode_dies(whole):
    study, watched = begun(whole, "supernode")
    watched.wait_for("asked", round=1)
    kill(whole.daemons["birch"].children("node")[-1])
    outcome = watched.ends(400)
    # Its training may have gone on to the charge, and its answer found nobody.
    charged = whole.charges("birch", study)
    assert charged in ({1: 1}, {1: 2})
    once(whole, study, outcome, birch=dict(charged))


@pytest.mark.parametrize(
    ("where", "charged"),
    [
        ("privacy.ledger Ledger.reserve before", 1),
        ("privacy.ledger Ledger.reserve after", 2),
        # The answer was kept: the second question is answered with it.
        ("client.app _answer after", 1),
    ],
    ids=["before the charge", "after the charge", "after the release"],
)
def test_a_training_process_dies(whole, where, charged):
    name = where.replace(" ", "-").lower()
    whole.strike("birch").write_text(where)
    study, watched = begun(whole, name)
    outcome = watched.ends(400)
    assert not whole.strike("birch").exists()
    (refused,) = watched.events("refused")
    assert (refused["site"], refused["reason"]) == ("birch", "the site's training process died")
    once(whole, study, outcome, birch={refused["round"]: charged})
