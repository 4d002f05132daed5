"""How each hospital writes: its sections, its set sentences, its registers, its units.

In a sentence `@` is the place of a phrase. `{name}`, `{record}`, `{age}`, `{sex}`, `{surname}`,
`{title}`, `{He}`, `{he}`, `{his}`, `{admitted}`, `{discharged}`, `{complaint}`, `{year}` and
`{hospital}` are the stay's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

StyleName = Literal["narrative", "headed", "terse", "problem-list", "letter"]
Section = Literal["opening", "past", "family", "course", "drugs", "ending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way of writing notes.

    Attributes:
        registers: Weights of the formal, shorthand and evidence registers for what the stay treats.
        past_registers: The same for what the patient came with.
        order: Sections of a discharge note in this hospital's order.
        headings: What stands above a section, if anything.
        header: What every note begins with.
        date: How dates are written, as `strftime` has it.
        typo_rate: Share of the longer lower-case words that are mistyped.
        second_note_rate: Chance of each further note of a stay.
        si_units: Whether laboratory values are in SI units.
        british: Whether words are spelled in the British way.
        capitals: Whether sentences begin with one.
        between: What stands between two sentences of a section.
        sentences: The set sentences, by their use.
    """

    registers: tuple[float, float, float]
    past_registers: tuple[float, float, float]
    order: tuple[Section, ...]
    headings: dict[Section, str]
    header: str
    date: str
    typo_rate: float
    second_note_rate: float
    si_units: bool = False
    british: bool = False
    capitals: bool = True
    between: str = " "
    sentences: dict[str, tuple[str, ...]] = field(default_factory=dict)


_NARRATIVE = Style(
    registers=(0.5, 0.03, 0.47),
    past_registers=(0.66, 0.04, 0.3),
    order=("opening", "past", "family", "course", "drugs", "ending"),
    headings={},
    header="{name}, record {record}. Admitted {admitted}, discharged {discharged}.",
    date="%B %d, %Y",
    typo_rate=0.002,
    second_note_rate=0.25,
    sentences={
        "opening": (
            "{name} is a {age}-year-old {sex} who came to us with {complaint}.",
            "This {age}-year-old {sex} was brought to the emergency room because of {complaint}.",
            "We cared for {title} {surname}, aged {age}, who presented with {complaint}.",
        ),
        "course": (
            "The hospital stay was notable for @.",
            "During the admission {he} was found to have @.",
            "{He} was also managed for @.",
            "Over the following days our team treated @.",
            "We also cared for @.",
        ),
        "finding": (
            "We noted @.",
            "Examination and tests showed @.",
            "The chart of these days records @.",
        ),
        "past_finding": ("From earlier visits we know of @.", "Old records mention @."),
        "pair": (
            "We recognised @ on the basis of @.",
            "A diagnosis of @ was made given @.",
            "{His} stay was marked by @, with @.",
        ),
        "past": (
            "{His} background includes @.",
            "{He} has long lived with @.",
            "The earlier history is significant for @.",
        ),
        "negated": (
            "There was no evidence of @.",
            "We found nothing to suggest @.",
            "Investigations did not show @.",
        ),
        "doubted": (
            "On arrival @ was considered, but this was not borne out.",
            "The outside facility had raised the question of @, which we could exclude.",
        ),
        "bygone": (
            "{He} recovered fully from @ in {year}.",
            "In {year} {he} had an episode of @, now resolved.",
        ),
        "family": ("{His} {relative} suffered from @.", "There is @ in {his} {relative}."),
        "drugs": ("{He} leaves on @.", "Medications at the time of discharge are @."),
        "alive": (
            "{He} went home in stable condition with follow-up in two weeks.",
            "By the day of discharge {he} was walking and eating, and was sent home with family.",
        ),
        "dead": ("Despite all efforts {he} died with family at the bedside.",),
    },
)

_HEADED = Style(
    registers=(0.4, 0.2, 0.4),
    past_registers=(0.45, 0.35, 0.2),
    order=("opening", "past", "family", "course", "drugs", "ending"),
    headings={
        "opening": "CHIEF COMPLAINT AND PRESENT ILLNESS:",
        "past": "PAST MEDICAL HISTORY:",
        "family": "FAMILY HISTORY:",
        "course": "BRIEF HOSPITAL COURSE:",
        "drugs": "DISCHARGE MEDICATIONS:",
        "ending": "DISCHARGE CONDITION:",
    },
    header=(
        "Name: {name}   Unit No: {record}\n"
        "Admission Date: {admitted}   Discharge Date: {discharged}"
    ),
    date="%Y-%m-%d",
    typo_rate=0.006,
    second_note_rate=0.4,
    sentences={
        "opening": (
            "{complaint}. {age} year old {sex} presenting from home.",
            "{complaint}. The patient is a {age}yo {sex} sent in from clinic.",
        ),
        "course": (
            "Patient was noted to have @.",
            "Course complicated by @.",
            "Also treated for @.",
            "Workup revealed @.",
        ),
        "finding": ("Notable for @.", "Noted: @.", "Workup with @.", "Events: @."),
        "past_finding": ("Per records: @.", "Outpatient: @.", "Followed with @."),
        "pair": ("Treated for @, with @.", "Found to have @ (@).", "Managed for @; @."),
        "past": ("@.", "Known @.", "History of @."),
        "negated": ("No evidence of @.", "Ruled out for @.", "Denies any history of @."),
        "doubted": (
            "Initial concern for @, not confirmed.",
            "Transferred with presumed @; workup negative.",
        ),
        "bygone": ("Remote @ in {year}, resolved.", "Prior admission for @ ({year}), recovered."),
        "family": ("{relative} with @.", "{relative}: @."),
        "drugs": ("@.",),
        "alive": (
            "Stable. Ambulatory with walker. Discharged home with services.",
            "Good. Alert and interactive. Follow up with primary care in 1 week.",
        ),
        "dead": ("Expired.",),
    },
)

_TERSE = Style(
    registers=(0.08, 0.55, 0.37),
    past_registers=(0.06, 0.74, 0.2),
    order=("opening", "past", "course", "family", "drugs", "ending"),
    headings={"past": "pmh", "family": "fhx", "drugs": "meds", "ending": "dispo"},
    header="{surname} {record} adm {admitted} dc {discharged}",
    date="%m/%d/%y",
    typo_rate=0.03,
    second_note_rate=0.3,
    capitals=False,
    between=" ",
    sentences={
        "opening": (
            "{age}{initial} p/w {complaint}.",
            "{age}{initial} bibems for {complaint}.",
            "pt {age}{initial} c/o {complaint}.",
        ),
        "course": ("c/b @.", "also @.", "found @.", "pt w/ @, tx'd."),
        "finding": ("noted @.", "+ @.", "@.", "events: @."),
        "past_finding": ("@;", "per chart @;"),
        "pair": ("@ - @.", "dx @, @.", "mgmt of @; @."),
        "past": ("@,", "@;", "h/o @,"),
        "negated": ("no @.", "neg for @.", "r/o'd @.", "s/sx not c/w @."),
        "doubted": ("?@ per OSH, doubt.", "initially ?@ - not the case."),
        "bygone": ("prior @ {year}, resolved.", "@ in {year}, none now."),
        "family": ("{relative} @.", "{relative} w/ @."),
        "drugs": ("@.",),
        "alive": (
            "home, f/u pcp 1-2 wk.",
            "home w/ vna. ambulating, tol po.",
            "dc to snf, stable.",
        ),
        "dead": ("pt expired, family notified.",),
    },
)

_PROBLEM_LIST = Style(
    registers=(0.35, 0.3, 0.35),
    past_registers=(0.4, 0.4, 0.2),
    order=("opening", "course", "past", "drugs", "family", "ending"),
    headings={
        "opening": "Summary",
        "course": "Active problems",
        "past": "Inactive problems",
        "drugs": "Medication reconciliation",
        "family": "Relatives",
        "ending": "Disposition",
    },
    header="PATIENT {name} | MRN {record} | {hospital} | {admitted} to {discharged}",
    date="%d-%b-%Y",
    typo_rate=0.01,
    second_note_rate=0.35,
    between="\n",
    sentences={
        "opening": (
            "{age} y/o {sex}, reason for admission: {complaint}.",
            "{sex}, {age}, admitted through triage for {complaint}.",
        ),
        "course": ("# @: improving, continue plan.", "# @. Monitored daily.", "# @: addressed."),
        "finding": ("# Finding, @.", "# To follow: @.", "# @"),
        "past_finding": ("- On file: @.", "- @"),
        "pair": ("# @: @.", "# @\n  - @", "# @ (@), plan as below."),
        "past": ("- @: home regimen.", "- @", "- @, stable."),
        "negated": ("- NOT present: @.", "- @ excluded.", "- Screen negative for @."),
        "doubted": ("- Queried at triage: @. Withdrawn.", "- @ was on the differential; unlikely."),
        "bygone": ("- Closed in {year}: @.", "- @ ({year}), resolved problem."),
        "family": ("{relative}: @.",),
        "drugs": ("@.",),
        "alive": ("Home, independent.", "Skilled nursing facility.", "Home with physical therapy."),
        "dead": ("Deceased.",),
    },
)

_LETTER = Style(
    registers=(0.52, 0.08, 0.4),
    past_registers=(0.66, 0.12, 0.22),
    order=("opening", "course", "past", "family", "drugs", "ending"),
    headings={},
    header=(
        "{hospital}\nRe: {name}, hospital number {record}\n"
        "Inpatient {admitted} to {discharged}\n\nDear colleague,"
    ),
    date="%d/%m/%Y",
    typo_rate=0.003,
    second_note_rate=0.2,
    si_units=True,
    british=True,
    sentences={
        "opening": (
            "Thank you for referring this {age}-year-old {sex} with {complaint}.",
            "Your patient, {title} {surname}, attended as an emergency on account of {complaint}.",
        ),
        "course": (
            "On the ward we treated @.",
            "Of note there was @.",
            "The team additionally saw to @.",
            "Matters were complicated by @.",
        ),
        "finding": ("We recorded @.", "You should know of @.", "The charts document @."),
        "past_finding": ("Your own records show @.", "Earlier letters mention @."),
        "pair": (
            "It became clear that this was @, in view of @.",
            "The working diagnosis was @; we recorded @.",
        ),
        "past": (
            "As you know, {he} has @.",
            "{His} other ailments comprise @.",
            "You will be familiar with {his} @.",
        ),
        "negated": (
            "Happily there is no sign of @.",
            "We were able to rule out @.",
            "I do not think that {he} has @.",
        ),
        "doubted": (
            "The paramedics had wondered about @, though we disagree.",
            "Although @ was mooted at first, results were reassuring.",
        ),
        "bygone": (
            "The @ of {year} has left no trace.",
            "{He} got over @ in {year} without sequelae.",
        ),
        "family": ("I gather {his} {relative} had @.", "{His} {relative} is known to have had @."),
        "drugs": ("{He} takes home @.", "Please continue @."),
        "alive": (
            "I would be grateful if you could see {him} within a fortnight. Yours sincerely.",
            "No outpatient review has been arranged. With kind regards.",
        ),
        "dead": ("I am sorry to tell you that {he} died on the ward.",),
    },
)

STYLES: dict[StyleName, Style] = {
    "narrative": _NARRATIVE,
    "headed": _HEADED,
    "terse": _TERSE,
    "problem-list": _PROBLEM_LIST,
    "letter": _LETTER,
}
"""Every style by name."""

FILLERS: tuple[str, ...] = (
    "Diet was advanced as tolerated.",
    "Physical therapy recommended a home walking program.",
    "Code status was discussed and remains full.",
    "Family was updated at the bedside.",
    "Social work arranged transport.",
    "Vital signs were stable overnight.",
    "Bowel regimen was continued.",
    "Subcutaneous heparin was given as routine prophylaxis.",
    "The patient slept well and had no new concerns.",
    "An interpreter was present throughout.",
    "Routine electrocardiogram was unchanged from before.",
    "Hearing aids and glasses were returned.",
    "Case management confirmed insurance coverage.",
    "Allergies: none known.",
    "Lives on the second floor with a spouse.",
    "Once worked as a teacher and enjoyed gardening.",
    "Pain was well controlled.",
    "Blood was drawn from the right arm without difficulty.",
    "Spiritual care visited twice.",
)
"""Sentences that say nothing of any condition, nor of how the stay ends."""

PLAIN_DRUGS: tuple[str, ...] = (
    "acetaminophen 650 mg as needed",
    "docusate 100 mg twice daily",
    "multivitamin daily",
    "senna at night",
    "polyethylene glycol 17 g daily",
    "vitamin D 1000 units daily",
    "ondansetron 4 mg as needed",
)
"""Medications that say nothing of any condition."""
