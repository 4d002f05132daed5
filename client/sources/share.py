"""share: those patients of another source whose ids stand in a file. For simulations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from client.sources.shares import files_state
from client.sources.source import Attrition, Source
from client.sources.whole import WholeSource
from privacy.errors import SourceBroken
from privacy.files import replacing
from tasks.records import Patient


class Share(Source):
    """One site's patients of pooled records; see `client.partition`.

    Each pass reads all of `of`, and lets go of everybody else at once: a share needs no more memory
    than the whole and a set of its ids, and no copy of a record. Its price is time: n sites read
    the pooled records n times.

    | what | becomes |
    | --- | --- |
    | an id of the file that the source has no more | `SourceBroken` |
    | what the source left out on its way to a patient | counted at the site of that patient |
    | what it left out after its last patient | counted at the site of that last one |

    So over the shares of everybody nothing is counted twice, and nothing is lost.

    Attributes:
        of: The pooled records; any kind but this one.
        file: JSON list of ids, relative to `data`.
    """

    kind: ClassVar[str] = "share"
    of: WholeSource
    file: str

    def patients(self, *, root: Path, attrition: Attrition) -> Iterator[Patient]:
        """See `Source.patients`."""
        mine = read_ids(root / self.file)
        found, last = 0, False
        on_the_way = Attrition()
        for patient in self.of.patients(root=root, attrition=on_the_way):
            last = patient.id in mine
            if last:
                found += 1
                _add(on_the_way, to=attrition)
                yield patient
            on_the_way.counts.clear()
            on_the_way.first.clear()
        if last:
            _add(on_the_way, to=attrition)
        if found < len(mine):
            raise SourceBroken(
                f"{self.file}: the pooled records no longer have every patient of this share: "
                "they changed since they were dealt out; begin a new run"
            )

    def state(self, *, root: Path) -> str | None:
        """See `Source.state`: that of the pooled records, and of the file."""
        whole = self.of.state(root=root)
        return None if whole is None else f"{whole} {files_state([root / self.file])}"


def write_ids(path: Path, ids: Iterable[str]) -> None:
    """Writes such a file, in order, whole or not at all, for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        json.dump(sorted(ids), file, indent=0)


def read_ids(path: Path) -> frozenset[str]:
    """The ids in such a file.

    Raises:
        SourceBroken: It is not there or not such a file; names no id.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceBroken(
            f"{path}: the share's ids cannot be read ({type(error).__name__}); "
            "source.file is relative to data"
        ) from None
    except ValueError:
        raise SourceBroken(f"{path}: the share's ids are not JSON") from None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise SourceBroken(f"{path}: the share's ids must be a list of texts")
    if len(set(found)) != len(found):
        raise SourceBroken(f"{path}: an id of the share stands there twice")
    return frozenset(found)


def _add(left_out: Attrition, *, to: Attrition) -> None:
    for rule, number in left_out.counts.items():
        to.add(rule, left_out.first.get(rule, ""), number)
