"""Files of weights (safetensors), as both the coordinator and a site read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file

from tasks.heads.head import Weights

WEIGHTS = "weights/"
"""What the names of weights begin with in a file that holds other arrays too."""


PATIENTS = "patients"
"""An array of a site's own head: the keyed hashes of those who made it."""


class SiteOwn(ValueError):
    """A head of a site's own where weights were asked for that may leave."""


def load_weights(path: Path) -> Weights:
    """Reads weights, of their own file or among other arrays, such as those of a checkpoint."""
    return weights_in(load_file(path))


def weights_in(found: Mapping[str, NDArray[Any]]) -> Weights:
    """The weights among the arrays of such a file.

    Raises:
        SiteOwn: They are a site's own head.
    """
    inside = {name for name in found if name.startswith(WEIGHTS)}
    if inside and PATIENTS in found:
        raise SiteOwn("this is a head of a site's own, trained without noise: it never leaves")
    # In order of name: the library gives them in any.
    return {name.removeprefix(WEIGHTS): found[name] for name in sorted(inside or found)}
