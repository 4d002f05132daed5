"""What is broken on purpose by `make mutations`: the mechanisms, the ledger and the door."""

from __future__ import annotations

from mutation import Mutation

DP_SGD = ("tests/privacy/test_dp_sgd.py", "tests/privacy/test_dp_sgd_noise.py")
CLIPPED = ("tests/privacy/test_clipped_sums.py",)
MECHANISM = ("tests/privacy/test_mechanism.py",)
ADAPTIVE = ("tests/privacy/test_adaptive_clip.py",)
SUMS = ("tests/privacy/test_gaussian_sums.py",)
MOMENTS = ("tests/privacy/test_moments.py",)
CLOSED_FORM = ("tests/privacy/test_closed_form.py",)
RANDOM = ("tests/privacy/test_randomness.py",)
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
        "dp-sgd: no noise",
        "privacy/noisy_optimizer.py",
        "noise = self._stream.normal(tuple(total.shape)) * std",
        "noise = self._stream.normal(tuple(total.shape)) * 0",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: half the noise",
        "privacy/noisy_optimizer.py",
        "std = self.noise_multiplier * self.max_grad_norm",
        "std = 0.5 * self.noise_multiplier * self.max_grad_norm",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: no clip",
        "privacy/dp_sgd.py",
        "model, sample, training.losses, clip=clip, at_once=training.at_once",
        "model, sample, training.losses, clip=1e9, at_once=training.at_once",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: each weight is clipped by its own norm",
        "privacy/clipped_sums.py",
        "squares += of.norms().square()",
        "squares = of.norms().square()",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: the last piece's patients only",
        "privacy/clipped_sums.py",
        "total.add_(",
        "total.copy_(",
        CLIPPED,
    ),
    Mutation(
        "dp-sgd: rows that cancel hide their rounding",
        "privacy/clipped_sums.py",
        "torch.maximum(norm(a, b), ROUNDING * _lengths(a, b))",
        "norm(a, b)",
        CLIPPED,
    ),
    Mutation(
        "dp-sgd: norms in single precision",
        "privacy/clipped_sums.py",
        "inputs, errors = inputs.double(), errors.double()",
        "inputs, errors = inputs.float(), errors.float()",
        CLIPPED,
    ),
    Mutation(
        "dp-sgd: sums in single precision",
        "privacy/clipped_sums.py",
        "total: Tensor = errors.T @ self.inputs.double().flatten(0, 1)",
        "total: Tensor = (errors.float().T @ self.inputs.flatten(0, 1)).double()",
        CLIPPED,
    ),
    Mutation(
        "dp-sgd: what another layer makes of a weight is left out",
        "privacy/clipped_sums.py",
        "if (rows or sums) and len(wholes) > len(sums):",
        "if False:",
        CLIPPED,
    ),
    Mutation(
        "dp-sgd: an empty sample is skipped",
        "privacy/dp_sgd.py",
        "                optimizer.zero_grad()\n",
        "                if not len(sample):\n"
        "                    continue\n"
        "                optimizer.zero_grad()\n",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: a patient whose gradient overflows spoils the sum",
        "privacy/clipped_sums.py",
        "left = torch.where(good, clip / norms.clamp(min=clip), 0)",
        "left = clip / norms.clamp(min=clip)",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: the sum without noise stays on the head",
        "privacy/dp_sgd.py",
        "            forget(head)\n",
        "",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: a receipt without noise is taken",
        "privacy/dp_sgd.py",
        "if not spend.noise_multiplier > 0:",
        "if False:",
        DP_SGD,
    ),
    Mutation(
        "dp-sgd: noise calibrated for one round only",
        "privacy/dp_sgd.py",
        "steps=rounds * steps)",
        "steps=steps)",
        DP_SGD,
    ),
    Mutation(
        "sampling: a fixed batch instead of a Poisson sample",
        "privacy/mechanism.py",
        "drawn = np.flatnonzero(stream.uniform(len(patients)) < sample_rate)",
        "drawn = np.argsort(stream.uniform(len(patients)))[: round(len(patients) * sample_rate)]",
        MECHANISM,
    ),
    Mutation(
        "sampling: the normaliser ignores the declared number",
        "privacy/mechanism.py",
        "return self.receipt.spend.sample_rate * self.declared_patients",
        "return self.receipt.spend.sample_rate * 40",
        MECHANISM,
    ),
    Mutation(
        "adaptive clip: an exact count",
        "privacy/dp_sgd.py",
        "count = float(under.sum()) + deviation * float(training.stream.normal((1,)))",
        "count = float(under.sum())",
        ADAPTIVE,
    ),
    Mutation(
        "adaptive clip: the count costs nothing",
        "privacy/dp_sgd.py",
        "return noise / math.sqrt(1 - share), noise / math.sqrt(share)",
        "return noise, noise / math.sqrt(share)",
        ADAPTIVE,
    ),
    Mutation(
        "adaptive clip: no upper bound",
        "privacy/dp_sgd.py",
        "return min(max(clip * math.exp(-step), self.least), self.largest)",
        "return max(clip * math.exp(-step), self.least)",
        ADAPTIVE,
    ),
    Mutation(
        "gaussian sums: no clip",
        "privacy/gaussian_sums.py",
        "np.minimum(scale, clip / (norms * (1 + 1e-12)))",
        "scale",
        SUMS,
    ),
    Mutation(
        "gaussian sums: no noise",
        "privacy/gaussian_sums.py",
        "return np.asarray(total + noise_multiplier * clip * noise)",
        "return np.asarray(total + 0 * noise)",
        SUMS,
    ),
    Mutation(
        "moments: rows that are not clipped",
        "privacy/moments.py",
        "if clip is not None:",
        "if False:",
        MOMENTS,
    ),
    Mutation(
        "moments: a norm without the targets",
        "privacy/moments.py",
        "+ cross_scale**2 * (products * shared).sum((1, 2))",
        "",
        MOMENTS,
    ),
    Mutation(
        "moments: a patient counts as often as there are stays",
        "privacy/moments.py",
        "(weights / _stays(pairs))[:, None, None]",
        "weights[:, None, None]",
        MOMENTS,
    ),
    Mutation(
        "gaussian-sums: noise for the sums of inputs alone",
        "privacy/closed_form.py",
        "torch.from_numpy(of_cross / self.cross_scale)",
        "(total.cross.flatten() + 0 * torch.from_numpy(of_cross))",
        CLOSED_FORM,
    ),
    Mutation(
        "gaussian-sums: a receipt without noise is taken",
        "privacy/closed_form.py",
        "if not spend.noise_multiplier > 0:",
        "if False:",
        CLOSED_FORM,
    ),
    Mutation(
        "randomness: a key that is always the same",
        "privacy/randomness.py",
        "return Stream(secrets.token_bytes(32))",
        "return Stream(bytes(32))",
        RANDOM,
    ),
    Mutation(
        "randomness: one draw instead of four",
        "privacy/randomness.py",
        "sum(self._box_muller(size) for _ in range(4)) / 2",
        "self._box_muller(size)",
        RANDOM,
    ),
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
