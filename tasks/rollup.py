"""Rollups: the outputs of a study at a coarser level, such as codes by their category.

A group is true where one of its outputs is, and scores what the highest of them scores: at any
threshold it is predicted where one of its outputs is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.binning import Scores, Truth


@dataclass(frozen=True, slots=True)
class Rollup:
    """One coarser level of L outputs.

    Attributes:
        level: Its name.
        groups: Names of the groups, in order of their first output; G of them.
        of: The number of each output's group, (L,).
    """

    level: str
    groups: tuple[str, ...]
    of: NDArray[np.int64]

    def members(self, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which groups, (G,), have an output that is shown, (L,)."""
        return np.bincount(self.of[shown], minlength=len(self.groups)) > 0

    def rolled(
        self, logits: Scores, truth: Truth, *, shown: NDArray[np.bool_]
    ) -> tuple[Scores, Truth]:
        """Scores and truth of the groups that have an output that is shown, each (N, G').

        Args:
            logits: Of the outputs that are shown, (N, L').
            truth: (N, L').
            shown: Which outputs these are, (L,).
        """
        of = self.of[shown]
        order = np.argsort(of, kind="stable")
        starts = np.flatnonzero(np.diff(of[order], prepend=-1))
        if not len(starts):
            return logits[:, :0], truth[:, :0]
        return (
            np.maximum.reduceat(logits[:, order], starts, axis=1),
            np.logical_or.reduceat(truth[:, order], starts, axis=1),
        )


def rollups(levels: Mapping[str, Sequence[str]]) -> tuple[Rollup, ...]:
    """The rollups of a task.

    Args:
        levels: For each level the name of every output's group; see `Task.rollups`.
    """
    return tuple(_rollup(level, names) for level, names in levels.items())


def _rollup(level: str, names: Sequence[str]) -> Rollup:
    groups = tuple(dict.fromkeys(names))
    number = {name: n for n, name in enumerate(groups)}
    return Rollup(level, groups, np.array([number[name] for name in names], np.int64))
