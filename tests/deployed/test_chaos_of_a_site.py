"""kill -9, by pid, of one process of a site after the other, each in a study of its own.

Every study ends; every ledger holds what was really trained, every metric is logged once.
"""

from __future__ import annotations

import pytest
from whole import MARKS, begun, kill, once

pytestmark = MARKS


def test_a_supernode_dies(pair):
    study, watched = begun(pair, "supernode")
    watched.wait_for("asked", round=1)
    kill(pair.daemons["birch"].children("node")[-1])
    outcome = watched.ends(400)
    # Its training may have gone on to the charge, and its answer found nobody.
    charged = pair.charges("birch", study)
    assert charged in ({1: 1}, {1: 2})
    once(pair, study, outcome, birch=dict(charged))


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
def test_a_training_process_dies(pair, where, charged):
    name = where.replace(" ", "-").lower()
    pair.strike("birch").write_text(where)
    study, watched = begun(pair, name)
    outcome = watched.ends(400)
    assert not pair.strike("birch").exists()
    (refused,) = watched.events("refused")
    assert (refused["site"], refused["reason"]) == ("birch", "the site's training process died")
    once(pair, study, outcome, birch={refused["round"]: charged})
