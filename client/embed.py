"""Embedding apart from messages: prepares studies before they train, and takes in new notes.

`fedward site run` keeps `client.watch` running beside the node; `fedward site embed` does the same
for whoever wants to see or schedule it. One at a time prepares.

What a round meets that runs meanwhile: it shares the store's lock with a prepare, and has the
cohort of before or the new one, whole. A purge goes first: a prepare lets go of the store, waits
until the purge is done, and begins again; what it has embedded is not embedded a second time.
Killed at any moment, it loses at most the batch of vectors under way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from client import approval, cohort, wanted
from client.site import Site
from embeddings.store_file import purge_file, purge_waits
from privacy.errors import SiteError, StudyRefused, in_words
from privacy.files import locked
from privacy.spec import Spec, printable
from tasks.study import Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embeddings.encoder import Encoder, Vectors

LOOK_SECONDS = 0.25
"""How often a prepare looks whether a purge waits for it, at the most."""
PURGE_SECONDS = 3600.0


class Embedded(Spec):
    """What came of preparing one study. Stays at the site: it holds true numbers.

    Attributes:
        study: Its name; empty where its file cannot be read.
        digest: Its digest.
        reason: Why it is not prepared; empty where it is.
        patients: Whom the study takes here.
        notes: Embedded now; those that were embedded before are not counted.
        chunks: Vectors made of them.
        seconds: All of it.
        embedding_seconds: Of them, from when the encoder was ready.
        device: Where the encoder ran; None where none was needed.
    """

    study: str
    digest: str
    reason: str = ""
    patients: int = 0
    notes: int = 0
    chunks: int = 0
    seconds: float = 0.0
    embedding_seconds: float = 0.0
    device: str | None = None

    @property
    def said(self) -> str:
        """In one sentence."""
        name = f"{printable(self.study, 60) or 'study'} ({self.digest[:12]})"
        if self.reason:
            return f"{name} could not be prepared: {self.reason}"
        took = f"{name} is prepared, {self.patients:,} patients: "
        if self.device is None:
            return f"{took}nothing was left to embed, {self.seconds:.1f} s"
        speed = self.chunks / max(self.embedding_seconds, 1e-3)
        return (
            f"{took}{self.notes:,} notes embedded, {self.chunks:,} chunks in "
            f"{self.embedding_seconds:.1f} s, {speed:,.0f} a second on {self.device}; "
            f"{self.seconds:.1f} s in all"
        )


class Screen(Protocol):
    """Shows what goes on."""

    def begins(self, study: Study) -> None:
        """A study's turn has come."""

    def progress(self, name: str, what: str, done: int, total: int) -> None:
        """See `client.cohort.Progress`."""

    def ended(self, one: Embedded) -> None:
        """Prepared, or not."""

    def trouble(self, reason: str) -> None:
        """Something is wrong with the site itself."""


class Counting:
    """An encoder that counts the chunks it encodes. See `Encoder`."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.dim, self.max_tokens, self.device = encoder.dim, encoder.max_tokens, encoder.device
        self.fingerprint, self.weights = encoder.fingerprint, encoder.weights
        self.chunks = 0

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Encoder.spans`."""
        return self._encoder.spans(text)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode`."""
        self.chunks += len(texts)
        return self._encoder.encode(texts)


class PurgeWaits(Exception):
    """A purge wants the store that is being filled."""


class Embedder:
    """Prepares studies of one site; loads each encoder once, for all of them.

    Args:
        site: Whose.
        screen: Sees each study.
    """

    def __init__(self, site: Site, screen: Screen) -> None:
        self.site, self._screen = site, screen
        self._encoders: dict[str, Encoder] = {}

    def prepare(self, study: Study | str) -> Embedded:
        """Prepares a study, or the one that is kept under a digest; never raises what is only
        about this study.
        """
        digest = study if isinstance(study, str) else study.digest
        name, began = "", time.monotonic()
        try:
            if isinstance(study, str):
                study = approval.find(self.site, digest)
            name = study.name
            self._screen.begins(study)
            self.site.policy.admit(study, declared_patients=self.site.declared_patients)
            made = self._made(study)
        except Exception as error:  # noqa: BLE001 - the other studies go on
            made = Embedded(study=name, digest=digest, reason=reason_of(error))
            if not isinstance(error, StudyRefused):  # hello says that by itself
                wanted.failed(self.site, digest, error)
        else:
            wanted.forget(self.site, digest)
        made = made.model_copy(update={"seconds": time.monotonic() - began})
        self._screen.ended(made)
        return made

    def _made(self, study: Study) -> Embedded:
        """Prepares a study, again and again while purges interrupt it."""
        total = Embedded(study=study.name, digest=study.digest)
        new = not cohort.cohort_path(self.site, study).exists()
        while True:
            turn = _Turn(self.site, study, self._encoders, self._screen)
            try:
                total = turn.added_to(total)
            except PurgeWaits:
                total = turn.counted(total)
                _let_purge(self.site)
                continue
            if new or total.notes:
                said = self.site.split.said(self.site.at(self.site.data))
                self.site.open_log().write(
                    "prepared", study=study.digest, notes=total.notes, split=said
                )
            return total


class _Turn:
    """One go at preparing a study: counts, and stops where a purge waits."""

    def __init__(
        self, site: Site, study: Study, encoders: dict[str, Encoder], screen: Screen
    ) -> None:
        self._site, self._study, self._encoders, self._screen = site, study, encoders, screen
        self._counting: Counting | None = None
        self._notes = 0
        self._looked = self._began = self._last = time.monotonic()

    def added_to(self, before: Embedded) -> Embedded:
        """What was counted before and now.

        Raises:
            PurgeWaits: Before it was done.
        """
        attrition = cohort.prepare(
            self._site, self._study, progress=self._progress, load=self._load
        )
        kept = [n for rule, n in attrition.counts.items() if rule.startswith("patients kept")]
        return self.counted(before).model_copy(update={"patients": sum(kept)})

    def counted(self, before: Embedded) -> Embedded:
        """The same, also where it was stopped."""
        if self._counting is None:
            return before
        spent = before.embedding_seconds + self._last - self._began
        return before.model_copy(
            update={
                "notes": before.notes + self._notes,
                "chunks": before.chunks + self._counting.chunks,
                "embedding_seconds": spent,
                "device": self._counting.device,
            }
        )

    def _load(self, site: Site, study: Study) -> Encoder:
        which = f"{study.encoder.kind} {study.encoder.content_hash()}"
        if which not in self._encoders:
            self._encoders[which] = cohort.load_encoder(site, study)
        self._counting = Counting(self._encoders[which])
        return self._counting

    def _progress(self, what: str, done: int, total: int) -> None:
        self._screen.progress(self._study.name, what, done, total)
        now = time.monotonic()
        if what == "embedding":
            self._notes, self._last = done, now
            if done == 0:
                self._began = now
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            if purge_waits(self._site.at(self._site.vectors)):
                raise PurgeWaits


def reason_of(error: Exception) -> str:
    """What went wrong, for the site's own eyes: of any but a SiteError not its text."""
    return str(error) if isinstance(error, SiteError) else in_words(error)


def _let_purge(site: Site) -> None:
    with locked(purge_file(site.at(site.vectors)), exclusive=False, wait=PURGE_SECONDS):
        pass


def due(site: Site) -> list[str]:
    """Digests of the studies to prepare: those that wait first, then all that this site takes and
    that have rounds to come.
    """
    # In this order: what waits is kept, and so taken, before it is marked.
    waits = wanted.wanted(site)
    taken = approval.taken(site)
    charged: dict[str, set[int]] = {}
    for spend in site.open_ledger().spends():
        charged.setdefault(spend.study, set()).add(spend.round)

    def done(digest: str) -> bool:
        try:
            return len(charged.get(digest, ())) >= approval.find(site, digest).rounds
        except SiteError:
            return False  # `Embedder` says what is wrong with it

    for digest in waits.keys() - set(taken):  # revoked since
        wanted.forget(site, digest)
    first = [digest for digest in taken if digest in waits]
    return first + [digest for digest in taken if digest not in waits and not done(digest)]


@contextmanager
def alone(site: Site, *, wait: float = 0) -> Iterator[None]:
    """Embeds alone.

    Args:
        site: Whose.
        wait: Seconds to wait for another process.

    Raises:
        TimeoutError: Another process of this site embeds.
    """
    with locked(site.at(Path("embed.lock")), exclusive=True, wait=wait):
        yield
