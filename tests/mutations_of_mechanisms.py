"""What is broken on purpose by `make mutations`: mechanisms, sampling and randomness."""

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
)
