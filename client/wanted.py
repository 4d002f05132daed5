"""Studies that wait at a deployed site to be prepared, and why one could not be.

A file for each in the folder of studies, `<digest>.wanted`: whoever embeds looks for them. It is
empty, or holds the class of the error that the last attempt ended with.
"""

from __future__ import annotations

from pathlib import Path

from client.site import Site
from privacy import errors
from privacy.errors import SiteError, StillPreparing
from privacy.files import drafts, remove, replacing

# So that whoever can reach a site that takes any study cannot fill its disk with them.
MOST_WANTED = 50


def has_room(site: Site, digest: str) -> bool:
    """Whether a study may be marked, or is."""
    return digest in (found := wanted(site)) or len(found) < MOST_WANTED


def want(site: Site, digest: str) -> None:
    """Marks a study that is kept, durably; anew where it is marked, so that it is tried at once."""
    _write(site, digest, "")


def wanted(site: Site) -> dict[str, int]:
    """The digests of the studies that wait, each with when it was marked last, in ns."""
    found: dict[str, int] = {}
    for path in site.at(site.studies).glob("*.wanted"):
        try:
            found[path.stem] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue  # prepared meanwhile
    return found


def failed(site: Site, digest: str, error: Exception) -> None:
    """Notes that a study could not be prepared, for the next who asks."""
    _write(site, digest, type(error).__name__)


def forget(site: Site, digest: str) -> None:
    """Takes a mark away: the study is prepared, or not taken any more."""
    path = _path(site, digest)
    if path.exists():
        remove(path, *drafts(path.parent, path.name))


def answer(site: Site, digest: str) -> SiteError:
    """What a coordinator is told that asks for a study which is not prepared.

    The class of what went wrong the last time, if something did: to ask on would be in vain.
    """
    try:
        name = _path(site, digest).read_text("ascii")
    except (FileNotFoundError, ValueError):
        name = ""
    kind = getattr(errors, name, None) if name else None
    # None where the error itself would leave with its text, which is not at hand here.
    if isinstance(kind, type) and issubclass(kind, SiteError) and kind.public is not None:
        return kind(f"study {digest[:12]} could not be prepared; see logs/embed.log")
    if name:
        return SiteError(f"study {digest[:12]} could not be prepared ({name}); see logs/embed.log")
    return StillPreparing(f"study {digest[:12]} waits to be prepared: fedward site run or embed")


def _path(site: Site, digest: str) -> Path:
    return site.at(site.studies) / f"{digest}.wanted"


def _write(site: Site, digest: str, content: str) -> None:
    path = _path(site, digest)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as file:
        file.write(content)
