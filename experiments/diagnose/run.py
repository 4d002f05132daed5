"""Diagnoses the frozen vectors of a simulated study, site by site, in numbers only.

After SUFO (Hsu et al. 2024, arXiv:2305.17588): supervised probes, unsupervised similarity, the
feature space and its outliers; here of frozen encoders, and between sites. What is compared how:

| between | on | by |
| --- | --- | --- |
| encoders | the same stays of one site | CKA |
| sites | the means of each output's stays, for outputs that both may show | CKA |
| sites | all their stays, which have nothing in common | shift of means, cosine of covariances |
| sites | a probe fitted at one and scored at the other | AUROC, AUPRC |
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client import cohort, local
from client.local import Bags
from client.simulation import Simulation
from client.site import Site
from experiments.diagnose import measures
from experiments.diagnose.probe import Part, Probe, ProbeScore, joined, part_of
from privacy.spec import Spec, read_toml
from privacy.suppression import hidden_labels
from tasks.places import Places
from tasks.study import Study

SHARES = (1, 2, 5, 10, 20, 50)
LEAST_STAYS = 20
"""With fewer, a site's directions say more of single stays than of the site."""
LEAST_OUTPUTS = 6
"""With fewer outputs in common, CKA between sites says nothing."""
MOST_ROWS = 2000
"""For CKA between encoders, which grows with the square."""

Progress = Callable[[str, int, int], None]


class Components(Spec):
    """A site's vectors along their principal components.

    Attributes:
        shares: Share of the variance in the first 1, 2, 5, 10, 20, 50 components.
        effective_rank: See `measures.effective_rank`.
        mean_cosine: See `measures.mean_cosine`.
        outliers: Patients with a stay that lies far out along one of the first ten components;
            None: at least one, and fewer than the site's smallest count.
    """

    shares: dict[int, float]
    effective_rank: float
    mean_cosine: float
    outliers: int | None


class SiteDiagnosis(Spec):
    """One site.

    Attributes:
        name: Of the site.
        declared_patients: As it declares; the true number is in nothing here.
        smallest_count: Of its policy: what fewer patients carry is not counted.
        components: None where it has too few stays.
    """

    name: str
    declared_patients: int
    smallest_count: int
    components: Components | None


class SitePair(Spec):
    """Two sites.

    Attributes:
        one: Site.
        other: Site.
        shift: See `measures.shift`.
        covariance: See `measures.covariance_cosine`.
        cka: Of the means of outputs; None where too few may be shown at both.
    """

    one: str
    other: str
    shift: float | None
    covariance: float | None
    cka: float | None


class EncoderPair(Spec):
    """Two encoders on the same stays of a site.

    Attributes:
        site: Site.
        one: Encoder.
        other: Encoder.
        cka: None where the site has too few stays.
    """

    site: str
    one: str
    other: str
    cka: float | None


class Diagnosis(Spec):
    """Exactly what `--json` writes.

    Attributes:
        study: Its name.
        task: Its kind.
        encoder: The study's.
        sites: In order.
        probes: Fitted at each site, scored at each; where either has too few it is not there.
        pairs: Each two sites.
        encoders: The study's encoder against each other one, at each site.
    """

    study: str
    task: str
    encoder: str
    sites: tuple[SiteDiagnosis, ...]
    probes: tuple[ProbeScore, ...]
    pairs: tuple[SitePair, ...]
    encoders: tuple[EncoderPair, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A site and its vectors.

    Attributes:
        site: The site.
        train: Of its patients.
        tune: Likewise.
        heldout: Likewise.
    """

    site: Site
    train: Part
    tune: Part
    heldout: Part

    @property
    def all(self) -> Part:
        """All its stays."""
        return joined([self.train, self.tune, self.heldout])

    @property
    def floor(self) -> int:
        """Of patients: what fewer carry is not shown."""
        return self.site.policy.smallest_count

    def may_show(self, part: Part) -> bool:
        """Whether numbers over these patients may be shown at all."""
        return len(part.rows) >= LEAST_STAYS and part.patients >= self.floor

    def shown(self, part: Part, outputs: int) -> NDArray[np.bool_]:
        """Outputs that enough of these patients carry, (L,)."""
        carriers = part.carriers(outputs)
        return (carriers > 0) & ~hidden_labels(carriers, smallest=self.floor)


def other_encoder(study: Study, path: Path) -> Study:
    """The study with the `[encoder]`, and `[chunker]` where there is one, of another file.

    Raises:
        ValueError: The file does not fit.
    """
    given = {key: value for key, value in read_toml(path).items() if key in {"encoder", "chunker"}}
    if "encoder" not in given:
        raise ValueError(f"{path}: has no [encoder] table")
    return Study.parse_table(study.model_dump(mode="json") | given, where=str(path))


def diagnose(
    study_file: Path,
    *,
    data: Path,
    home: Path,
    others: Sequence[Path] = (),
    progress: Progress = lambda *_: None,
) -> Diagnosis:
    """Prepares every site of a study's simulation and measures its vectors; nothing is trained.

    Args:
        study_file: With a `[simulation]` table.
        data: Where the relative paths of its source start.
        home: Keeps the vectors, as simulations do.
        others: Files with the tables of encoders to compare with the study's.
        progress: Is told what happens.

    Raises:
        ValueError: A file does not fit.
        SiteError: A site refuses a study or cannot prepare it.
    """
    with tempfile.TemporaryDirectory(prefix="fedward-diagnose-") as folder:
        simulation = Simulation.read(study_file)
        places = Places(study_file.resolve(), data.resolve(), home.resolve(), Path(folder))
        places = simulation.with_names(places)
        study = Study.read(places.study)
        against = [other_encoder(study, path) for path in others]
        names = [made.name for made in simulation.named_sites(places.data)]
        seen, pairs = [], []
        for number, name in enumerate(names):
            site = Site.read(simulation.make(number, places))

            def tell(what: str, done: int, total: int, name: str = name) -> None:
                progress(f"{name}: {what}", done, total)

            this = _seen(site, study, tell)
            seen.append(this)
            pairs += list(_encoders(this, study, against, tell))
    return Diagnosis(
        study=study.name,
        task=study.task.kind,
        encoder=called(study),
        sites=tuple(_site(this) for this in seen),
        probes=tuple(_probes(seen, len(study.outputs), progress)),
        pairs=tuple(_pair(one, other, len(study.outputs)) for one, other in combinations(seen, 2)),
        encoders=tuple(pairs),
    )


def called(study: Study) -> str:
    """The study's encoder, as people call it."""
    model = getattr(study.encoder, "model", None)
    return f"{study.encoder.kind} {study.encoder.dim}" if model is None else str(model)


def _seen(site: Site, study: Study, progress: Progress) -> Seen:
    site.policy.admit(study, declared_patients=site.declared_patients)
    cohort.prepare(site, study, progress=progress)
    bags: Bags = local.load_bags(site, study)
    dim = study.encoder.dim
    return Seen(
        site,
        part_of(bags.train, dim=dim),
        part_of(bags.tune, dim=dim),
        part_of(bags.heldout, dim=dim),
    )


def _site(this: Seen) -> SiteDiagnosis:
    everyone, components = this.all, None
    if this.may_show(everyone):
        shares = measures.spectrum(everyone.rows)
        far = measures.far_out(everyone.rows)
        out = len(np.unique(everyone.owners[far]))
        components = Components(
            shares={n: float(shares[:n].sum()) for n in SHARES},
            effective_rank=measures.effective_rank(shares),
            mean_cosine=measures.mean_cosine(everyone.rows),
            outliers=None if 0 < out < this.floor else out,
        )
    return SiteDiagnosis(
        name=this.site.name,
        declared_patients=this.site.declared_patients,
        smallest_count=this.floor,
        components=components,
    )


def _probes(seen: Sequence[Seen], outputs: int, progress: Progress) -> Iterator[ProbeScore]:
    held: Mapping[str, NDArray[np.bool_]] = {
        this.site.name: this.shown(this.heldout, outputs)
        for this in seen
        if this.may_show(this.heldout)
    }
    for number, fitted in enumerate(seen):
        progress("probes", number, len(seen))
        if not fitted.may_show(fitted.train):
            continue
        probe = Probe(fitted.train, fitted.tune, outputs=outputs)
        for scored in seen:
            name = scored.site.name
            if name in held:
                found = probe.score(
                    scored.heldout, shown=held[name], fitted=fitted.site.name, scored=name
                )
                if found is not None:
                    yield found
    progress("probes", len(seen), len(seen))


def _pair(one: Seen, other: Seen, outputs: int) -> SitePair:
    first, second = one.all, other.all
    empty = SitePair(
        one=one.site.name, other=other.site.name, shift=None, covariance=None, cka=None
    )
    if not (one.may_show(first) and other.may_show(second)):
        return empty
    both = one.shown(first, outputs) & other.shown(second, outputs)
    cka = None
    if both.sum() >= LEAST_OUTPUTS:
        means = [
            measures.class_means(part.rows, part.targets, outputs=outputs)[both]
            for part in (first, second)
        ]
        cka = measures.cka(*means)
    apart = measures.shift(first.rows, second.rows)
    return empty.model_copy(
        update={
            "shift": apart if np.isfinite(apart) else None,
            "covariance": measures.covariance_cosine(first.rows, second.rows),
            "cka": cka,
        }
    )


def _encoders(
    this: Seen, study: Study, against: Sequence[Study], progress: Progress
) -> Iterator[EncoderPair]:
    for variant in against:
        there = _seen(this.site, variant, progress)
        first, second = this.all, there.all
        if first.targets != second.targets:
            raise ValueError(
                f"{this.site.name}: {called(study)} and {called(variant)} leave out different "
                "stays, so they cannot be compared on the same ones"
            )
        value = None
        if this.may_show(first):
            every = np.linspace(0, len(first.rows) - 1, min(len(first.rows), MOST_ROWS)).astype(int)
            value = measures.cka(first.rows[every], second.rows[every])
        yield EncoderPair(site=this.site.name, one=called(study), other=called(variant), cka=value)
