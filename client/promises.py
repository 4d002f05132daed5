"""What may be said of what leaves a site, in plain words, and what may not.

Training patients are protected by the study's mechanism, tune and held-out patients by
`policy.metrics`: a sentence is about the ones or about the others, never about both at once.
"""

from __future__ import annotations

import math

from client.site import Site
from tasks.study import Study

_COMPUTABLE = "whoever controls the coordinator can compute {what} from {source}"


def shown(value: float | None, *, none: str = "infinite") -> str:
    """An epsilon for people; rounded up, so that it never says less than was spent."""
    if value is None:
        return none
    rounded = round(value, 2)
    return f"{rounded if rounded >= value else rounded + 0.01:.2f}"


def heldout_share(site: Site) -> str:
    """How many patients are tuned on or held out, in words, from public numbers."""
    if site.split.file is not None or site.split.before is not None:
        return "as many patients as the site's own split names, no share is public"
    share = site.split.tune + site.split.heldout
    return f"about {share:.0%} of patients, unless the data bring a split of their own"


def starts(study: Study) -> str:
    """Where round 1 of a study starts, in words."""
    if study.start is None:
        return "the head's own start"
    return (
        "weights that an earlier study released, from the file with SHA-256 "
        f"{study.start.weights_sha256}, by the study's word: sites are sent them and do not "
        "compare; nothing more is charged for that, and what the earlier study cost stands in "
        "the ledger of each site that took part"
    )


def leaves(site: Site, study: Study) -> tuple[str, ...]:
    """What leaves the site in each round of a study, a sentence each."""
    private = study.privacy.promise is not None
    weights = f"{study.numbers:,} weights of the trained head ({study.head.kind}), " + (
        "with noise" if private else "WITHOUT NOISE: single notes can be computed from them"
    )
    tallied = {
        "withheld": "no counts of tune and held-out patients",
        "exact": "exact counts of how tune and held-out patients were scored, and of how many "
        f"they are; a code that fewer than {site.policy.smallest_count} of them carry is in none",
        "noised": "counts of how tune and held-out patients were scored, with noise "
        f"(multiplier {site.policy.tally_noise:g}), as long as policy.heldout lasts",
    }[site.policy.metrics]
    return (
        weights,
        tallied,
        f"the declared number of patients ({site.declared_patients:,}) and the site's name",
        "versions of code and encoder, and what was charged",
    )


def never_leaves(site: Site, study: Study) -> tuple[str, ...]:
    """What leaves in no round of a study, a sentence each; nothing that could be computed."""
    private, metrics = study.privacy.promise is not None, site.policy.metrics
    found = []
    if private:
        found.append(
            "of training patients: notes, vectors of notes, codes or times of any one, and who "
            "is one of them"
        )
    if metrics == "withheld":
        found.append("of tune and held-out patients: anything at all")
    if metrics == "noised":
        found.append(
            "of tune and held-out patients: notes, vectors of notes, codes or times of any one, "
            "and who is one of them"
        )
    if private and metrics != "exact":
        found.append("the true number of patients")
    return tuple(found) or ("nothing of which that could be promised",)


def dangers(site: Site, study: Study) -> tuple[str, ...]:
    """What somebody who lets the study in must have read, a sentence each."""
    found = []
    if study.privacy.promise is None:
        source = "the updates, which leave without noise"
        found.append(_COMPUTABLE.format(what="training patients' notes as vectors", source=source))
    if site.policy.metrics == "exact":
        what = f"note vectors and codes of tune and held-out patients ({heldout_share(site)})"
        found.append(
            _COMPUTABLE.format(what=what, source="the exact counts")
            + ": it chooses the weights that are scored, so that a count shows one stay, one "
            "number of its vector at a time; text can be recovered from vectors. "
            "smallest_count does not stop this; "
            'metrics = "noised" or "withheld" in site.toml does'
        )
    return tuple(found)


def heldout_in_words(site: Site, epsilon: float | None, *, delta: float) -> str:
    """What holds for tune and held-out patients, from what was charged for them so far.

    Args:
        site: Whose.
        epsilon: Of all that was or will be charged for them; None is infinite.
        delta: Of that epsilon.
    """
    now = site.policy.metrics
    if epsilon is None or now == "exact":
        left = "leave" if now == "exact" else "have left"
        what = "note vectors and codes of single patients"
        return f"NO CLAIM: exact counts of them {left}; " + _COMPUTABLE.format(
            what=what, source="them"
        )
    if epsilon == 0:
        return "nothing of them has left"
    if site.test_seed is not None:
        return "NO CLAIM: noise came from a test seed"
    ends = "; nothing more of them leaves" if now == "withheld" else ""
    return (
        f"what was computed from them and leaves is ({shown(epsilon)}, {delta:g})-differentially "
        f"private, counted apart from training{ends}"
    )


def odds(epsilon: float) -> str:
    """By what factor odds change at most under an epsilon, in words."""
    factor = math.exp(min(epsilon, 700.0))
    return f"{factor:.2g}" if factor < 100 else f"{factor:,.0f}" if factor < 1e7 else "millions"
