"""A site's figures as Prometheus reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from experiments.site.gpu import GpuMemory
from experiments.site.look import LedgerLook, LogLook, Spent, StoreLook
from experiments.site.rounds import Figures, Seconds
from experiments.site.state import ChildState
from privacy.entries import Cohort
from privacy.fingerprint import code_fingerprint

DIGITS, LEAST_TEXTS, LEAST_BYTES = 2, 100, 1_000_000
"""Leading digits, and the smallest step, of what tells how many notes there are: where each patient
has one, that is the true number of patients."""


@dataclass(frozen=True)
class Seen:
    """All that was seen of a site at one moment; see where each is made.

    Attributes:
        figures: From the audit log.
        ledger: The ledger.
        epsilon: What was spent, by cohort.
        log: The audit log's chain.
        store: The embedding store.
        free: Bytes of disk.
        ca: When the coordinator's CA ends.
        gpus: Their memory.
        children: Of the daemon, by name.
        since: When the daemon started.
    """

    figures: Figures
    ledger: LedgerLook
    epsilon: Mapping[Cohort, Spent]
    log: LogLook
    store: StoreLook
    free: int
    ca: datetime | None
    gpus: tuple[GpuMemory, ...]
    children: dict[str, ChildState]
    since: datetime


class _Site(Collector):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """Every metric of the site."""
        for part in (_build, _node, _rounds, _refusals, _ledger, _store, _machine):
            yield from part(self._seen)


def exposition(seen: Seen) -> bytes:
    """The text that Prometheus scrapes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Site(seen))
    return generate_latest(registry)


def rounded(number: int, *, least: int) -> float:
    """A number to two leading digits, in steps of `least` or more, rounded down.

    >>> [rounded(number, least=100) for number in (1_234_567, 1740, 197, 97)]
    [1200000.0, 1700.0, 100.0, 0.0]
    """
    step = max(least, 10 ** (len(str(number)) - DIGITS))
    return float(number // step * step)


def _build(seen: Seen) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "fedward_site_build_info", "Always 1; what runs.", labels=["version", "code"]
    )
    info.add_metric([metadata.version("fedward"), code_fingerprint()], 1)
    yield info
    yield _gauge("start_timestamp_seconds", "When the daemon started.", seen.since)


def _node(seen: Seen) -> Iterator[Metric]:
    node = seen.children.get("node")
    up = node is not None and node.state == "connected"
    yield _gauge("node_up", "1 while the node is connected to the coordinator.", float(up))
    restarts = CounterMetricFamily(
        "fedward_site_restarts", "Starts after the first, of this daemon's child.", labels=["child"]
    )
    for name, child in seen.children.items():
        restarts.add_metric([name], child.restarts)
    yield restarts


def _rounds(seen: Seen) -> Iterator[Metric]:
    figures = seen.figures
    yield _counter("rounds_trained", "Rounds trained and released.", figures.trained)
    yield _counter("replays", "Requests that a kept release answered.", figures.replays)
    messages = HistogramMetricFamily(
        "fedward_site_message_duration_seconds",
        "From a request to its answer, be it a refusal.",
        labels=["kind"],
    )
    for kind, seconds in sorted(figures.messages.items()):
        _add(messages, [kind], seconds)
    yield messages
    training = HistogramMetricFamily(
        "fedward_site_training_duration_seconds", "From a round's charge to its release."
    )
    _add(training, [], figures.training)
    yield training
    for name, at in (("request", figures.request), ("release", figures.release)):
        if at is not None:
            yield _gauge(f"last_{name}_timestamp_seconds", f"Of the last {name}.", at)


def _refusals(seen: Seen) -> Iterator[Metric]:
    refusals = CounterMetricFamily(
        "fedward_site_refusals", "Requests refused or failed, by class of error.", labels=["error"]
    )
    for error, count in sorted(seen.figures.refusals.items()):
        refusals.add_metric([error], count)
    yield refusals
    text = "Rounds whose tallies were withheld because nothing was left to charge."
    yield _counter("tallies_withheld", text, seen.figures.withheld)


def _ledger(seen: Seen) -> Iterator[Metric]:
    ledger = seen.ledger
    yield _gauge("ledger_intact", "1 while the ledger's chain holds.", float(ledger.intact))
    yield _gauge("audit_log_intact", "1 while its chain holds.", float(seen.log.intact))
    if not ledger.intact:
        return
    charges = CounterMetricFamily(
        "fedward_site_charges", "Rounds charged in the ledger.", labels=["cohort"]
    )
    spent = GaugeMetricFamily(
        "fedward_site_epsilon_spent", "Of a patient's lifetime.", labels=["cohort"]
    )
    left = GaugeMetricFamily(
        "fedward_site_epsilon_left", "Up to the policy's ceiling.", labels=["cohort"]
    )
    for cohort, count in ledger.charges.items():
        charges.add_metric([cohort], count)
    for cohort, epsilon in seen.epsilon.items():
        spent.add_metric([cohort], math.inf if epsilon.spent is None else epsilon.spent)
        left.add_metric([cohort], math.inf if epsilon.left is None else epsilon.left)
    yield from (charges, spent, left)
    text = "Studies that await a decision."
    yield _gauge("studies_waiting", text, float(len(ledger.waiting)))


def _store(seen: Seen) -> Iterator[Metric]:
    text = f"Of the embedding store; {DIGITS} leading digits, steps of {LEAST_BYTES:,} or more."
    yield _gauge("store_bytes", text, rounded(seen.store.bytes, least=LEAST_BYTES))
    if seen.store.quota is not None:
        yield _gauge("store_quota_bytes", "What it may take.", float(seen.store.quota))
    if seen.store.texts is not None:
        text = (
            f"Notes, and meanings of outputs; {DIGITS} leading digits, steps of {LEAST_TEXTS} up."
        )
        yield _gauge("embedded_texts", text, rounded(seen.store.texts, least=LEAST_TEXTS))


def _machine(seen: Seen) -> Iterator[Metric]:
    yield _gauge("disk_free_bytes", "Where the site's files are.", float(seen.free))
    if seen.ca is not None:
        text = "When the coordinator's CA certificate ends."
        yield _gauge("ca_not_after_timestamp_seconds", text, seen.ca)
    for name in ("used", "total"):
        family = GaugeMetricFamily(
            f"fedward_site_gpu_memory_{name}_bytes", "Of all processes.", labels=["gpu"]
        )
        for gpu in seen.gpus:
            family.add_metric([str(gpu.index)], getattr(gpu, name))
        if seen.gpus:
            yield family


def _gauge(name: str, text: str, value: float | datetime) -> Metric:
    number = value.timestamp() if isinstance(value, datetime) else value
    return GaugeMetricFamily(f"fedward_site_{name}", text, value=number)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"fedward_site_{name}", text, value=value)


def _add(family: HistogramMetricFamily, labels: list[str], seconds: Seconds) -> None:
    family.add_metric(labels, buckets=seconds.cumulative(), sum_value=seconds.sum)
