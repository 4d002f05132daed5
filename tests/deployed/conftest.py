"""What the modules of chaos stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from whole import Whole, deployed


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Iterator[Whole]:
    """Two sites with privacy for many studies."""
    names = ("ash", "birch")
    with deployed(tmp_path_factory.mktemp("chaos"), names=names, epsilon=1000.0) as made:
        yield made
