"""What is broken on purpose by `make mutations`: policy, approval, store and gate."""

from __future__ import annotations

from mutation import Mutation

HIDDEN = ("tests/client/test_hidden_counts.py",)
LOCAL = ("tests/client/test_local.py",)
APP = ("tests/client/test_app.py",)
EMBED = ("tests/client/test_embed.py", "tests/client/test_watch.py")
POLICY = ("tests/client/test_policy_rules.py",)
APPROVAL = ("tests/client/test_approval.py",)
STATEMENT = ("tests/client/test_statement.py",)
GATE = ("tests/client/test_supernode.py",)
SEALING = ("tests/embeddings/test_sealing.py",)
PURGE = ("tests/client/test_purge.py",)
RETRIES = ("tests/client/test_retries.py",)
OWN_LAW = ("tests/client/personalise/test_law.py",)
OWN_STARTS = ("tests/client/personalise/test_starts.py",)
OWN_STOPS = ("tests/client/personalise/test_stops.py",)
OWN_KEPT = ("tests/client/personalise/test_kept.py",)

MUTATIONS = (
    Mutation(
        "policy: the largest clip",
        "client/policy.py",
        "if clip is None or clip > self.largest_clip:",
        "if False:",
        POLICY,
    ),
    Mutation(
        "policy: the least noise",
        "client/policy.py",
        "if noise < self.least_noise:",
        "if False:",
        POLICY,
    ),
    Mutation(
        "policy: mechanisms that are not named",
        "client/policy.py",
        "            if not set(asked) & set(allowed):\n",
        "            if False:\n",
        POLICY,
    ),
    Mutation(
        "policy: the smallest cohort",
        "client/policy.py",
        "if declared_patients < self.smallest_cohort:",
        "if False:",
        POLICY,
    ),
    Mutation(
        "approval: a study runs that nobody approved",
        "client/local.py",
        "    approval.check(site, study, ledger)\n",
        "",
        APPROVAL,
    ),
    Mutation(
        "approval: taking it back changes nothing",
        "client/approval.py",
        'return _latest(ledger, digest) == "approved"',
        "return _latest(ledger, digest) is not None",
        APPROVAL,
    ),
    Mutation(
        "approval: newer studies fill the disk",
        "client/approval.py",
        ">= MOST_WAITING:",
        ">= 10 * MOST_WAITING:",
        APPROVAL,
    ),
    Mutation(
        "approval: a study that differs in one code is not told of",
        "client/differences.py",
        "if not codes and not keys:",
        "if True:",
        ("tests/client/test_differences.py",),
    ),
    Mutation(
        "page: exact counts, and a promise about the number of patients",
        "client/promises.py",
        'if private and metrics != "exact":',
        "if private:",
        APPROVAL,
    ),
    Mutation(
        "statement: held-out patients at another line's delta",
        "client/heldout_cost.py",
        'return policy.lifetime.delta if policy.metrics == "exact" else policy.heldout.delta',
        "return policy.lifetime.delta",
        STATEMENT,
    ),
    Mutation(
        "statement: a claim about held-out patients whose exact counts leave",
        "client/promises.py",
        'if epsilon is None or now == "exact":',
        "if epsilon is None:",
        STATEMENT,
    ),
    Mutation(
        "site: another version of the code is trusted",
        "client/local.py",
        "if header.code != code_fingerprint():",
        "if False:",
        LOCAL,
    ),
    Mutation(
        "site: vectors of another encoder are trained on",
        "client/local.py",
        "if header.encoder != cohort.identity:",
        "if False:",
        LOCAL,
    ),
    Mutation(
        "site: a split that changed goes on",
        "client/cohort.py",
        "    _same_split(site)\n    attrition",
        "    attrition",
        LOCAL,
    ),
    Mutation(
        "site: a test seed in a real hospital",
        "client/app.py",
        "if site.test_seed is not None:",
        "if False:",
        APP,
    ),
    Mutation(
        "retry: the same question is charged again",
        "client/local.py",
        "        if kept is not None:\n            site.open_log",
        "        if False:\n            site.open_log",
        APP,
    ),
    Mutation(
        "audit log: what leaves is not written down",
        "client/app.py",
        '        "release", bytes=wire.count_bytes(content),',
        '        "request", bytes=wire.count_bytes(content),',
        APP,
    ),
    Mutation(
        "store: records may change places",
        "embeddings/sealing.py",
        'return b"fedward vectors" + sizes + self._identity + note',
        'return b"fedward vectors"',
        SEALING,
    ),
    Mutation(
        "store: withdrawn patients come back",
        "client/cohort.py",
        "withdrawn(site)\n",
        "frozenset[bytes]()\n",
        PURGE,
    ),
    Mutation(
        "gate: any bundle runs",
        "client/supernode.py",
        "if found not in accepted:",
        "if False:",
        GATE,
    ),
    Mutation(
        "suppression: a small group leaves",
        "client/counting.py",
        "if len(patients) < smallest or not shown.any():",
        "if not shown.any():",
        HIDDEN,
    ),
    Mutation(
        "suppression: what all but few carry is counted",
        "client/counting.py",
        "hidden_labels(carried, smallest=smallest) | hidden_labels(without, smallest=smallest)",
        "hidden_labels(carried, smallest=smallest)",
        HIDDEN,
    ),
    Mutation(
        "tallies: their ceiling is not checked",
        "client/counting.py",
        'spend, lifetime=ceiling, cohort="heldout", most=most',
        'spend, lifetime=Budget(epsilon=1e999), cohort="heldout", most=most',
        RETRIES,
    ),
    Mutation(
        "tallies: as often as is asked",
        "client/counting.py",
        'cohort="heldout", most=most',
        'cohort="heldout"',
        RETRIES,
    ),
    Mutation(
        "tallies: exact where nothing is said",
        "client/policy.py",
        'metrics: Literal["exact", "noised", "withheld"] = "noised"',
        'metrics: Literal["exact", "noised", "withheld"] = "exact"',
        POLICY,
    ),
    Mutation(
        "approval: a study trains as often as is asked",
        "client/local.py",
        '            most=site.policy.most_charges(study, "train"),\n',
        "",
        RETRIES,
    ),
    Mutation(
        "policy: rounds per day are not counted",
        "client/local.py",
        "per_day=site.policy.rounds_per_day,",
        "per_day=None,",
        RETRIES,
    ),
    Mutation(
        "site: an evaluation of any round",
        "client/local.py",
        "if not 0 <= header.round <= study.rounds:",
        "if False:",
        RETRIES,
    ),
    Mutation(
        "site: no guard before Flower",
        "client/app.py",
        "mods=[timed, sealed]",
        "mods=[timed]",
        APP,
    ),
    Mutation(
        "site: weights are trained on unchecked",
        "client/app.py",
        "    check_weights(request.weights, contract)\n",
        "",
        APP,
    ),
    Mutation(
        "gate: a run that is described as another",
        "client/supernode.py",
        "if said != (run_id, found, found, *bundled):",
        "if False:",
        GATE,
    ),
    Mutation(
        "site: the data's own split may be drawn anew",
        "client/cohort.py",
        "    parts.keep(site, given)\n",
        "",
        ("tests/client/test_parts.py",),
    ),
    Mutation(
        "purge: a round goes on meanwhile",
        "client/purge.py",
        "held.enter_context(site.one_at_a_time().acquire(timeout=WAIT_SECONDS))",
        "pass",
        ("tests/client/test_purge_and_rounds.py",),
    ),
    Mutation(
        "embed: a prepare goes on where a purge waits",
        "client/embed.py",
        "                raise PurgeWaits\n",
        "                pass\n",
        EMBED,
    ),
    Mutation(
        "embed: a message prepares",
        "client/local.py",
        "if site.coordinator is None:",
        "if True:",
        EMBED,
    ),
    Mutation(
        "embed: what was damaged since is answered with",
        "client/cohort.py",
        "all(key in store for key in keys.union(*cohort.questions))",
        "True",
        EMBED,
    ),
    Mutation(
        "site: a message may hang for ever",
        "client/app.py",
        "exit=True, file",
        "exit=False, file",
        APP,
    ),
    Mutation(
        "purge: the study stays approved",
        "client/purge.py",
        "revoked = approval.revoke(site, digest)",
        "revoked = False",
        ("tests/client/test_purge_and_rounds.py",),
    ),
    Mutation(
        "ledger: a new one where one was lost",
        "client/site.py",
        "if parts.exists() and not path.exists() and not mark.exists():",
        "if False:",
        ("tests/client/test_site.py",),
    ),
    Mutation(
        "own head: weights of a file are not checked",
        "client/final_weights.py",
        "    check_weights(weights, study.contract())\n",
        "",
        OWN_STARTS,
    ),
    Mutation(
        "own head: weights of other vectors are taken",
        "client/final_weights.py",
        "    if said != identity:",
        "    if False:",
        OWN_STARTS,
    ),
    Mutation(
        "own head: other final weights take the first ones' place",
        "client/final_weights.py",
        "    if held is not None and held.charges >= charges:",
        "    if False:",
        OWN_STARTS,
    ),
    Mutation(
        "own head: weights that came before the end stay",
        "client/final_weights.py",
        "    if held is not None and held.charges >= charges:",
        "    if held is not None:",
        OWN_STARTS,
    ),
    Mutation(
        "own head: stays when its patient leaves",
        "client/own_heads.py",
        "        return patient in read(path).patients",
        "        return False",
        OWN_KEPT,
    ),
    Mutation(
        "own head: does not say who chose it",
        "client/personalise.py",
        'made_by = {*cohort.patients["train"], *cohort.patients["tune"]}',
        'made_by = {*cohort.patients["train"]}',
        OWN_LAW,
    ),
    Mutation(
        "own head: stays when its study is purged",
        "client/purge.py",
        "        heads = own_heads.forget(site, digest)\n",
        "        heads = 0\n",
        OWN_KEPT,
    ),
    Mutation(
        "own head: trained on somebody who has withdrawn",
        "client/personalise.py",
        "    if not withdrawn(site).isdisjoint(itertools.chain(*found.patients.values())):",
        "    if False:",
        OWN_STOPS,
    ),
    Mutation(
        "own head: of a revoked study",
        "client/personalise.py",
        "    approval.refuse_revoked(study, ledger)\n    approval.check(site, study, ledger)\n",
        "",
        OWN_STOPS,
    ),
    Mutation(
        "own head: a purge waits for it",
        "client/personalise.py",
        "        _let_a_purge_go_first(site)\n        progress(done, total)",
        "        progress(done, total)",
        OWN_STOPS,
    ),
    Mutation(
        "own head: a purge goes on meanwhile",
        "client/personalise.py",
        "with in_use(site.at(site.vectors), wait=WAIT_SECONDS), local.on_threads(",
        "with local.on_threads(",
        OWN_STOPS,
    ),
)
