"""The weights that a study starts from, where it names some of an earlier study (`tasks.start`)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load

from privacy.errors import ReleaseBlocked
from privacy.files import write_new
from privacy.weights import check_weights
from tasks.heads.head import Weights
from tasks.heads.ridge import Ridge
from tasks.heads.weights_file import weights_in
from tasks.study import Study

FILE = "start.safetensors"
"""A copy in the run's folder, so that the study can be begun again without the earlier one's."""


class StartBroken(ValueError):
    """The weights to start from are missing, or are not those that the study names."""


def give(study: Study, path: Path | None) -> bytes | None:
    """The content of the file that a study starts from, checked; None where it starts from none.

    Args:
        study: To be launched.
        path: Of the file, where one was given.

    Raises:
        StartBroken: It is none that the study can start from, or one is given in vain.
    """
    if study.start is None:
        if path is not None:
            raise StartBroken(
                f"{path}: the study {study.name} has no table [start], so it starts from no file"
            )
        return None
    if path is None:
        raise StartBroken(
            f"the study {study.name} starts from weights of an earlier one: give their file, "
            f"with SHA-256 {study.start.weights_sha256}, with --start"
        )
    content = _content(path)
    _initial(study, content, path)
    return content


def keep(folder: Path, content: bytes | None) -> None:
    """Puts what `give` gave into a run's folder, which must be there."""
    if content is not None:
        write_new(folder / FILE, content)


def initial(study: Study, folder: Path) -> Weights:
    """The weights that round 1 of a run starts from.

    Args:
        study: What is run.
        folder: The run's.

    Raises:
        StartBroken: The study starts from a file, and it is not there or another.
    """
    if study.start is None:
        return study.initial()
    return _initial(study, _content(folder / FILE), folder / FILE)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartBroken(f"{path}: cannot be read: {error.strerror}") from None


def _initial(study: Study, content: bytes, path: Path) -> Weights:
    found = hashlib.sha256(content).hexdigest()
    if study.start is not None and found != study.start.weights_sha256:
        raise StartBroken(
            f"{path}: has SHA-256 {found}, and the study {study.name} starts from a file with "
            f"{study.start.weights_sha256}: give that one, or name this one in [start]"
        )
    try:
        weights = study.initial(weights_in(load(content)))
    except SafetensorError:
        raise StartBroken(f"{path}: is no file of weights") from None
    except (ValueError, ReleaseBlocked) as error:
        raise StartBroken(f"{path}: the study cannot start from these weights: {error}") from None
    try:
        check_weights(weights, study.contract())  # as each site will
    except ReleaseBlocked as error:
        raise StartBroken(
            f"{path}: the study cannot start from these weights: {error}; {_remedy(study)}"
        ) from None
    return weights


def _remedy(study: Study) -> str:
    """What to do about weights that are too large for a site to take."""
    head = None if study.start is None else study.start.head
    if isinstance(head, Ridge):
        return "raise `ridge` or lower `scale` of its head in [start]"
    return "name weights of an earlier round, or of another study, in [start]"
