"""The errors that a site answers with, and what of each may leave it.

    SiteError               a site cannot or will not do what it is asked
    ├── StudyRefused    *   the site's policy does not allow this study
    │   └── BudgetExhausted * the ledger has too little left for it
    ├── CodeDiffers     *   the two sides run different code
    ├── EncoderDiffers      the two sides embed with different encoders
    ├── SourceBroken        the site's own records cannot be read
    ├── LedgerBroken        the ledger was edited, cut, rolled back or lost
    ├── KeyBroken           a key file of the site is missing, damaged or open to others
    ├── StoreBroken         the site's embedding store is damaged, in use or without its key
    │   └── StoreFull       its quota or its disk has no room
    ├── StillPreparing      a study is taken in, and its notes are not embedded yet
    ├── TookTooLong         a message took longer than the site allows
    └── ReleaseBlocked      something tried to pass the door that may not

Each text says who, what, what is allowed and what to do; none ever holds a patient's value. Only
those marked * leave with their text (`SiteError.aloud`): it depends on the study, site.toml's
public part, the code and the ledger alone. The text of any other may depend on the site's records
or files (how full a store is, where a file is damaged) and would be a release that nobody paid
for; it goes to the site's own logs, and one constant sentence leaves in its place. Any other
exception leaves a site as its class name alone (`client.app`).
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import ClassVar

_LOG = "its operator sees why in the site's log"


class SiteError(Exception):
    """An error that its author wrote for the site's operator.

    Attributes:
        public: The sentence that leaves in the place of the text; None where the text itself
            may, because it depends on public numbers and the ledger alone.
        site: At the coordinator, the site that sent it, where it said so.
    """

    public: ClassVar[str | None] = f"the site cannot do what it was asked; {_LOG}"
    site: str | None = None

    @property
    def aloud(self) -> str:
        """What may leave the site."""
        return str(self) if self.public is None else self.public


class StudyRefused(SiteError):
    """The site's policy does not allow this study."""

    public = None


class BudgetExhausted(StudyRefused):
    """The site's ledger has too little left for this study."""

    public = None


class CodeDiffers(SiteError):
    """The coordinator and the site run different versions of the code."""

    public = None


class EncoderDiffers(SiteError):
    """The site's encoder is not the one that the study was made with, or is not there."""

    public = f"the site's encoder is not the study's, or is not there; {_LOG}"


class SourceBroken(SiteError):
    """The site's records cannot be used; the text names file and line, never content."""

    public = f"the site's source cannot be used; {_LOG}"


class LedgerBroken(SiteError):
    """The site's ledger is not what it was: nothing may be trained until it is restored."""

    public = f"the site's ledger or audit log cannot be used; {_LOG}"


class KeyBroken(SiteError):
    """A key file of the site cannot be used; names the file, never what is in it."""

    public = f"a key of the site cannot be used; {_LOG}"


class StoreBroken(SiteError):
    """The site's embedding store cannot be used as it is; says what to do."""

    public = f"the site's embedding store cannot be used; {_LOG}"


class StoreFull(StoreBroken):
    """The store's quota or its disk has no room; what was written before stays."""

    public = f"the site's embedding store has no room; {_LOG}"


class StillPreparing(SiteError):
    """A study is taken in and waits until its notes are embedded; to be asked again."""

    public = "the site is preparing the study; it can be asked again"


class TookTooLong(SiteError):
    """A message took longer than the site's own limit, and was given up."""

    public = f"the site gave up on a message that took longer than it allows; {_LOG}"


class ReleaseBlocked(SiteError):
    """A release or a request is not what the study says it must be."""

    public = f"what was asked, or the answer, is not what the study says it must be; {_LOG}"


def in_words(error: Exception) -> str:
    """An error for the site's own logs: a SiteError's text; of any other the class and the places
    in the code, since its text may hold the value that caused it, a patient's.
    """
    if isinstance(error, SiteError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames))
    return f"{type(error).__name__} at {where}"
