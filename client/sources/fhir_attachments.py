"""The text of FHIR attachments; nothing is ever fetched.

| an attachment | becomes | rule |
| --- | --- | --- |
| `text/plain` in UTF-8 (also where it says no charset), ASCII or latin-1 | its text | |
| `text/html`, `application/xhtml+xml` | its words, a line for each block | |
| of any other type | left out | `attachments that are pdf`, `... image`, and so on |
| in another charset | left out | `attachments in a charset that is not read` |
| not what its charset says | left out | `attachments that are not in their charset` |
| broken base64 | left out | `attachments whose base64 is broken` |
| neither data nor url | left out | `attachments without data` |
| a url to a Binary of the export, whatever stands before `Binary/ID` | that Binary's data | |
| a url to a file in the export's folder | that file | |
| a url to a Binary or file that is not there | left out | `attachments that are not there` |
| a url that leaves the folder, or of another machine | left out | `attachments elsewhere` |
| over 64 MB | left out | `attachments over 64 MB` |

Of several attachments of one document, which are the same in several formats, the first plain one
that can be read is taken, else the first in HTML; what is left out is counted where none can be.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from email.message import Message
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from client.sources.fhir_files import LONGEST_LINE
from client.sources.fhir_references import binary_key
from client.sources.fhir_shape import text

_CHARSETS = {
    "": "utf-8-sig",
    "utf-8": "utf-8-sig",
    "utf8": "utf-8-sig",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "latin1": "latin-1",
}
_HTML = {"text/html", "application/xhtml+xml"}
# A type is never said as it stands: it may be anything at all.
_FAMILIES = (
    ("application/pdf", "pdf"),
    ("application/rtf", "rtf"),
    ("text/rtf", "rtf"),
    ("image/", "image"),
    ("audio/", "sound or video"),
    ("video/", "sound or video"),
    ("application/msword", "word"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml", "word"),
    ("application/xml", "xml"),
    ("text/xml", "xml"),
    ("application/hl7", "xml"),
)
_SILENT = ("script", "style", "head", "title", "template", "noscript")
_BLOCKS = {
    "address", "article", "aside", "blockquote", "br", "caption", "dd", "div", "dl", "dt",
    "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
    "li", "main", "nav", "ol", "p", "pre", "section", "table", "tbody", "tfoot", "thead", "tr",
    "ul",
}  # fmt: skip


class _Unreadable(Exception):
    """Carries the rule by which an attachment is left out."""


def text_of(
    attachments: Iterable[dict[str, Any]],
    *,
    folder: Path,
    binaries: Mapping[str, dict[str, Any]],
) -> tuple[str | None, Counter[str]]:
    """The text of a document.

    Args:
        attachments: The same document in one or several formats.
        folder: Of the export; files outside it are never opened.
        binaries: The Binary resources that attachments name, by key.

    Returns:
        The text, or None and how many attachments were left out by which rule.
    """
    rules: Counter[str] = Counter()
    known = [(_type(one, binaries), one) for one in attachments]
    for (media, charset), one in sorted(known, key=lambda item: item[0][0] in _HTML):
        try:
            return _text(one, media, charset, folder, binaries), Counter()
        except _Unreadable as error:
            rules[str(error)] += 1
    return None, rules


def stripped(markup: str) -> str:
    r"""The words of a page, with a line for each block and a tab between a row's cells.

    >>> stripped("<p>One<script>2</script></p>three<br/>four <b>and</b> five")
    'One\nthree\nfour and five'
    """
    import warnings

    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning, Tag, XMLParsedAsHTMLWarning
    from bs4.element import NavigableString

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        warnings.simplefilter("ignore", XMLParsedAsHTMLWarning)
        page = BeautifulSoup(markup, "html.parser")
    words: list[str] = []
    around: list[Tag] = [page]
    inside: Counter[str] = Counter()
    # One walk and no change of the tree: each change is a search, and pages have 100,000 lines.
    for element in page.descendants:
        while around[-1] is not element.parent:
            left = around.pop()
            inside[left.name] -= 1
            words.append(_edge(left.name, end=True))
        if isinstance(element, Tag):
            around.append(element)
            inside[element.name] += 1
            words.append(_edge(element.name))
        # Comments and declarations are strings too, of other types.
        elif type(element) is NavigableString and not any(inside[name] for name in _SILENT):
            # In HTML a line break is a space; only blocks make lines.
            words.append(element if inside["pre"] else re.sub(r"[ \t\r\n\f]+", " ", element))
    lines = (line.strip(" \t") for line in "".join(words).split("\n"))
    return "\n".join(line for line in lines if line)


def _edge(name: str, *, end: bool = False) -> str:
    if name in _BLOCKS:
        return "\n"
    return "\t" if end and name in {"td", "th"} else ""


def _type(attachment: dict[str, Any], binaries: Mapping[str, dict[str, Any]]) -> tuple[str, str]:
    """Type and charset in lower case, of the attachment or else of its Binary; empty where it is
    not said.
    """
    said = text(attachment, "contentType")
    if not said:
        said = text(binaries.get(binary_key(attachment) or ""), "contentType")
    return _media(said)


@lru_cache(maxsize=64)
def _media(said: str) -> tuple[str, str]:
    header = Message()
    header["Content-Type"] = re.sub(r"[^\x20-\x7e]", " ", said)
    charset = header.get_param("charset", "")
    return (
        said.partition(";")[0].strip().lower(),
        charset.strip().lower() if isinstance(charset, str) else "?",
    )


def _text(
    attachment: dict[str, Any],
    media: str,
    charset: str,
    folder: Path,
    binaries: Mapping[str, dict[str, Any]],
) -> str:
    if media != "text/plain" and media not in _HTML:
        raise _Unreadable(f"attachments that are {_family(media)}")
    encoding = _CHARSETS.get(charset)
    if encoding is None:
        raise _Unreadable("attachments in a charset that is not read")
    try:
        found = _bytes(attachment, folder, binaries).decode(encoding)
    except UnicodeDecodeError:
        raise _Unreadable("attachments that are not in their charset") from None
    if media not in _HTML:
        return found
    from bs4.exceptions import ParserRejectedMarkup

    try:
        return stripped(found)
    # What the parser says of markup that it cannot read repeats the markup.
    except (ParserRejectedMarkup, AssertionError):
        raise _Unreadable("attachments whose html cannot be read") from None


def _family(media: str) -> str:
    if not media:
        return "of no type"
    return next((name for start, name in _FAMILIES if media.startswith(start)), "of another type")


def _bytes(
    attachment: dict[str, Any], folder: Path, binaries: Mapping[str, dict[str, Any]]
) -> bytes:
    data, url = text(attachment, "data"), text(attachment, "url")
    if data or not url:
        return _decoded(data)
    key = binary_key(attachment)
    if key is not None and key in binaries:
        return _decoded(text(binaries[key], "data"))
    if re.match(r"[a-z][a-z0-9+.-]*:|//", url, re.IGNORECASE):
        # Written out: what names a machine or a scheme would have to be fetched.
        raise _Unreadable("attachments elsewhere")
    return _file(folder, unquote(url))


def _decoded(data: str) -> bytes:
    if not data.strip():
        raise _Unreadable("attachments without data")
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _Unreadable("attachments whose base64 is broken") from None


def _file(folder: Path, name: str) -> bytes:
    try:
        # Both resolved: a link in the folder may lead out of it.
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise _Unreadable("attachments elsewhere")
        if not path.is_file():
            raise _Unreadable("attachments that are not there")
        if path.stat().st_size > LONGEST_LINE:
            raise _Unreadable("attachments over 64 MB")
        return path.read_bytes()
    except (OSError, ValueError):  # a name of 300 characters, or with a NUL
        raise _Unreadable("attachments that are not there") from None
