"""dp-sgd: patient-level DP-SGD (Abadi et al. 2016, arXiv:1607.00133) through Opacus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from privacy.accounting import noise_multiplier
from privacy.budget import Budget, Spend
from privacy.mechanism import Mechanism, Memory, Training, poisson
from privacy.spec import Spec

CLIP = "clip"
"""What `dp-sgd` remembers from round to round."""

_Norm = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Adaptive(Spec):
    """A clip that follows a quantile of the patients' norms (Andrew et al. 2021, arXiv:1905.03871).

    Guarantees:
        How many of a step's patients lie under the clip is a private number: it is released with
        noise of its own, and paid for out of the same charge. The sum of `in or out` minus one
        half changes by one half when a patient is added or removed; with the noise multiplier of
        the charge z and this share s, the count's noise has multiplier z / sqrt(s) and the
        gradient's z / sqrt(1 - s), which together cost exactly what z costs.

    Attributes:
        quantile: Share of patients whose gradient is to stay whole.
        learning_rate: How fast the clip moves, on a logarithmic scale.
        share: Of the charge that pays for the count.
        least: The clip never falls below.
        largest: The clip never rises above; a site's policy bounds it.
    """

    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.2
    share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    least: _Norm = 1e-3
    largest: _Norm = 10.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.largest:
            raise ValueError("least must not be above largest")
        return self

    def moved(self, clip: float, *, whole: float) -> float:
        """The next clip, when about this share of patients lay under this one."""
        # A draw of the noise far off may not overflow.
        step = max(-50.0, min(50.0, self.learning_rate * (whole - self.quantile)))
        return min(max(clip * math.exp(-step), self.least), self.largest)


class DpSgd(Mechanism):
    """Clip each patient's gradient, add Gaussian noise to the sum, step.

    Guarantees:
        Unit: one patient with all of that patient's notes. Neighbours: data sets that differ
        by one added or removed patient. Sensitivity: the sum of clipped per-patient gradients
        changes by at most `clip` in L2 norm when one patient is added or removed; noise of
        standard deviation `noise_multiplier * clip` is added to it at every step, an empty
        sample included. The sum is divided by `sample_rate * declared_patients`, both public.
        A study of `rounds * steps` such steps is (epsilon, delta)-DP; what the optimizer makes
        of the noisy gradients is post-processing, and so is the clip of the next step when
        `adaptive` is set, because it moves by noisy counts alone (see `Adaptive`).
        A patient whose gradient is not finite counts as zero: weights chosen for it could
        otherwise make one patient's overflow spoil the sum, and so show that the patient is there.
    Needs:
        One loss per patient that depends on no other patient (no batch norm, masked pools).

    Attributes:
        epsilon: For the whole study at one site, greater than 0 and finite.
        delta: As in `Budget`.
        clip: L2 norm that each patient's gradient is cut to, at the first step.
        adaptive: How the clip moves; None keeps it fixed.
    """

    kind: ClassVar[str] = "dp-sgd"
    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5
    clip: _Norm = 1.0
    adaptive: Adaptive | None = None

    @model_validator(mode="after")
    def _within(self) -> Self:
        bounds = self.adaptive
        if bounds is not None and not bounds.least <= self.clip <= bounds.largest:
            raise ValueError("clip must lie between adaptive.least and adaptive.largest")
        return self

    @property
    def promise(self) -> Budget:
        """See `Mechanism.promise`."""
        return Budget(epsilon=self.epsilon, delta=self.delta)

    @property
    def largest_clip(self) -> float:
        """See `Mechanism.largest_clip`."""
        return self.clip if self.adaptive is None else self.adaptive.largest

    def spend(
        self, *, study: str, round: int, rounds: int, steps: int, sample_rate: float
    ) -> Spend:
        """See `Mechanism.spend`: noise calibrated so that all rounds together cost `epsilon`."""
        noise = noise_multiplier(self.promise, sample_rate=sample_rate, steps=rounds * steps)
        return Spend(
            study=study,
            round=round,
            noise_multiplier=noise,
            sample_rate=sample_rate,
            steps=steps,
        )

    def fit(self, head: nn.Module, patients: Sequence[Any], training: Training) -> Memory:
        """See `Mechanism.fit`. Remembers the clip where it is adaptive."""
        spend = training.receipt.spend
        if not spend.noise_multiplier > 0:
            raise ValueError("dp-sgd was given a receipt without noise")
        samples = poisson(
            patients, sample_rate=spend.sample_rate, steps=spend.steps, stream=training.stream
        )
        clip = self._steps(head, samples, training, noise=spend.noise_multiplier)
        return {} if self.adaptive is None else {CLIP: clip}

    def noises(self, noise: float) -> tuple[float, float]:
        """Noise multipliers of the gradient and of the count, from that of the charge.

        The count's is infinite where there is none. Two Gaussian mechanisms with multipliers a
        and b on the same patients are one with multiplier (a^-2 + b^-2)^-1/2.
        """
        if self.adaptive is None:
            return noise, math.inf
        share = self.adaptive.share
        return noise / math.sqrt(1 - share), noise / math.sqrt(share)

    def _steps(
        self,
        head: nn.Module,
        samples: Iterable[Sequence[Any]],
        training: Training,
        *,
        noise: float,
    ) -> float:
        """One noisy step per sample; returns the last clip. Opacus's PrivacyEngine is not used:
        it takes the sample rate and the normaliser from the true number of patients, which is
        private; its adaptive optimizer divides by the true size of the sample.
        """
        from privacy.clipped_sums import PatientGradients, clipped_sum, forget
        from privacy.noisy_optimizer import NoisyOptimizer

        model = PatientGradients(head)
        optimizer = NoisyOptimizer(
            training.learner(iter(p for p in head.parameters() if p.requires_grad)),
            noise_multiplier=self.noises(noise)[0],
            clip=self._start(training.memory),
            expected=training.expected,
            stream=training.stream,
        )
        model.train()
        try:
            for sample in samples:
                clip = optimizer.max_grad_norm
                optimizer.zero_grad()
                norms = clipped_sum(
                    model, sample, training.losses, clip=clip, at_once=training.at_once
                )
                following = self._next(clip, norms, training, noise=noise)
                optimizer.step()
                optimizer.max_grad_norm = following
        finally:
            model.to_standard_module()
            forget(head)
        return float(optimizer.max_grad_norm)

    def _start(self, memory: Memory) -> float:
        bounds = self.adaptive
        if bounds is None:
            return self.clip
        return min(max(memory.get(CLIP, self.clip), bounds.least), bounds.largest)

    def _next(self, clip: float, norms: Tensor, training: Training, *, noise: float) -> float:
        """The clip of the next step, from a noisy count of this step's patients, by their norms."""
        if self.adaptive is None:
            return clip
        under = (norms <= clip).double() - 0.5
        # Sensitivity of the sum is one half, so its noise is half the multiplier.
        deviation = self.noises(noise)[1] / 2
        count = float(under.sum()) + deviation * float(training.stream.normal((1,)))
        return self.adaptive.moved(clip, whole=0.5 + count / training.expected)
