"""The result of a simulated study, as `--json` writes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from experiments.baselines import Detail, Intervals
from experiments.each_output import Outputs
from experiments.joining import Joining
from privacy.spec import Spec
from tasks.metrics import Metrics

Other = Literal["closed_form", "closed_form_alone", "untrained", "fine_tuned", "mean_regularised"]
"""Baselines beside those that train the study's own head: ridge regression on everybody's records
and on each site's own, `code-query` without training (`experiments.rivals`), and the federation's
head as each site goes on with it for itself (`experiments.personal`)."""

Engine = Literal["in-process", "flower"]

Epsilon = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
"""None: privacy was off, so there is no bound."""


class SiteResult(Spec):
    """One hospital.

    Attributes:
        name: Of the site.
        declared_patients: Public, rounded number of training patients.
        local: What it reaches alone, without privacy. None where baselines were not asked for.
        federated: The federation's head on its held-out patients; None where it took no part.
        pooled: The head trained on everybody's records in one place, without privacy.
        others: Further baselines by name, see `Other`.
        epsilon: What the study cost its training patients.
        refused: Why it took no part, or missed a round, if so.
        left_out: Records not used, by rule. A simulation may show them; a site keeps them.
        split: How its patients were divided.
        intervals: 95% intervals over its held-out patients, of `local`, `federated`, `pooled` and
            each of `others`.
        outputs: Each output by itself on its held-out patients, by the same names; empty where the
            study asks for many (`experiments.each_output`).
        joining: Whether it is better off for having joined; None without baselines.
    """

    name: str
    declared_patients: int
    local: Metrics | None = None
    federated: Metrics | None = None
    pooled: Metrics | None = None
    others: dict[Other, Metrics] = {}
    epsilon: Epsilon = None
    refused: str | None = None
    left_out: dict[str, int] = {}
    split: str = ""
    intervals: dict[str, Intervals] = {}
    outputs: dict[str, Outputs] = {}
    joining: Joining | None = None


class RoundResult(Spec):
    """One round, from what left the sites.

    Attributes:
        number: From 1.
        metrics: Of the weights after the round, over all sites.
        epsilon: Of the site that has spent most, after the round.
        bytes_down: From the coordinator to all sites.
        bytes_up: From all sites; the last round's both count the final evaluation too.
        seconds: Until the metrics were known.
    """

    number: int
    metrics: Metrics
    epsilon: Epsilon
    bytes_down: int
    bytes_up: int
    seconds: float


class Final(Spec):
    """The final weights, on every held-out patient of the sites that took part, and their cost.

    No small count is hidden here, so that the numbers compare with the baselines.
    """

    micro_f1: float | None
    macro_f1: float | None
    map: float | None
    p_at_8: float | None
    auprc: float | None
    auroc: float | None
    auroc_macro: float | None
    auprc_macro: float | None
    accuracy: float | None
    balanced_accuracy: float | None
    epsilon: Epsilon
    delta: float | None


class Result(Spec):
    """A simulated study.

    Attributes:
        study: Its name.
        digest: Of the study.
        engine: What ran it.
        privacy: Kind of the mechanism.
        sites: In order of name.
        rounds: In order.
        untrained: Metrics of the head before the first round.
        final: The headline.
        local: Each site alone, averaged over sites by held-out patients; None where baselines
            were not asked for.
        pooled: The pooled head over all sites; None where baselines were not asked for.
        others: Further baselines over all sites; of heads of the sites' own the mean, as `local`.
        detail: Of the headline: coarser levels, buckets, calibration, each output.
        intervals: 95% intervals over held-out patients, of `federated`, `pooled` and those of
            `others` that are one head for all.
        outputs: Each output by itself over all held-out patients, of `federated`, `local`, `pooled`
            and each of `others`, where the study asks for few; of heads of the sites' own the mean
            of the sites at which it occurs.
        weights: File of the final weights.
        seconds: Of everything.
    """

    study: str
    digest: str
    engine: Engine
    privacy: str
    sites: tuple[SiteResult, ...]
    rounds: tuple[RoundResult, ...]
    untrained: Metrics
    final: Final
    local: Metrics | None = None
    pooled: Metrics | None = None
    others: dict[Other, Metrics] = {}
    detail: Detail = Detail()
    intervals: dict[str, Intervals] = {}
    outputs: dict[str, Outputs] = {}
    weights: str
    seconds: float
