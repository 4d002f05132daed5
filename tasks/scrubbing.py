"""Scrubbing: a report's narrative without the words that tell its outcome.

Cut are the words that say a death, a stay in hospital, a visit to an emergency room or a doctor,
a threat to life or a disability, with the abbreviations that reporters use. What was seen and done
stays: `arrest`, `CPR`, `seizure`, `intubated`. Where a word may tell the outcome or not (`pt adm`),
it is cut; only phrases in `KEPT` are spared. So the text of a dog that died is cut too, and a
denial (`not hospitalized`) loses its word like a statement.

What remains can still be guessed from: a body found blue and cold tells the end without a word
of death. Scrubbed scores are lower than raw ones because of the words, not of all that the
reporter knew.
"""

from __future__ import annotations

import re

_VACCINE = (
    r"(?:vaccin\w*|vaxs?|vacc?s?|lots?|doses?|vials?|products?|drugs?|med\w*|shots?|inj\w*|"
    r"imm?un\w*|hepta\w*|hep|dtp|dtap|td|mmr|opv|ipv|hib|flu|typhoid|rabies|varicella|tetanus|"
    r"polio|engerix|recombivax)"
)
_PATIENT = r"(?:pt|patient|child|infant|baby|him|her)"
_SENT = (
    r"(?:taken|took|brought|rushed|transport\w*|transfer\w*|sent|went|go|ret\w*|ref\w*|presented)"
)
_DOCTOR = (
    r"(?:(?:the|a|an|his|her|their|own|family|local|private)\s+)?"
    r"(?:p?md|lmd|doctor|dr|physician|pediatrician|ped|hcp)(?:'?s)?\b(?:\s+(?:ofc|office)\b)?"
)

KEPT = (
    rf"expired?\s+{_VACCINE}\b",
    rf"{_VACCINE}\s+(?:that\s+|which\s+)?(?:had|has|was|were|is|are)\s+(?:already\s+)?expired\b",
    r"lots?\s+expired?\b",
    r"expired?\s+dat\w*",
    r"(?:die[sd]?|dying)\s+(?:down|away|out)\b",
    r"dead\s+(?:weight|tissue|skin|stare|virus|tired)\b",
    r"cod\s+liver\b",
    r"adm\s+(?:of|in|im|iv|sq|sc|sub|lt|rt|by)\b",
    rf"{_VACCINE}\s+(?:was\s+|were\s+)?adm\b",
    r"admits\s+(?:to|that)\b",
    r"admitted\s+(?:that|having|taking|using|drinking|smoking)\b",
    r"er\s+\d+\s*mg\b",
    r"er(?:\+|\s+(?:positive|negative)\b)",
)
"""Phrases that look like an outcome and are none."""

_KIND = r"(?:(?:sudden|unexplained|unexpected|crib|cot|infant|fetal|brain|(?:cause|date)\s+of)\s+)*"

DEATH = (
    rf"{_KIND}(?:death\w*|died?|dies|dying|dead)\b(?:\s+(?:cert\w*|synd\w*|on\s+arrival)\b)?",
    r"deceas\w*|demis\w*|fatal\w*|mortal\w*|expire[sd]?\b|expiring\b|stillb\w*",
    r"sids\b|sudden\s+infant\b|post[\s-]?mortem\w*|necropsy\b|doa\b|cod\b",
    r"autop\w*(?:\s+(?:rep\w*|rpt|result\w*|pending|done|performed|reveal\w*|show\w*|req\w*)\b)*",
    r"coroner\w*|med(?:ical)?\s+exam(?:iner)?(?:'?s)?\b|funeral\w*|buri(?:ed|al)\b|morgue",
    r"pass(?:ed|es|ing)\s+(?:away|on)\b|pronounced(?=\s*(?:at\b|@|by\b|in\b|d|on\s+arrival))",
    r"(?:resus\w*|cpr|efforts?|attempts?|measures)\s+(?:\w+\s+){0,3}?unsuccessful\w*",
    r"(?:unable\s+to|could\s+not|couldn't|not)\s+(?:be\s+)?(?:reviv\w*|resuscitat\w*)",
)
HOSPITAL = (
    r"(?:re|to)?hosp\w*|hopsi\w*|hsop\w*|hopital\w*",
    r"(?:re)?admit\w*|(?:re)?admission\w*|(?:re)?adm\b",
    r"in-?(?:patient|pt)s?\b|[pnmsc]?icu\b|ccu\b|(?:intensive|critical)\s+care\b",
    r"med(?:ical)?\s+c(?:en)?te?rs?\b|over\s?(?:night|noc)\b|for\s+(?:\w+\s+)?observation\b",
    r"discharged\b|disch(?:arge)?(?=\s+(?:home\b|to\b|on\s+\d|from\s+(?:the\s+)?(?:hosp|e\.?r\b)))",
    r"(?:time|day|date|upon|prior\s+to|since|until)\s+(?:of\s+)?disch(?:arge)?\b",
    r"d/c(?:'?e?d)?(?=\s+(?:from|home|to)\b)",
)
EMERGENCY = (
    r"e\.?r\b|(?<!['/])(?-i:ED)\b|e\.d\.",
    r"emerg(?:ency|encies)?\b(?:\s+(?:rooms?|rms?|dept?s?|departments?|care|aid|services?)\b)?",
    r"ems\b|emts?\b|paramed\w*|ambulance\w*|(?:by|via|per|called?)\s+amb\b|(?<=/)amb\b",
    r"(?<![/.-])911\b(?![/.-])|rescue(?:\s+squad)?\b|a&e\b|urgent\s+care\b",
    rf"(?:saw|seen|visit(?:ed|s)?|examined|eval(?:uated)?)\s+(?:(?:by|in|at|@|to)\s+)?{_DOCTOR}",
    rf"{_SENT}\s+(?:{_PATIENT}\s+)?(?:back\s+)?to\s+{_DOCTOR}",
    rf"(?:{_DOCTOR}|ofc|office|clinic)\s+visits?\b",
)
LIFE_THREAT = (
    r"life[\s/-]*threat\w*|threatening\b|near[\s-]+death\b",
    r"critical(?:ly)?\s+(?:ill|cond\w*)|crit\s+cond\w*",
)
DISABILITY = (r"disab\w*|handicap\w*|incapacit\w*|crippl\w*|permanent(?:ly)?\b",)

# Words that are left hanging where an outcome is cut, and would tell that one was: `pt was to`.
_BEFORE = (
    rf"(?:(?:{_SENT}|arriv\w*|seen|found|was|were|is|has|had|have|been|be|being|to|in|at|into|the|"
    rf"a|an|of|from|by|via|then|later|required?|requiring|not|{_PATIENT})\s+|@\s*)*"
)
_AFTER = r"(?:\s*(?:(?:of|on|for|to|in|at|into|from|by|x)\b|@))*"
_MARK = "\x00"

_CUT = "|".join((*DEATH, *HOSPITAL, *EMERGENCY, *LIFE_THREAT, *DISABILITY))
# What is spared stands first, so that the words in it are past before they could be cut.
_EITHER = re.compile(rf"(?<!\w)(?:(?P<kept>{'|'.join(KEPT)})|(?:{_CUT}))", re.IGNORECASE)
_HANGING = re.compile(
    rf"[ \t]*(?<!\w){_BEFORE}{_MARK}(?:[ \t]*{_MARK})*{_AFTER}[ \t]*", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]")


def without_outcomes(text: str) -> str:
    """A `View` of a report: its text without the words that tell an outcome; empty where not
    a word is left. A text without such words is given back as it is.
    """
    cut = text.replace(_MARK, " ")
    while _MARK in (marked := _EITHER.sub(_one, cut)):
        cut = _HANGING.sub(" ", marked)  # again: what now stands side by side may tell it too
    return cut if _WORD.search(cut) else ""


def _one(found: re.Match[str]) -> str:
    return found[0] if found["kept"] is not None else _MARK
