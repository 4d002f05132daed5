"""What a simulated federation is measured against, trained one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from client.local import Bags
from client.simulation import Recipe
from experiments import baselines, each_output, kept_baselines, personal, rivals
from experiments.baselines import Intervals, Scored
from experiments.each_output import Outputs
from experiments.joining import Joined, Joining, OwnHead, joining
from experiments.simulate.result import Other
from tasks.heads.head import Weights
from tasks.metrics import Metrics
from tasks.study import Study

Tell = Callable[[str, int, int], None]
"""(what, done, of how many)."""


SHARED: Mapping[Other, Callable[[Study, Mapping[str, Bags]], Scored]] = {
    "closed_form": rivals.closed_form,
    "untrained": rivals.untrained,
}
PERSONAL: Mapping[OwnHead, Callable[..., Scored]] = {
    "fine_tuned": personal.fine_tuned,
    "mean_regularised": personal.mean_regularised,
}


@dataclass(frozen=True, slots=True)
class Against:
    """A federation, and every baseline; none where none was asked for.

    Attributes:
        federated: The federation's head.
        alone: The study's head at each site by itself.
        pooled: The study's head on everybody's records.
        shared: Further heads for all sites.
        own: Further heads of each site's own.
    """

    federated: Scored
    alone: Mapping[str, Scored] = field(default_factory=dict)
    pooled: Scored | None = None
    shared: Mapping[Other, Scored] = field(default_factory=dict)
    own: Mapping[Other, Mapping[str, Scored]] = field(default_factory=dict)

    def others(self) -> dict[Other, Metrics]:
        """The further ones over all sites; of heads of the sites' own the mean."""
        found = {name: of.whole for name, of in self.shared.items()}
        for name, each in self.own.items():
            found[name] = baselines.mean({site: of.whole for site, of in each.items()})
        return found

    def others_at(self, site: str) -> dict[Other, Metrics]:
        """The further ones on one site's held-out patients."""
        found = {name: of.sites[site] for name, of in self.shared.items() if site in of.sites}
        return found | {name: each[site].whole for name, each in self.own.items() if site in each}

    def intervals(self) -> dict[str, Intervals]:
        """Over all held-out patients, of heads for all sites."""
        return {name: of.intervals for name, of in self._for_all().items()}

    def intervals_at(self, site: str) -> dict[str, Intervals]:
        """Over one site's held-out patients."""
        each = self._at(site)
        return {
            name: of.site_intervals[site] for name, of in each.items() if site in of.site_intervals
        }

    def outputs(self) -> dict[str, Outputs]:
        """Each output by itself over all sites, where there are few; of heads of the sites' own
        the mean.
        """
        if len(self.federated.detail.outputs) > each_output.MOST:
            return {}
        found = {name: of.detail.outputs for name, of in self._for_all().items()}
        alone: dict[str, Mapping[str, Scored]] = {"local": self.alone}
        for name, each in (alone | {str(name): of for name, of in self.own.items()}).items():
            rows = [(of.whole.patients, of.site_outputs[site]) for site, of in each.items()]
            found[name] = each_output.mean(rows)
        return {name: outputs for name, outputs in found.items() if outputs}

    def outputs_at(self, site: str) -> dict[str, Outputs]:
        """The same on one site's held-out patients."""
        each = self._at(site)
        return {name: of.site_outputs[site] for name, of in each.items() if site in of.site_outputs}

    def joining(self, site: str, *, metric: str) -> Joining | None:
        """What joining is worth to a site; None where it was not trained alone.

        Args:
            site: Its name.
            metric: The study's leading one.
        """
        if site not in self.alone:
            return None
        joined: dict[Joined, Scored] = {"federated": self.federated}
        joined |= {name: self.own[name][site] for name in PERSONAL}
        return joining(site, metric=metric, alone=self.alone[site], joined=joined)

    def _at(self, site: str) -> dict[str, Scored]:
        """Every head that was scored on a site's held-out patients."""
        each = self._for_all() | {name: of[site] for name, of in self.own.items() if site in of}
        return each | ({"local": self.alone[site]} if site in self.alone else {})

    def _for_all(self) -> dict[str, Scored]:
        """Every head that is one for all sites."""
        found = {str(name): of for name, of in self.shared.items()}
        found |= {"pooled": self.pooled} if self.pooled else {}
        return {"federated": self.federated} | found


@dataclass(slots=True)
class Measure:
    """Trains baselines.

    Attributes:
        study: The federation's.
        recipe: How the baselines train, where that is not how the study does.
        sites: The patients of those that took part.
        keep: Folder in which baselines are kept and found; None trains every one anew.
        tell: Is told before each, and at the end.
    """

    study: Study
    recipe: Recipe | None
    sites: Mapping[str, Bags]
    keep: Path | None
    tell: Tell
    _done: int = 0

    def all(self, federated: Scored, weights: Weights) -> Against:
        """Every baseline.

        Args:
            federated: What the federation's head scores; its threshold is that of personal heads.
            weights: That head.
        """
        study = baselines.without_privacy(self.study, self.recipe)
        alone = {
            name: self._kept("alone", study, {name: bags}, baselines.alone, study, name, bags)
            for name, bags in self.sites.items()
        }
        pooled = self._kept("pooled", study, self.sites, baselines.pooled, study, self.sites)
        shared: dict[Other, Scored] = {}
        own: dict[Other, Mapping[str, Scored]] = {}
        plain = rivals.headless(study)
        for name, make in SHARED.items():
            shared[name] = self._kept(name, plain, self.sites, make, plain, self.sites)
        own["closed_form_alone"] = {
            name: self._kept(
                "closed_form", plain, {name: bags}, rivals.closed_form, plain, {name: bags}
            )
            for name, bags in self.sites.items()
        }
        # The federation's head, whatever head the recipe has for those who train from nothing.
        going_on = study.model_copy(update={"head": self.study.head})
        own |= self._personal(going_on, federated.whole.threshold, weights)
        self.tell("baselines", self._done, self._done)
        return Against(federated, alone, pooled, shared, own)

    def _personal(
        self, study: Study, threshold: float | None, weights: Weights
    ) -> dict[Other, Mapping[str, Scored]]:
        found: dict[Other, Mapping[str, Scored]] = {}
        for name, make in PERSONAL.items():
            each = {}
            for site, bags in self.sites.items():
                self._tell(f"{site} {name}")
                each[site] = make(study, site, bags, start=weights, threshold=threshold)
            found[name] = each
        return found

    def _kept(
        self,
        what: str,
        study: Study,
        sites: Mapping[str, Bags],
        make: Callable[..., Scored],
        *given: object,
    ) -> Scored:
        self._tell(f"{next(iter(sites))} {what}" if len(sites) == 1 else what)
        train = partial(make, *given)
        if self.keep is None:
            return train()
        return kept_baselines.kept(self.keep, what, study, sites, train)

    def _tell(self, what: str) -> None:
        """Four of each site's own, and three for all."""
        self.tell(what.replace("_", " "), self._done, 4 * len(self.sites) + 3)
        self._done += 1
