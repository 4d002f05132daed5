"""Death: taking out of a text what tells that the patient died.

A prediction of death must not read of it. Sentences that tell the patient's death are cut; a text
that tells it in a way that cannot be cut gives None, and its stay is dropped, whatever the answer.
The words of a death are many: a relative may have died, a thought be of death, a drug be expired.

| what | becomes |
| --- | --- |
| `Patient expired on day 3.`, `Time of death: 04:12`, `Disposition: Expired`, an autopsy | cut |
| `His father died of MI.`, `denies thoughts of death`, `dead space`, `expired drug` | kept |
| `Died at 54: uncle`, `F died MI` under the heading of the family history | kept |
| a note that calls itself a death note or summary | None |
| a sentence to cut that is longer than 600 characters: nobody can say where it ends | None |
| any other word of death | None |
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Literal

from tasks.sections import sections

LONGEST_CUT = 600
"""Characters of a sentence that is cut."""
AROUND = 150
"""Characters before and behind a word that say what it means."""

_I = re.IGNORECASE

_TITLED = re.compile(
    r"^[ \t#*_]*(?:death|expiration|mortality)\s+(?:summary|note|report|discharge)\b",
    _I | re.MULTILINE,
)
_WORD = re.compile(
    r"\b(?:died|dies|dead|deaths?|deceased|expired|expires|demise|succumbed|dying"
    r"|(?:time|date|day|hour)\s+of\s+expiration"
    r"|pass(?:ed|es|ing)?[\s-]+(?:peacefully|comfortably|quietly|away)|autops\w+|necropsy"
    r"|(?:peacefully|comfortably|quietly)\s+passed|passed\s+in\s+(?:\w+\s+)?sleep"
    r"|passed(?=\s+(?:(?:at|on|around)\s+\W{0,3}\d|(?:last|this)\s+\w|overnight|today|yesterday"
    r"|soon|shortly|with\s+(?:\w+\s+)?family))|(?:he|she|patient|pt)\s+passed(?=\s*(?:[.;]|$))"
    r"|(?:(?:(?:did|does|could)\s+)?(?:not|never)|didn['\u2019]?t)\s+survive[sd]?|(?:no\s+longer|not)\s+(?:alive|living)"
    r"|fatal|fatally|fatality|(?:lost|losing)\s+(?:his|her|their)\s+life|(?:was|were|been)\s+killed"
    r"|t\.?o\.?d(?=\W{0,4}\d)"
    r"|(?:not|unable\s+to)\s+(?:be\s+)?(?:resuscitated?|revived?)"
    r"|post[\s-]?mortem|morgue|coroner|medical\s+examiner"
    r"|pronounced(?=\s+(?:dead|deceased|expired|(?:at|on)\s+\W{0,3}\d|by\s|\W{0,3}\d\d?:?\d\d\b)"
    r"|(?=:?\s*\W{0,3}\d\d?:\d\d))"
    r"|(?:resuscitat\w+|\bcode|acls|cpr)\b(?=[^.\n]{0,60}\b(?:unsuccessful|called\s+off|terminated"
    r"|ceased|futile))|(?:ceased|stopped)\s+(?:to\s+)?breath\w+)\b",
    _I,
)
_SURE = re.compile(
    r"\b(?:time|date|day|hour|cause|manner)\s+of\s+(?:death|expiration)"
    r"|\bdeath\s+(?:certificate|note|summary|report|pronounc\w+)"
    r"|\bpronounced\s+(?:dead|deceased|expired|at\b|on\b|by\b|\W{0,3}\d)"
    r"|\bt\.?o\.?d\b|\bfatal\s+(?:outcome|course|end|event|arrest)|\breviv"
    r"|\bdeath\s+of\s+(?:the\s+|this\s+)?(?:patient|pt)\b"
    r"|\b(?:led|leading|resulting|resulted)\s+(?:to|in)\s+(?:\w+\s+){0,2}death\b"
    r"|\b(?:disposition|condition|status|outcome)\b[^.]{0,40}?"
    r"\b(?:expired|deceased|dead|died|death)\b"
    r"|autops|necropsy|post[\s-]?mortem|\bmorgue|\bcoroner|\bmedical\s+examiner"
    r"|resuscitat|\bcode\b|\bacls\b|\bcpr\b|breath"
    r"|\b(?:expired|died|deceased|passed\s+away)\s+(?:at|on|by)\s+(?:\d{1,2}:\d\d|hd\b|pod\b"
    r"|hospital\s+day)",
    _I,
)
_WHO = (
    r"(?:patient|pt|he|she|they|mr|mrs|ms|who|resident|gentleman|lady|woman|man|infant|baby|child)"
)
_PATIENT = re.compile(rf"\b{_WHO}\b.{{0,120}}$", _I | re.DOTALL)
_OWN = re.compile(
    r"\b(?:his|her|their|the|patient['\u2019]?s|pt['\u2019]?s|\w+['\u2019]s)\s+(?:\w+\s+)?$|\buntil\s+$|\bsince\s+$",
    _I,
)
_OPENS = re.compile(
    r"(?:^|[:\n])\W*(?:(?:subsequently|then|unfortunately|sadly|ultimately|later|peacefully)\W+)*$",
    _I,
)
_KIN = (
    r"(?:(?:step|half|grand|great|god)[\s-]*)?(?:father|mother|brother|sister|son|daughter|parent"
    r"|sibling)s?(?:-in-law)?"
    r"|moms?|dads?|aunts?|uncles?|cousins?|nieces?|nephews?|husband|wife|spouse|partner|fianc[eé]e?"
    r"|boyfriend|girlfriend|twins?|relatives?|[mp]g[mf]|friends?|roommates?|neighbou?rs?|donor|fetus"
    r"|dogs?|cats?|pets?|battery|phone|family(?=\s+members?)"
)
# Who is told of a death, or stands by, has not died.
_STANDS_BY = (
    r"patient|pt|he|she|notif\w+|called|inform\w+|told|aware|bedside|present|visit\w*|with|when"
    r"|after|before|that|decid\w+|agree\w*|request\w*|declin\w+|wish\w*|consent\w*|arriv\w*|care|withdr\w+"
    r"|\w*extubat\w+|transition\w*|cmo|comfort|hospice|goals|meeting|discuss\w*|spoke"
    r"|subsequently|thereafter|then|later|her|him|until|found|held|room|said|says|state[sd]|report\w*"
    r"|witness\w*|saw|brought|drove|took|overnight"
)
_KIN_BEFORE = re.compile(
    rf"\b(?:(?:{_KIN})\b(?:['\u2019]s?)?|(?:family\s+(?:history|hx|h/o)|fhx?)\b[^.;\n]{{0,20}}\b(?:of|for)\b)"
    rf"(?:(?!\b(?:{_STANDS_BY})\b)[^;\n]){{0,80}}$",
    _I,
)
# `Per daughter, expired`: who says it or is there has not died.
_WITH_KIN = re.compile(rf"\b(?:with|per|by|to|via|from)\s+(?:\w+\s+){{0,2}}(?:{_KIN})\b", _I)
# In a family history `F` and `M` are the parents; where it goes on with the stay, nobody knows.
_RELATIVE = re.compile(
    rf"\b(?:{_KIN})\b|(?:^|[:;,.(]|\band\b)\s*(?:[fm]|[gmp]?gf|[gmp]?gm|sibs?|bro|sis)\b", _I
)
_OF_THE_STAY = re.compile(
    r"\b(?:patient|pt|he|she|notif\w*|bedside|present|inform\w*|called|aware|room|ed|er|icu|arriv\w*"
    r"|admi\w*|hd|pod|day|overnight|cmo|comfort|hospice|arrest|pronounced|withdr\w*)\b",
    _I,
)
_ANY_KIN = re.compile(rf"\b(?:{_KIN})\b", _I)
_WHOSE = (
    r"(?:(?:his|her|their|the|a|an|multiple|several|close|older|younger|first|one|beloved)\s+){0,3}"
)
_KIN_OF = re.compile(rf"^\s+(?:of|in)\s+{_WHOSE}(?:{_KIN}|family)\b", _I)
# `Deceased: mother`; but not the note of somebody in haste: `deceased wife notified`.
_KIN_AFTER = re.compile(
    rf"^\s*:?\s*{_WHOSE}(?:{_KIN})\b(?!.{{0,40}}\b(?:notif|call|inform|aware|bedside|present|told))",
    _I,
)
_THING = (
    r"drugs?|medications?|meds?|medicines?|prescriptions?|scripts?|rx|insurance|licen[cs]e|visa"
    r"|inhalers?|epi-?pens?|nitroglycerin|insulin|tablets?|pills?|food|milk|authori[sz]ation|coverage"
    r"|supply|orders?|products?|passport|contract|lease|vaccines?"
)
_HARMLESS = re.compile(
    r"\bdead[\s-]+(?:space|tissue|bowel|skin|weight|sea|lift|end|zone|bone|teeth|tooth|arm)\b"
    rf"|\bexpired\s+(?:{_THING}|air|gas|volume|tidal|breath|co2|minute)\b"
    rf"|\b(?:{_THING})\s+(?:(?:that|which|had|has|have|is|was|were|are|recently|just|long|already)"
    r"\s+){0,3}expire[sd]\b"
    r"|\b(?:cell|near|fetal|foetal|intrauterine|crib|tissue)[\s-]+(?:deaths?|demise)\b"
    r"|\b(?:thoughts?|fears?|afraid|scared|ideas?|ideation|preoccup\w+|worr\w+|anxi\w+|talk\w*)\s+"
    r"(?:of|about|with|that|for)\s+(?:\w+\s+){0,3}(?:deaths?|dead|dying)\b"
    r"|\brisks?\b(?:(?!\b(?:led|lead\w*|result\w*|caus\w*|until|then|discuss\w*|patient|pt|he|she|time"
    r"|after|before|at|followed|unfortunately)\b)[^.;\n]){0,80}\b(?:deaths?|dying)\b"
    r"(?!\s+(?:at|on)\s+\d|\s+of\s+(?:the\s+)?(?:patient|pt)\b)"
    r"|\bdeath\s+risk\b|\bG\d+\s*P\d+[^.;\n]{0,60}\b(?:deaths?|demise)\b"
    rf"|\b(?:{_KIN})\s+(?:with|w/|had|has)\s+(?:an?\s+)?"
    r"(?:(?:sudden|early|cardiac|unexplained|premature)\s+){1,3}deaths?\b"
    r"|\b(?:non|near|potentially)[\s-]*fatal\b"
    r"|\b(?:wish\w*|want\w*|better\s+off|rather)\s+(?:\w+\s+){0,4}dead\b"
    r"|\b(?:denie[sd]|denying)\s+(?:[\w,/]+\s+){0,8}(?:deaths?|dying|dead)\b"
    r"|\bno\s+(?:(?:known|family|history|hx|of|sudden|early|premature|unexplained|cardiac|other)\s+)"
    r"{0,6}deaths?\b"
    r"|\b(?:not|never)\s+(?:been\s+|yet\s+)?(?:dead|died|dying|expired|deceased)\b"
    r"|\bdeceased[\s-]+(?:donor|kidney|renal|liver)\b"
    r"|\bdonat\w+\s+after\s+(?:\w+\s+){0,2}death\b"
    r"|\b(?:aborted|survived|survivor\s+of|prevent\w*|prophylaxis\s+against|s/p|history\s+of|h/o)\s+"
    r"(?:\w+\s+){0,2}death\b"
    r"|\bdied\s+down\b",
    _I,
)
_TRADE = re.compile(
    r"\b(?:retired|former|(?:works?|worked|working|employed)\s+(?:as|for))\s+(?:(?:an?|the)\s+)?"
    r"(?:\w+\s+)?(?:coroner|medical\s+examiner)\b",
    _I,
)
# No sentence ends with `Dr.` or `Mr. N.`
_BREAK = re.compile(
    r"(?<=[.!?;])(?<!\.[Dd]\.)(?<![DdMm][Rr]\.)(?<![Mm][Ss]\.)(?<![Mm][Rr][Ss]\.)(?<!\s[A-Z]\.)\s+"
    r"|\n[ \t]*\n|\n(?=[ \t]*(?:[-*#•]|\d+[.)]))|\n(?=[^\n:]{1,60}:)"
)


def without_death(text: str) -> str | None:
    """The text without the sentences that tell the patient's death, by the table above; None where
    it tells it in a way that cannot be cut.

    >>> without_death("Father died of MI. Patient expired at 04:12. Full code before.")
    'Father died of MI. Full code before.'
    """
    if _TITLED.search(text):
        return None
    if not _WORD.search(text):
        return text
    family = [(part.start, part.end) for part in sections(text) if part.name == "family history"]
    begins = [begin for begin, _ in family]
    kept = []
    for start, end in _sentences(text):
        sentence = text[start:end]
        found: set[str] = set()
        for word in _WORD.finditer(sentence):
            at = start + word.start()
            nearest = bisect_right(begins, at) - 1
            of_family = nearest >= 0 and at < family[nearest][1]
            told = _told(sentence, word, of_family=of_family)
            if told == "unclear" or (told == "told" and end - start > LONGEST_CUT):
                return None
            found.add(told)
        if "told" not in found:
            kept.append(sentence)
    return "".join(kept)


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where each sentence begins and ends, with the space behind it."""
    start = 0
    for match in _BREAK.finditer(text):
        yield start, match.end()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _told(
    sentence: str, word: re.Match[str], *, of_family: bool
) -> Literal["told", "harmless", "unclear"]:
    """What a word of death says in its sentence."""
    # Not the whole: a text without full stops is one sentence, however long.
    first, last = max(0, word.start() - AROUND), word.end() + AROUND
    before, after = sentence[first : word.start()], sentence[word.end() : last]
    if _covers(_TRADE, word, sentence, first, last):
        return "harmless"
    if _covers(_SURE, word, sentence, first, last):
        return "told"
    if (
        _covers(_HARMLESS, word, sentence, first, last)
        or (of_family and _of_relative(before, after))
        or (_KIN_BEFORE.search(before) and not _WITH_KIN.search(before))
        or _KIN_OF.match(after)
    ):
        return "harmless"
    if re.match(rf"{_WHO}\b", word[0], _I) or _PATIENT.search(before) or _OWN.search(before):
        return "told"
    if word[0].lower() in {"deceased", "dead", "deaths"} and _KIN_AFTER.match(after):
        return "harmless"
    return "told" if _OPENS.search(before) or _ANY_KIN.search(before) else "unclear"


def _of_relative(before: str, after: str) -> bool:
    """Whether a line of a family history tells of a relative, and not of the stay."""
    behind = after.split("\n", 1)[0]
    line = f"{before.rsplit(chr(10), 1)[-1]} ... {behind}"
    return _RELATIVE.search(line) is not None and _OF_THE_STAY.search(line) is None


def _covers(
    pattern: re.Pattern[str], word: re.Match[str], sentence: str, first: int, last: int
) -> bool:
    """Whether the pattern is found around a word, and on it."""
    return any(
        part.start() < word.end() and word.start() < part.end()
        for part in pattern.finditer(sentence, first, last)
    )
