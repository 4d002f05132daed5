"""Approval: nothing runs that nobody let in, and whoever decides sees what is asked."""

from __future__ import annotations

import math

import pytest
from builders import policy_table, study_table

from client import approval, local
from client.promises import shown
from client.site import Site
from privacy import accounting, gaussian_sums
from privacy.budget import Spend
from privacy.errors import SiteError, StudyRefused
from privacy.fingerprint import code_fingerprint
from privacy.release import RequestHeader
from tasks import tallies
from tasks.study import Study


def header(study: Study) -> RequestHeader:
    return RequestHeader(study=study.canonical(), code=code_fingerprint())


@pytest.fixture
def strict(make_site) -> Site:
    """A site that runs only what was approved."""
    return make_site(
        "ash", policy=policy_table(studies="approved", metrics="exact", smallest_count=7)
    )


def other(**changes: object) -> Study:
    return Study.parse_table(study_table(**changes), where="other")


def test_sites_ask_for_approval_unless_they_say_otherwise(make_site):
    table = policy_table()
    del table["studies"]
    assert make_site("ash", policy=table).policy.studies == "approved"


def test_a_study_waits_until_it_is_approved(strict, study):
    with pytest.raises(StudyRefused, match=f"awaits approval at ash; .* approve {study.digest}"):
        local.hello(strict, header(study))
    assert [one.digest for one in approval.waiting(strict)] == [study.digest]
    approval.decide(strict, approval.find(strict, study.digest[:8]), approve=True)
    assert approval.waiting(strict) == []
    assert local.hello(strict, header(study)).site == "ash"


def test_a_refused_study_reads_no_patient(strict, study):
    with pytest.raises(StudyRefused):
        local.hello(strict, header(study))
    assert not strict.at(strict.cohorts).exists()
    assert not strict.at(strict.vectors).exists()


def test_an_approval_is_for_those_bytes_alone(strict, study):
    approval.decide(strict, study, approve=True)
    with pytest.raises(StudyRefused, match="awaits approval"):
        local.hello(strict, header(other(seed=4)))


def test_an_approval_can_be_taken_back_and_given_again(strict, study):
    for approve in (True, False, True):
        approval.decide(strict, study, approve=approve)
        assert approval.approved(strict.open_ledger(), study.digest) is approve
    kinds = [entry.kind for entry in strict.open_ledger().entries()]
    assert kinds == ["approved", "revoked", "approved"]
    assert [line["event"] for line in strict.open_log().lines()] == kinds


def test_what_breaks_the_policy_cannot_be_approved(strict):
    off = other(privacy={"kind": "off"})
    with pytest.raises(StudyRefused, match=r"policy\.mechanisms"):
        approval.decide(strict, off, approve=True)
    assert strict.open_ledger().entries() == ()


def test_a_study_that_breaks_the_policy_does_not_wait(strict):
    with pytest.raises(StudyRefused, match=r"policy\.mechanisms"):
        local.hello(strict, header(other(privacy={"kind": "off"})))
    assert approval.waiting(strict) == []


def test_a_flood_of_studies_pushes_none_out_and_is_refused_aloud(strict, study, monkeypatch):
    monkeypatch.setattr(approval, "MOST_WAITING", 3)
    approval.decide(strict, other(rounds=1), approve=True)
    early = [other(seed=seed) for seed in (1, 2)]
    for one in (*early, study, study):
        approval.wait(strict, one)
    with pytest.raises(StudyRefused, match="3 studies await approval at ash, and it keeps no more"):
        local.hello(strict, header(other(seed=100)))
    assert [one.digest for one in approval.waiting(strict)] == [
        one.digest for one in (*early, study)
    ]
    assert len(list(strict.at(strict.studies).iterdir())) == 4


def test_a_decision_makes_room_and_needs_none(strict, study, monkeypatch):
    monkeypatch.setattr(approval, "MOST_WAITING", 1)
    approval.wait(strict, study)
    approval.decide(strict, other(seed=8), approve=True)  # from a file: did not wait
    approval.decide(strict, study, approve=False)
    approval.wait(strict, other(seed=9))
    assert [one.seed for one in approval.waiting(strict)] == [9]


def test_a_file_that_was_changed_is_not_what_it_says(strict, study):
    approval.wait(strict, study)
    path = strict.at(strict.studies) / f"{study.digest}.json"
    path.write_text(other(rounds=1).canonical())
    with pytest.raises(SiteError, match="is not the study that came under this digest"):
        approval.find(strict, study.digest)


@pytest.mark.parametrize("start", ["", "zzz", "../../etc/passwd", "*"])
def test_a_digest_that_names_nothing_is_said_to(strict, study, start):
    with pytest.raises(SiteError, match="no study at ash"):
        approval.find(strict, start or "0")


def test_the_page_says_what_the_study_costs_and_what_leaves(strict, study):
    page = approval.page(strict, study)
    assert page.digest == study.digest
    assert "8 ICD-10-CM categories (I10, E11, I50, N17, J18, J44, ...)" in page.asks
    assert "72 hours after its discharge" in page.reads
    numbers = 64 * 8 + 8
    # Of counts, 8 bytes each; those of eight outputs by themselves are the most (`tasks.binning`).
    counts = 8 * sum(math.prod(shape) for shape, _ in tallies.shapes(8).values())
    assert page.bytes_a_round == 4 * numbers + counts
    assert page.bytes_total == 2 * page.bytes_a_round + counts
    assert f"{numbers} weights" in page.leaves[0]
    assert "fewer than 7 of them" in page.leaves[1]
    assert 0 < page.epsilon_a_round < page.epsilon_study <= 8
    assert (page.epsilon_before, page.epsilon_after) == (0, page.epsilon_study)
    assert page.spare_rounds == 2
    four = [study.spend(number) for number in (1, 2, 3, 4)]
    assert page.epsilon_most == accounting.epsilon(four, delta=page.delta) > page.epsilon_study
    assert (page.broken, page.compared, page.changes) == ((), None, ())


def test_the_page_counts_what_was_spent_and_not_a_round_twice(strict, study):
    approval.decide(strict, study, approve=True)
    ledger = strict.open_ledger()
    ledger.reserve(study.spend(1), lifetime=strict.policy.lifetime)
    page = approval.page(strict, study)
    assert page.epsilon_before == pytest.approx(page.epsilon_a_round)
    assert page.epsilon_after == pytest.approx(page.epsilon_study)


def test_the_page_shouts_where_there_is_no_privacy(make_site):
    open_policy = policy_table(mechanisms=["off"], lifetime={"epsilon": math.inf})
    page = approval.page(make_site("ash", policy=open_policy), other(privacy={"kind": "off"}))
    assert "WITHOUT NOISE" in page.leaves[0]
    assert (page.epsilon_study, page.epsilon_lifetime) == (None, None)


@pytest.fixture
def page_under(make_site):
    """The page of a study under some `metrics`."""

    def make(study: Study, metrics: str, **changes: object) -> approval.Page:
        heldout = {"epsilon": 2.0, "delta": 1e-6}
        policy = policy_table(metrics=metrics, heldout=heldout, **changes)
        return approval.page(make_site("ash", policy=policy, test_seed=None), study)

    return make


@pytest.mark.parametrize(
    ("metrics", "words"),
    [("withheld", "no counts"), ("noised", "with noise"), ("exact", "exact counts")],
)
def test_the_page_says_how_counts_leave(page_under, study, metrics, words):
    assert words in page_under(study, metrics).leaves[1]


def test_under_exact_the_page_promises_training_patients_alone(page_under, study):
    page = page_under(study, "exact")
    (only,) = page.never_leaves
    assert only.startswith("of training patients: notes, vectors of notes")
    assert "of how many they are" in page.leaves[1]
    (danger,) = page.dangers
    assert "can compute note vectors and codes of tune and held-out patients (about 30%" in danger
    assert page.heldout.in_words.startswith("NO CLAIM: exact counts of them leave")
    assert (page.heldout.epsilon_study, page.heldout.epsilon_after) == (None, None)


def test_under_noised_the_page_has_what_held_out_patients_pay(page_under, study):
    cost = page_under(study, "noised", tally_noise=10.0).heldout
    one, all_of_them = (
        Spend(study=study.digest, round=1, noise_multiplier=10.0, sample_rate=1, steps=steps)
        for steps in (1, 9)
    )
    assert (cost.releases, cost.delta) == (2 * (study.rounds + 2) + 1, 1e-6)
    assert cost.epsilon_a_release == accounting.epsilon([one], delta=1e-6)
    assert cost.epsilon_study == cost.epsilon_after == accounting.epsilon([all_of_them], delta=1e-6)
    assert (cost.epsilon_before, cost.epsilon_lifetime) == (0, 2.0)
    assert cost.left == 2.0 - cost.epsilon_after
    assert f"({shown(cost.epsilon_after)}, 1e-06)-differentially private" in cost.in_words


def test_what_held_out_patients_paid_before_counts_and_no_release_twice(make_site, study):
    policy = policy_table(metrics="noised", heldout={"epsilon": 2.0})
    site = make_site("ash", policy=policy)
    before = approval.page(site, study).heldout
    spend = gaussian_sums.spend(study=study.digest, round=1, noise_multiplier=20.0)
    site.open_ledger().reserve(spend, lifetime=site.policy.heldout, cohort="heldout")
    page = approval.page(site, study).heldout
    assert page.epsilon_before == before.epsilon_a_release
    assert page.epsilon_after == before.epsilon_after


def test_noised_counts_end_at_their_ceiling(page_under, study):
    cost = page_under(study, "noised", tally_noise=1.0).heldout
    assert cost.epsilon_study > 2.0
    assert (cost.epsilon_after, cost.left) == (2.0, 0.0)


def test_under_withheld_nothing_of_held_out_patients_leaves(page_under, study):
    page = page_under(study, "withheld")
    assert "of tune and held-out patients: anything at all" in page.never_leaves
    assert "the true number of patients" in page.never_leaves
    assert (page.heldout.epsilon_after, page.heldout.releases, page.dangers) == (0, 0, ())


def test_without_privacy_nothing_is_promised_of_training_patients(page_under):
    opened = {"mechanisms": ["off"], "lifetime": {"epsilon": math.inf}}
    off = other(privacy={"kind": "off"})
    assert page_under(off, "exact", **opened).never_leaves == (
        "nothing of which that could be promised",
    )
    page = page_under(off, "withheld", **opened)
    assert page.never_leaves == ("of tune and held-out patients: anything at all",)
    assert "training patients' notes as vectors" in page.dangers[0]


def test_the_page_compares_with_what_was_approved_last(strict, study):
    approval.decide(strict, study, approve=True)
    page = approval.page(strict, other(rounds=1, bag={"stays": 2, "chunks": 9}))
    assert page.compared == ("tiny", study.digest)
    assert page.missing is None
    assert {change.key: (change.before, change.now) for change in page.changes} == {
        "rounds": ("2", "1"),
        "bag.chunks": ("6", "9"),
    }
    assert approval.page(strict, study).compared is None


def test_a_lost_or_changed_file_of_the_study_approved_last_is_said(strict, study):
    approval.decide(strict, study, approve=True)
    path = strict.at(strict.studies) / f"{study.digest}.json"
    path.write_text(other(rounds=1).canonical())
    for _ in range(2):
        page = approval.page(strict, other(seed=4))
        assert (page.compared, page.missing) == (None, ("tiny", study.digest))
        assert page.not_compared == 1
        path.unlink(missing_ok=True)


def test_every_study_that_ran_or_was_approved_is_looked_at_for_differencing(strict, study):
    more = other(task={"kind": "icd-coding", "codes": [*study.outputs, "A41"]})
    unlike = other(task={"kind": "icd-coding", "codes": ["A41"]})
    approval.decide(strict, more, approve=True)
    approval.decide(strict, more, approve=False)  # what left has left
    approval.decide(strict, unlike, approve=True)
    strict.open_ledger().reserve(other(seed=77).spend(1), lifetime=strict.policy.lifetime)
    page = approval.page(strict, study)
    assert page.compared == ("tiny", unlike.digest)
    (near,) = page.near
    assert (near.digest, near.taken_out, near.put_in) == (more.digest, ("A41",), ())
    assert page.not_compared == 1
    assert page.titles["A41"] == "Other sepsis"


def test_what_a_study_says_of_itself_is_one_line_without_control_characters():
    with pytest.raises(ValueError, match=r"about\.coordinator"):
        other(about={"coordinator": "Trust\x1b[2Jme"})
    with pytest.raises(ValueError, match=r"about\.purpose"):
        other(about={"purpose": "x" * 301})


def test_the_page_says_that_a_study_starts_from_an_earlier_ones_weights(strict, study):
    assert approval.page(strict, study).starts == "the head's own start"
    table = study_table() | {"start": {"weights_sha256": "5e" * 32}}
    starts = approval.page(strict, Study.parse_table(table, where="later")).starts
    assert starts.startswith("weights that an earlier study released, from the file with SHA-256 ")
    assert "5e" * 32 in starts
    assert "nothing more is charged" in starts
