"""What is broken on purpose by `make mutations`: ledger, audit log, releases and the door."""

from __future__ import annotations

from mutation import Mutation

APP = ("tests/client/test_app.py",)
LEDGER = (
    "tests/privacy/test_ledger.py",
    "tests/privacy/test_ledger_limits.py",
)
TAMPERING = (
    "tests/privacy/test_ledger_tampering.py",
    "tests/privacy/test_ledger_lost.py",
)
LOG = ("tests/privacy/test_audit_log.py",)
LEAVING = (
    "tests/privacy/wire/test_leaving.py",
    "tests/privacy/wire/test_tallies_leaving.py",
)
ENTERING = (
    "tests/privacy/wire/test_entering.py",
    "tests/privacy/wire/test_lying_arrays.py",
)
RELEASES = ("tests/privacy/test_releases.py",)
REFUSALS = ("tests/client/test_refusals.py", "tests/privacy/wire/test_refusals.py")

MUTATIONS = (
    Mutation(
        "site: the text of any exception leaves",
        "privacy/wire.py",
        "isinstance(error, SiteError) else failed",
        "isinstance(error, SiteError) else str(error)",
        APP,
    ),
    Mutation(
        "suppression: small counts leave",
        "privacy/suppression.py",
        "return (carriers > 0) & (carriers < smallest)",
        "return carriers < 0",
        ("tests/privacy/test_suppression.py",),
    ),
    Mutation(
        "ledger: the ceiling is not checked",
        "privacy/ledger.py",
        "            self._afford([*spent, spend], lifetime, entries)\n",
        "",
        LEDGER,
    ),
    Mutation(
        "ledger: a new account for every study",
        "privacy/ledger.py",
        "spent = [entry.spend for entry in line]",
        "spent = [entry.spend for entry in line if entry.spend.study == spend.study]",
        LEDGER,
    ),
    Mutation(
        "ledger: the charge is not written",
        "privacy/ledger.py",
        'database.execute("COMMIT")',
        'database.execute("ROLLBACK")',
        LEDGER,
    ),
    Mutation(
        "ledger: the high-water mark stays where it was",
        "privacy/ledger.py",
        "            self._mark.rise(Height(entry.id, entry.hash))\n",
        "",
        TAMPERING,
    ),
    Mutation(
        "ledger: hashes are not compared",
        "privacy/entries.py",
        "if key != number or made != chain.link(previous, [number, dataset, kind, body, at]):",
        "if key != number:",
        TAMPERING,
    ),
    Mutation(
        "ledger: rounds per day",
        "privacy/entries.py",
        "if len(recent) >= per_day:",
        "if False:",
        LEDGER,
    ),
    Mutation(
        "ledger: a certificate for another budget counts",
        "privacy/ledger.py",
        'and entry.body["epsilon"] <= lifetime.epsilon',
        "and True",
        LEDGER,
    ),
    Mutation(
        "ledger: a certificate for less counts",
        "privacy/accounting.py",
        "return all(steps.get((noise, rate), 0) >= count for noise, rate, count in smaller)",
        "return all((noise, rate) in steps for noise, rate, count in smaller)",
        LEDGER,
    ),
    Mutation(
        "reserve: training without a charge",
        "privacy/wire.py",
        "if not ledger.holds(*receipts):",
        "if False:",
        LEAVING,
    ),
    Mutation(
        "door: tallies on the charge of training",
        "privacy/wire.py",
        'if receipt is None or receipt.cohort != "heldout":',
        "if receipt is None:",
        LEAVING,
    ),
    Mutation(
        "door: what the policy withholds",
        "privacy/wire.py",
        'if outlet.metrics != ("noised" if spend.noise_multiplier else "exact"):',
        "if False:",
        LEAVING,
    ),
    Mutation(
        "door: values that are not finite",
        "privacy/weights.py",
        "if not np.isfinite(value).all():",
        "if False:",
        LEAVING,
    ),
    Mutation(
        "door: another study's digest",
        "privacy/wire.py",
        "if header.study != contract.study:",
        "if False:",
        LEAVING,
    ),
    Mutation(
        "door: other code than this",
        "privacy/wire.py",
        "if release.header.code != code_fingerprint():",
        "if False:",
        LEAVING,
    ),
    Mutation(
        "door: arrays that the study does not ask for",
        "privacy/weights.py",
        "if set(weights) != set(contract.parameters):",
        "if not set(weights) >= set(contract.parameters):",
        (
            *LEAVING,
            *ENTERING,
        ),
    ),
    Mutation(
        "audit log: lines are not compared",
        "privacy/audit_log.py",
        "claimed != chain.link(previous, line)",
        "False",
        LOG,
    ),
    Mutation(
        "reserve: a charge that is not kept",
        "privacy/ledger.py",
        'database.execute("COMMIT")',
        'database.execute("ROLLBACK")',
        LEDGER,
    ),
    Mutation(
        "ledger: what older accountants certified counts",
        "privacy/ledger.py",
        'entry.body["accountants"] == accounting.version()',
        "True",
        LEDGER,
    ),
    Mutation(
        "ledger: more charges of a study than agreed",
        "privacy/ledger.py",
        "if most is not None and sum(s.study == spend.study for s in spent) >= most:",
        "if False:",
        LEDGER,
    ),
    Mutation(
        "ledger: entries put in during a message",
        "privacy/entries.py",
        "if key != number or made !=",
        "if made !=",
        (
            "tests/privacy/test_ledger_at_hand.py",
            *TAMPERING,
        ),
    ),
    Mutation(
        "releases: an evaluation lets kept rounds go",
        "privacy/releases.py",
        'for table in ("release", "memory") if release.update else ():',
        'for table in ("release", "memory"):',
        RELEASES,
    ),
    Mutation(
        "releases: another ledger's receipts",
        "privacy/releases.py",
        "return release if ledger.holds(*receipts) else None",
        "return release",
        RELEASES,
    ),
    Mutation(
        "door: fewer patients than the smallest count",
        "privacy/wire.py",
        'if outlet.metrics == "exact" and tally.patients < outlet.smallest_count:',
        "if False:",
        LEAVING,
    ),
    Mutation(
        "door: JSON in more than one form",
        "privacy/wire.py",
        "if found.canonical() != text:",
        "if False:",
        ENTERING,
    ),
    Mutation(
        "door: another header of an array",
        "privacy/wire.py",
        "or array.data[:NPY_HEADER] != _npy_header(shape, dtype)",
        "",
        ENTERING,
    ),
    Mutation(
        "refusals: the text of any SiteError leaves",
        "privacy/wire.py",
        "said = error.aloud if",
        "said = str(error) if",
        REFUSALS,
    ),
    Mutation(
        "door: how often a round was charged is not what the ledger says",
        "privacy/wire.py",
        'charged = {"receipt": receipt.id, "attempt": receipt.attempt, **spend.model_dump()}',
        'charged = {"receipt": receipt.id, **spend.model_dump()}',
        LEAVING,
    ),
)
