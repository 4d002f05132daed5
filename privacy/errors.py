"""The errors whose text may leave a site.

    SiteError               anything a site may say aloud
    ├── StudyRefused        the site's policy does not allow this study
    │   └── BudgetExhausted the ledger has too little left for it
    ├── CodeDiffers         the two sides run different code
    ├── EncoderDiffers      the two sides embed with different encoders
    ├── SourceBroken        the site's own records cannot be read
    └── ReleaseBlocked      something tried to pass the door that may not

Each says who, what, what is allowed and what to do; none ever holds a patient's value.
Any other exception leaves a site as its class name alone (`client.app`).
"""

from __future__ import annotations


class SiteError(Exception):
    """An error that its author wrote for the coordinator's eyes.

    Attributes:
        site: At the coordinator, the site that sent it, where it said so.
    """

    site: str | None = None


class StudyRefused(SiteError):
    """The site's policy does not allow this study."""


class BudgetExhausted(StudyRefused):
    """The site's ledger has too little left for this study."""


class CodeDiffers(SiteError):
    """The coordinator and the site run different versions of the code."""


class EncoderDiffers(SiteError):
    """The site's encoder is not the one that the study was made with."""


class SourceBroken(SiteError):
    """The site's records cannot be read; the message names file and line, never content."""


class ReleaseBlocked(SiteError):
    """A release or a request is not what the study says it must be."""
