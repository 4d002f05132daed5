"""A head of a deployed site's own is the simulation's, bit for bit, and costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
from builders import study_table
from safetensors.numpy import save_file

from client import cohort, local, own_heads, personal, unreleased
from client.personalise import personalise
from client.unreleased import build_head, train_round, tuned
from experiments import personal as simulated
from privacy.fingerprint import code_fingerprint
from privacy.off import Off
from tasks.heads.head import weights_of
from tasks.study import Study


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


def test_where_tune_patients_prefer_the_federations_head_none_is_kept(kept, study, start, tmp_path):
    """The second time the federation comes with what the site has found: the old one goes."""
    bags = local.load_bags(kept, study)
    best, final = 0.0, tmp_path / "final.safetensors"
    save_file(start, final)
    for _ in range(30):  # until going on helps no more
        made = personalise(kept, study.digest, weights=final)
        if made.kept is None:
            break
        assert (made.preferred.tune_f1 or 0) > best
        best = made.preferred.tune_f1 or 0
        save_file(own_heads.read(made.kept).weights, final)
    assert made.kept is None
    assert made.removed
    assert made.preferred.kind == "federated"
    assert not own_heads.files(kept)
    assert bags.tune
    assert not personalise(kept, study.digest, weights=final).removed


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
