"""What a study's weights must look like, wherever they come from: a message or a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.errors import ReleaseBlocked
from privacy.release import Contract
from privacy.spec import printable

LONGEST_NAME = 100

# No head that learns comes near these; beyond them sums overflow.
LARGEST_WEIGHT = 1e6


def check_weights(weights: Mapping[str, NDArray[np.float32]], contract: Contract) -> None:
    """Checks that weights are what the study trains, and finite.

    Raises:
        ReleaseBlocked: Names the first array that is not.
    """
    if set(weights) != set(contract.parameters):
        raise ReleaseBlocked(
            f"weights must be exactly {_names(contract.parameters)}, not {_names(weights)}"
        )
    for name, shape in contract.parameters.items():
        check_array(name, weights[name], shape=shape, dtype="float32")
        if weights[name].size and np.abs(weights[name]).max() > LARGEST_WEIGHT:
            raise ReleaseBlocked(f"{name}: a weight beyond {LARGEST_WEIGHT:g}")


def check_array(name: str, value: NDArray[Any], *, shape: tuple[int, ...], dtype: str) -> None:
    """Checks that an array is of one shape and dtype, and finite.

    Raises:
        ReleaseBlocked: It is not.
    """
    if value.shape != tuple(shape) or str(value.dtype) != dtype:
        raise ReleaseBlocked(f"{name}: must be {dtype} of shape {tuple(shape)}")
    if not np.isfinite(value).all():
        raise ReleaseBlocked(f"{name}: holds a value that is not finite")


def _names(names: Iterable[str]) -> str:
    return printable(str(sorted(names)[:20]), 5 * LONGEST_NAME)
