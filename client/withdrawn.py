"""The patients who take part in nothing any more, by keyed hash."""

from __future__ import annotations

import hmac

from client.site import Site
from privacy.errors import SiteError
from privacy.files import drafts, remove, replacing

HASH_BYTES = 32


def keyed_hash(patient_id: str, *, secret: bytes) -> bytes:
    """What stands for a patient in the site's files, 32 bytes.

    Args:
        patient_id: The source's own name for the patient.
        secret: `site.key("patient")`.
    """
    return hmac.digest(secret, patient_id.encode(), "sha256")


def withdrawn(site: Site) -> frozenset[bytes]:
    """The keyed hashes of the patients who are withdrawn.

    Raises:
        SiteError: The list is damaged; to go on without it could take a patient in again.
    """
    path = site.at(site.withdrawn)
    try:
        found = [bytes.fromhex(line) for line in path.read_text("ascii").splitlines()]
    except FileNotFoundError:
        return frozenset()
    except ValueError:
        found = [b""]
    if any(len(value) != HASH_BYTES for value in found):
        raise SiteError(
            f"{site.name}'s list of withdrawn patients ({path.name}) is damaged: restore it from a "
            "backup"
        )
    return frozenset(found)


def withdraw(site: Site, patient: bytes) -> None:
    """Puts a patient on the list, durably; the caller holds the store's lock alone."""
    listed = withdrawn(site) | {patient}
    path = site.at(site.withdrawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(*drafts(path.parent, path.name))  # of a purge that was killed here
    with replacing(path) as file:
        file.writelines(f"{value.hex()}\n" for value in sorted(listed))
