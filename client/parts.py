"""Which part of the split each patient of the site was in, by keyed hash, for all studies.

A patient who was trained on in one study and is tallied as held out in the next stands on two
lines of the ledger, each of which counts for half of what leaves. A split of our own cannot move
anybody (`Split.part`, and `Ledger.settle` holds its key and shares). A split that the data bring
along can: a new export may draw it anew. So the first part that a patient was ever given is kept
here, beyond every study, and a prepare in which somebody has another stops.

The file: a line with a random name that the ledger keeps, so that a lost file is not taken for a
new one; then for each patient the keyed hash and the part.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from client.site import Site
from client.withdrawn import HASH_BYTES
from privacy.errors import SiteError, SourceBroken
from privacy.files import drafts, locked, remove, replacing
from tasks.records import Part

_FORM = re.compile(rf"[0-9a-f]{{32}}\n([0-9a-f]{{{2 * HASH_BYTES}}} (train|tune|heldout)\n)*")


def keep(site: Site, found: Mapping[bytes, Part]) -> None:
    """Remembers the parts of patients who are new, on disk before it returns.

    Args:
        site: Whose.
        found: The part of each patient whom a study takes, by keyed hash.

    Raises:
        SourceBroken: A patient was in another part before; nothing is remembered.
        SiteError: The file is damaged, lost, or not the one that the ledger names.
    """
    with _alone(site) as path:
        new = not path.exists()
        name, known = (secrets.token_hex(16), {}) if new else _read(site, path)
        moved = sum(known.get(patient, part) != part for patient, part in found.items())
        if moved:
            raise SourceBroken(_moved(site, moved))
        if new or not found.keys() <= known.keys():
            _write(path, name, {**known, **found})
        # After the file: killed in between, the next prepare finds it and settles its name.
        if not site.open_ledger().settle("parts", name):
            if new:
                remove(path)
            raise SiteError(
                f"{site.name}'s list of who was in which part of the split ({path.name}) is lost, "
                "or another's: restore it from a backup, or patients trained on could be tallied "
                "as held out"
            )


def forget(site: Site, patient: bytes) -> None:
    """Lets go of a patient who is withdrawn, and so in no part any more.

    Raises:
        SiteError: The file is damaged.
    """
    with _alone(site) as path:
        if path.exists():
            name, known = _read(site, path)
            if known.pop(patient, None) is not None:
                _write(path, name, known)


@contextmanager
def _alone(site: Site) -> Iterator[Path]:
    """The file, which nobody else reads or writes meanwhile, without what killed ones left."""
    path = site.at(site.parts)
    with locked(path.with_name(f"{path.name}.lock"), exclusive=True):
        remove(*drafts(path.parent, path.name))
        yield path


def _read(site: Site, path: Path) -> tuple[str, dict[bytes, Part]]:
    """The file's name in the ledger, and the parts."""
    text = path.read_text("ascii", "replace")
    if not _FORM.fullmatch(text):
        raise SiteError(
            f"{site.name}'s list of who was in which part of the split ({path.name}) is damaged: "
            "restore it from a backup"
        )
    name, *lines = text.splitlines()
    rows = (line.split(" ") for line in lines)
    return name, {bytes.fromhex(patient): cast("Part", part) for patient, part in rows}


def _write(path: Path, name: str, known: Mapping[bytes, Part]) -> None:
    with replacing(path) as file:
        file.write(f"{name}\n")
        file.writelines(f"{patient.hex()} {known[patient]}\n" for patient in sorted(known))


def _moved(site: Site, number: int) -> str:
    rounded = -(-number // 10) * 10
    return (
        f"{site.name}'s records put up to {rounded} patients into another part of the split than "
        "studies before did: who was trained on would be tallied as held out. Give every patient "
        "the part that the first export gave, or take these patients out of the records"
    )
