"""A head of a deployed site's own: by the simulation's law, from checked weights, kept at home."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from builders import patient, policy_table, study_table
from safetensors.numpy import save_file

from client import (
    approval,
    cohort,
    cohort_file,
    final_weights,
    local,
    own_heads,
    personal,
    purge,
    unreleased,
)
from client.personalise import personalise
from client.purge import find_study, purge_everything, purge_patient, purge_study
from client.unreleased import build_head, train_round, tuned
from client.withdrawn import keyed_hash, withdraw
from embeddings.store_file import purge_file
from experiments import personal as simulated
from privacy.errors import EncoderDiffers, SiteError, StoreBroken, StudyRefused
from privacy.files import locked
from privacy.fingerprint import code_fingerprint
from privacy.off import Off
from privacy.release import RequestHeader
from tasks.heads.head import weights_of
from tasks.heads.weights_file import load_weights
from tasks.study import Study

PATIENTS = 42
DISEASES = {"I10": "essential hypertension", "E11": "diabetes mellitus", "J18": "pneumonia"}


def line(number: int) -> dict[str, object]:
    """A patient with one of three diseases, in words of this hospital."""
    code, words = list(DISEASES.items())[number % 3]
    one = patient(number)
    one["stays"][0]["codes"] = [code]
    one["notes"][0]["text"] = f"{words} {words} {words}, course {number}"
    return one


@pytest.fixture
def study() -> Study:
    """A study with more steps than the tiny one, so that a site alone can learn in it."""
    return Study.parse_table(study_table(steps=12, sample_rate=0.5), where="tiny")


@pytest.fixture
def site(deployed, write_lines):
    path = write_lines(*map(line, range(PATIENTS)), name="words.jsonl")
    return deployed(source={"kind": "jsonl", "paths": [str(path)]})


@pytest.fixture
def start(study) -> dict[str, np.ndarray]:
    """A federation's head that knows nothing of these diseases."""
    return study.initial()


def prepare(site, study: Study) -> cohort.Cohort:
    """The study is approved and its notes are embedded."""
    approval.decide(site, study, approve=True)
    cohort.prepare(site, study)
    return cohort.load(site, study)


def ask(site, study: Study, weights: dict[str, np.ndarray], *, round: int = 2) -> None:
    """The coordinator asks for tallies of weights."""
    identity = cohort.load(site, study).identity
    header = RequestHeader(
        study=study.canonical(), round=round, code=code_fingerprint(), encoder=identity
    )
    local.evaluate(site, study, header, weights)


@pytest.fixture
def ended(site, study, start):
    """A site at which the study has ended."""
    prepare(site, study)
    ask(site, study, start)
    return site


@pytest.fixture
def kept(ended, study):
    """A site with a head of its own."""
    made = personalise(ended, study.digest)
    assert made.kept is not None
    return ended


def made_by(site, study: Study) -> list[str]:
    """Ids of the patients of whom the study's cohort says that they train or tune."""
    found = cohort.load(site, study).patients
    hashes = {*found["train"], *found["tune"]}
    secret = site.key("patient")
    return [f"p{n}" for n in range(PATIENTS) if keyed_hash(f"p{n}", secret=secret) in hashes]


# --- The law --------------------------------------------------------------------------------


def test_it_is_the_simulations_head_bit_for_bit(ended, study, start, monkeypatch):
    """The same patients, start and name give the heads that `lab simulate` scores."""
    scored = []
    monkeypatch.setattr(simulated, "scored", lambda _, __, head, **___: scored.append(head))
    made = personalise(ended, study.digest)
    bags = local.load_bags(ended, study)
    alone = unreleased.unclipped(study)  # what a recipe would say in a simulation
    assert alone == made.study
    for theirs in (simulated.fine_tuned, simulated.mean_regularised):
        theirs(alone, "ash", bags, start=start, threshold=None)
    for mine, theirs in zip(made.heads[1:], scored, strict=True):
        for name, value in weights_of(theirs).items():
            np.testing.assert_array_equal(value, weights_of(mine.head)[name])
            assert not np.array_equal(value, start[name])


def test_it_is_kept_with_what_it_is_and_learns_this_sites_words(ended, study, start):
    made = personalise(ended, study.digest[:9])
    first, *own = made.heads
    assert first.kind == "federated"
    assert made.preferred in own
    assert (made.preferred.tune_f1 or 0) > (first.tune_f1 or 0) + 0.1
    assert made.kept == own_heads.path_of(ended, study.digest)
    head = own_heads.read(made.kept)
    assert head.facts.kind == made.preferred.kind
    assert head.facts.pull == made.preferred.pull
    assert (head.facts.study, head.facts.site) == (study.digest, "ash")
    assert head.facts.encoder == cohort.load(ended, study).identity
    assert head.facts.threshold == made.preferred.threshold
    assert head.facts.code == code_fingerprint()
    patients = cohort.load(ended, study).patients
    assert patients["train"]
    assert patients["tune"]
    assert head.patients == {*patients["train"], *patients["tune"]}
    # The file alone gives the head back that was chosen.
    bags = local.load_bags(ended, study)
    again = tuned(made.study, build_head(made.study, bags, head.weights), bags)
    assert (again.micro_f1, again.threshold) == (made.preferred.tune_f1, head.facts.threshold)


def test_only_training_patients_train_and_held_out_patients_choose_nothing(
    ended, study, monkeypatch
):
    trained_on, chose = [], []

    def train(of, head, bags, **options):
        trained_on.append([bag.targets for bag in bags.train])
        train_round(of, head, bags, **options)

    def choose(of, head, bags, **options):
        chose.append(bags)
        return tuned(of, head, bags, **options)

    for module in (personal, unreleased):
        monkeypatch.setattr(module, "train_round", train)
        monkeypatch.setattr(module, "tuned", choose)
    bags = local.load_bags(ended, study)
    without = local.Bags(bags.train, bags.tune, [], bags.questions)
    here = personalise(ended, study.digest)
    assert trained_on
    assert all(found == [bag.targets for bag in bags.train] for found in trained_on)
    assert {len(found.tune) for found in chose} == {len(bags.tune)}
    monkeypatch.setattr(local, "bags_of", lambda *_: without)
    there = personalise(ended, study.digest)
    assert there.preferred.kind == here.preferred.kind
    for name, value in weights_of(here.preferred.head).items():
        np.testing.assert_array_equal(value, weights_of(there.preferred.head)[name])


def test_nothing_is_spent_and_one_line_says_what_was_done(ended, study):
    before = ended.open_ledger().entries()
    made = personalise(ended, study.digest)
    assert ended.open_ledger().entries() == before
    last = ended.open_log().lines()[-1]
    assert (last["event"], last["study"]) == ("personalised", study.digest)
    assert last["kind"] == made.preferred.kind


def test_where_tune_patients_prefer_the_federations_head_none_is_kept(kept, study):
    """The second time the federation comes with what the site has found: the old one goes."""
    old = own_heads.read(own_heads.path_of(kept, study.digest))
    bags = local.load_bags(kept, study)
    best, weights = 0.0, old.weights
    for _ in range(30):  # until going on helps no more
        made = personalise(kept, study.digest)
        if made.kept is None:
            break
        assert (made.preferred.tune_f1 or 0) > best
        best = made.preferred.tune_f1 or 0
        weights = own_heads.read(made.kept).weights
        ask(kept, study, weights)
    assert made.kept is None
    assert made.removed
    assert made.preferred.kind == "federated"
    assert not own_heads.files(kept)
    assert bags.tune
    assert not personalise(kept, study.digest).removed


# --- What it starts from ----------------------------------------------------------------------


def test_only_the_last_question_is_kept_and_only_at_a_deployed_site(
    make_site, site, study, start, write_lines
):
    prepare(site, study)
    for number in (0, 1):
        ask(site, study, start, round=number)
    assert not site.at(site.heads).exists()
    ask(site, study, start)
    path = final_weights.kept_at(site, study.digest)
    back = load_weights(path)
    assert set(back) == set(start)
    assert all(np.array_equal(back[name], value) for name, value in start.items())
    simulated_site = make_site(
        "birch", source={"kind": "jsonl", "paths": [str(write_lines(*map(line, range(30))))]}
    )
    cohort.prepare(simulated_site, study)
    ask(simulated_site, study, start)
    assert not simulated_site.at(simulated_site.heads).exists()


def test_a_file_of_the_coordinators_takes_their_place(site, study, start, tmp_path):
    prepare(site, study)
    with pytest.raises(SiteError, match=r"are not at ash: .* give it as --weights"):
        personalise(site, study.digest)
    save_file(start, tmp_path / "final.safetensors")
    one = personalise(site, study.digest, weights=tmp_path / "final.safetensors")
    inside = {f"weights/{name}": value for name, value in start.items()}
    save_file(inside | {"tallies/ash/x": np.zeros(2)}, tmp_path / "round.safetensors")
    two = personalise(site, study.digest, weights=tmp_path / "round.safetensors")
    ask(site, study, start)
    three = personalise(site, study.digest)
    assert one.preferred.tune_f1 == two.preferred.tune_f1 == three.preferred.tune_f1


def bad(start: dict[str, np.ndarray]) -> dict[str, tuple[dict[str, np.ndarray], str]]:
    weight, bias = start["out.weight"], start["out.bias"]
    spoiled = bias.copy()
    spoiled[1] = np.nan
    return {
        "name": ({"out.weight": weight}, "weights must be exactly"),
        "more": (start | {"patients": bias}, "weights must be exactly"),
        "shape": (start | {"out.weight": weight[:, :-1].copy()}, "must be float32 of shape"),
        "type": (start | {"out.bias": bias.astype(np.float64)}, "must be float32 of shape"),
        "not finite": (start | {"out.bias": spoiled}, "not finite"),
        "huge": (start | {"out.bias": bias + np.float32(2e6)}, "beyond 1e.06"),
    }


def test_a_head_of_the_sites_own_is_not_taken_for_the_federations(site, study, start, tmp_path):
    prepare(site, study)
    inside = {f"weights/{name}": value for name, value in start.items()}
    save_file(inside | {"patients": np.zeros((1, 32), np.uint8)}, tmp_path / "x.safetensors")
    with pytest.raises(SiteError, match=r"^x\.safetensors does not hold .* it never leaves$"):
        personalise(site, study.digest, weights=tmp_path / "x.safetensors")


def test_a_round_is_answered_where_the_final_weights_cannot_be_kept(
    site, study, start, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(final_weights, "write", full)
    prepare(site, study)
    ask(site, study, start)
    assert not final_weights.kept_at(site, study.digest).exists()


@pytest.mark.parametrize("what", ["name", "more", "shape", "type", "not finite", "huge"])
def test_weights_that_are_not_the_studys_are_refused(site, study, start, tmp_path, what):
    prepare(site, study)
    weights, said = bad(start)[what]
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(SiteError, match=rf"^x\.safetensors does not hold .* tiny: .*{said}"):
        personalise(site, study.digest, weights=tmp_path / "x.safetensors")
    assert not site.at(site.heads).exists()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no weights", bytes(200)])
def test_what_is_no_file_of_weights_is_one_line(site, study, tmp_path, content):
    prepare(site, study)
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SiteError, match=r"is not there|cannot be read as weights") as error:
        personalise(site, study.digest, weights=path)
    assert "\n" not in str(error.value)


def test_weights_of_other_vectors_are_refused(ended, study, start):
    final_weights.keep(ended, study, start, identity="1" * 64)
    with pytest.raises(EncoderDiffers, match="trained on vectors of 111111111111"):
        personalise(ended, study.digest)


# --- What stops it ----------------------------------------------------------------------------


def test_a_study_that_the_site_does_not_take_gets_no_head(deployed, ended, study):
    approval.decide(ended, study, approve=False)
    with pytest.raises(StudyRefused, match="tiny was revoked"):
        personalise(ended, study.digest)
    with pytest.raises(SiteError, match="no study at ash"):
        personalise(ended, "0" * 64)
    strict = deployed(policy=policy_table(studies="approved"))
    new = study.model_copy(update={"name": "new"})
    approval.wait(strict, new)
    with pytest.raises(StudyRefused, match="new awaits approval at ash"):
        personalise(strict, new.digest)


def test_a_missing_or_damaged_cohort_says_what_to_do(ended, study):
    path = cohort.cohort_path(ended, study)
    whole = path.read_text()
    path.write_text(whole[:-20])
    with pytest.raises(SiteError, match=r"damaged .* prepare it again"):
        personalise(ended, study.digest)
    path.write_text(whole.replace('"format": 3', '"format": 2'))
    with pytest.raises(SiteError, match="another version"):
        personalise(ended, study.digest)
    path.unlink()
    with pytest.raises(SiteError, match="was not prepared at the site"):
        personalise(ended, study.digest)


def test_a_cohort_with_somebody_who_has_withdrawn_is_not_trained_on(ended, study):
    withdraw(ended, keyed_hash("p7", secret=ended.key("patient")))
    with pytest.raises(SiteError, match="a patient who has withdrawn"):
        personalise(ended, study.digest)


def test_a_head_that_follows_from_sums_has_no_steps_to_go_on_with(site):
    table = study_table(
        head={"kind": "ridge"}, rounds=1, steps=1, sample_rate=1.0,
        privacy={"kind": "gaussian-sums", "epsilon": 8.0, "clip": 1.0},
    )  # fmt: skip
    summed = Study.parse_table(table, where="summed")
    approval.keep(site, summed)
    with pytest.raises(SiteError, match=r"'ridge' .* follows from sums .* no steps to go on with"):
        personalise(site, summed.digest)


def test_a_purge_that_waits_goes_first(ended, study):
    begun: list[int] = []
    waits = locked(purge_file(ended.at(ended.vectors)), exclusive=True)
    with waits, pytest.raises(StoreBroken, match="a purge waits; no head was kept"):
        personalise(ended, study.digest, progress=lambda done, _: begun.append(done))
    assert not begun  # at once, not after hours of training
    assert not own_heads.files(ended)


def test_no_purge_goes_on_while_a_head_is_made(ended, study, monkeypatch):
    monkeypatch.setattr(purge, "WAIT_SECONDS", 0.1)
    refused = []

    def meanwhile(done: int, total: int) -> None:
        if done == 1:
            with pytest.raises(StoreBroken, match="vectors are in use"):
                purge_patient(ended, "p0")
            refused.append(total)

    personalise(ended, study.digest, progress=meanwhile)
    assert refused == [personal.tries(study)]
    assert not ended.at(ended.withdrawn).exists()


# --- How it is kept, and how it goes ----------------------------------------------------------


def test_its_files_are_the_users_alone_whatever_the_umask(site, study, start):
    prepare(site, study)
    before = os.umask(0)
    try:
        ask(site, study, start)
        assert personalise(site, study.digest).kept
    finally:
        os.umask(before)
    folder = site.at(site.heads)
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    endings = ("federated.safetensors", "own.safetensors")
    assert found == {f"{study.digest}.{ending}": 0o600 for ending in endings}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_killed_while_it_writes_it_leaves_the_old_head(kept, study, monkeypatch):
    path = own_heads.path_of(kept, study.digest)
    old = path.read_bytes()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        personalise(kept, study.digest)
    assert path.read_bytes() == old


def test_a_patients_purge_takes_every_head_that_the_patient_made(kept, study):
    [name, *_] = made_by(kept, study)
    path = own_heads.path_of(kept, study.digest)
    hashed = keyed_hash(name, secret=kept.key("patient"))
    assert hashed in path.read_bytes()
    proof = purge_patient(kept, name)
    assert (proof.heads, proof.cohorts, proof.remaining) == (1, 1, 0)
    assert not path.exists()
    assert final_weights.kept_at(kept, study.digest).exists()
    assert final_weights.kept_at(kept, study.digest).name in proof.searched
    again = personalise(kept, study.digest)
    assert again.kept is not None
    assert hashed not in path.read_bytes()
    assert hashed not in own_heads.read(path).patients


def test_a_head_goes_with_its_patient_also_where_the_cohort_has_lost_the_patient(kept, study):
    """The export has dropped the patient since; the head has not."""
    [name, *_] = made_by(kept, study)
    hashed = keyed_hash(name, secret=kept.key("patient"))
    assert cohort_file.cut_out(cohort.cohort_path(kept, study), hashed)
    proof = purge_patient(kept, name)
    assert (proof.cohorts, proof.heads) == (0, 1)
    assert proof.found_before > 0


def test_a_held_out_patient_had_no_part_in_it(kept, study):
    everybody = {f"p{n}" for n in range(PATIENTS)}
    name = min(everybody - set(made_by(kept, study)))
    assert purge_patient(kept, name).heads == 0
    assert own_heads.path_of(kept, study.digest).exists()


def test_a_purge_that_leaves_a_head_gives_no_proof(kept, study, monkeypatch):
    [name, *_] = made_by(kept, study)
    with monkeypatch.context() as patch:
        patch.setattr(own_heads, "forget_patient", lambda *_: 0)
        with pytest.raises(SiteError, match=r"still in .*\.own\.safetensors"):
            purge_patient(kept, name)
    with monkeypatch.context() as patch:
        patch.setattr(own_heads, "forget", lambda *_: 0)
        with pytest.raises(SiteError, match=r"still in .*\.own\.safetensors"):
            purge_study(kept, study.digest)
    assert purge_patient(kept, name).heads == 1


def test_a_damaged_head_and_a_draft_go_with_any_patient(kept, study):
    path = own_heads.path_of(kept, study.digest)
    path.write_bytes(path.read_bytes()[:-10])
    draft = path.with_name(f"{path.name}.0badcafe.draft")
    draft.write_bytes(b"half a head")
    assert purge_patient(kept, "nobody").heads == 1
    assert not path.exists()
    assert not draft.exists()


def test_a_studys_purge_takes_its_heads_and_everything_takes_all(kept, study, start):
    other = study.model_copy(update={"name": "other"})
    prepare(kept, other)
    ask(kept, other, start)
    personalise(kept, other.digest)
    proof = purge_study(kept, find_study(kept, study.digest[:12]))
    assert (proof.heads, proof.remaining) == (1, 0)
    assert not list(kept.at(kept.heads).glob(f"{study.digest}*"))
    assert own_heads.path_of(kept, other.digest).exists()
    everything = purge_everything(kept)
    assert everything.heads == 1
    assert "heads/" in everything.searched
    assert not list(kept.at(kept.heads).iterdir())


def test_a_revoked_study_cannot_be_gone_on_with_after_its_purge(kept, study):
    purge_study(kept, study.digest)
    with pytest.raises(StudyRefused, match="revoked"):
        personalise(kept, study.digest)


@pytest.mark.parametrize(
    ("optimizer", "kept"), [("adam", True), ("sgd", False)], ids=["adam", "sgd"]
)
def test_a_rate_for_clipped_gradients_is_not_taken_for_whole_ones(optimizer, kept):
    chosen = {"kind": optimizer, "learning_rate": 0.5}
    private = Study.parse_table(study_table(optimizer=chosen), where="x")
    assert private.privacy.largest_clip is not None
    assert (unreleased.unclipped(private).optimizer == private.optimizer) is kept
    assert unreleased.without_privacy(private).optimizer == private.optimizer
    off = private.model_copy(update={"privacy": Off()})
    assert unreleased.unclipped(off).optimizer == private.optimizer
