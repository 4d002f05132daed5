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
    r"(?:vaccin(?!ated|ees?\b)\w*|vaxs?|vacc?s?|lots?|doses?|vials?|products?|drugs?|"
    r"med(?:s|ication\w*|icine\w*)?\b(?!\s+ex)|shots?|inj(?!ured)\w*|"
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

# Behind one of these a word is said of somebody, or of a place that one was brought to.
_NOT_OF_SOMEBODY = "".join(
    rf"(?<!\b{word}\s)"
    for word in (
        *("pt", "patient", "child", "infant", "baby", "he", "she", "man", "woman"),
        *("boy", "girl", "who", "and", "had", "has"),
    )
)
_NOT_A_PLACE = "".join(
    rf"(?<!\b{word}\s)"
    for word in ("to", "in", "at", "the", "via", "from", "by", "seen", "an", "and", "went", "local")
)
_ENDS = r"(?=\s*(?:[.,;:)&!?]|$|and\b|but\b|so\b|when\b|before\b))"

KEPT = (
    rf"{_NOT_OF_SOMEBODY}expired?\s+{_VACCINE}\b",
    # `pt recd vax had expired` is of the patient, `the vaccine had expired` is not.
    (
        rf"(?:the|this|that|a|an|said)\s+{_VACCINE}\s+(?:that\s+|which\s+)?"
        rf"(?:had|has|was|were|is|are)\s+(?:already\s+)?expired\b{_ENDS}"
    ),
    (
        r"lots?\s+expired?\b(?!\s+(?:(?:\d+|an?|one|two|three|few|the|that|same|next)\s*[a-z]"
        r"|later|in\b|at\b))"
    ),
    r"(?:exp|expired?)\s+dat\w*",
    rf"{_NOT_OF_SOMEBODY}(?:die[sd]?|dying)\s+(?:down|away|out)\b{_ENDS}",
    rf"killed\s+(?:{_VACCINE}|virus\w*|bacteri\w*)",
    r"heat[\s-]killed\b",
    r"dead\s+(?:weight|tissue|skin|stare|virus|tired)\b",
    r"cod\s+liver\b",
    rf"{_NOT_OF_SOMEBODY}adm\s+(?:of|in|im|iv|sq|sc|sub|lt|rt|by)\b",
    rf"{_VACCINE}\s+(?:was\s+|were\s+)?adm\b",
    r"admits\s+(?:to|that)\b",
    r"admitted\s+(?:that|having|taking|using|drinking|smoking)\b",
    rf"{_NOT_A_PLACE}er\s+\d{{2,4}}\s*mg\b",
    rf"{_NOT_A_PLACE}er(?:\+|\s+(?:positive|negative)\b)",
)
"""Phrases that look like an outcome and are none."""

_KIND = (
    r"(?:(?:sudden|unexplained|unexpected|crib|cot|infant|fetal|brain|(?:cause|date)\s+of)\s+){0,4}"
)

DEATH = (
    rf"{_KIND}(?:death\w*|died?|dies|dying|dead)\b(?:\s+(?:cert\w*|synd\w*|on\s+arrival)\b)?",
    r"deceas\w*|demis\w*|fatal\w*|mortal\w*|expire[sd]?\b|expiring\b|stillb\w*",
    r"sids\b|sudden\s+infant\b|post[\s-]?mortem\w*|necropsy\b|doa\b|cod\b",
    r"autop\w*(?:\s+(?:rep\w*|rpt|result\w*|pending|done|performed|reveal\w*|show\w*|req\w*)\b)*",
    r"coroner\w*|med(?:ical)?\s+exam(?:iner)?(?:'?s)?\b|funeral\w*|buri(?:ed|al)\b|morgue",
    r"pass(?:ed|es|ing)?[\s-]+away\b|pass(?:ed|es|ing)\s+on\b|killed\b|t\.o\.d\b\.?|tod\b",
    r"passed\s+in\s+(?:(?:his|her|their|its|the)\s+)?sleep\b",
    r"(?:lost|los(?:es|ing))\s+(?:his|her|their|its)\s+li(?:fe|ves)\b",
    r"(?:(?:did|does|do|could|would|has|had)\s+)?(?:not|never)\s+surviv\w*",
    r"(?:did|could)n'?t\s+surviv\w*",
    r"(?:no\s+longer|not)\s+(?:alive|living)\b",
    r"pronounced(?=\s*(?:at\b|@|by\b|in\b|d|on\s+arrival))",
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
    rf"a|an|of|from|by|via|then|later|required?|requiring|not|{_PATIENT})\s+|@\s*){{0,8}}"
)
_AFTER = r"(?:\s*(?:(?:of|on|for|to|in|at|into|from|by|x)\b|@))*"
_MARK = "\x00"

_CUT = "|".join((*DEATH, *HOSPITAL, *EMERGENCY, *LIFE_THREAT, *DISABILITY))
# What is spared stands first, so that the words in it are past before they could be cut.
_EITHER = re.compile(rf"(?<!\w)(?:(?P<kept>{'|'.join(KEPT)})|(?:{_CUT}))", re.IGNORECASE)
_HANGING = re.compile(
    rf"(?:(?<![ \t])[ \t]*|(?<=[ \t]))(?<!\w){_BEFORE}{_MARK}(?:[ \t]*{_MARK})*{_AFTER}[ \t]*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]")
_PASSES = 10


def without_outcomes(text: str) -> str:
    """A `View` of a report: its text without the words that tell an outcome; empty where not
    a word is left, or where new outcomes still arise of what was cut after ten passes. A text
    without such words is given back as it is.
    """
    cut = text.replace(_MARK, " ")
    for _ in range(_PASSES):
        if _MARK not in (marked := _EITHER.sub(_one, cut)):
            return cut if _WORD.search(cut) else ""
        cut = _HANGING.sub(" ", marked)  # again: what now stands side by side may tell it too
    return ""


def _one(found: re.Match[str]) -> str:
    return found[0] if found["kept"] is not None else _MARK
