"""A site's ledger, and a release that it has paid for."""

from __future__ import annotations

import pytest
from flwr.app import RecordDict
from wire_builders import charged, packed_by, release

from privacy.ledger import Ledger


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Ledger:
    """The charges of what the builders make."""
    return charged(tmp_path_factory.mktemp("site"))


@pytest.fixture
def packed(ledger) -> RecordDict:
    """An update with exact tallies, as it leaves."""
    return packed_by(ledger, release())
