"""A site's round: admit, tally, charge, train."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from builders import patient, policy_table, study_table

from client import cohort, local
from client.local import hello
from privacy import wire
from privacy.errors import (
    BudgetExhausted,
    CodeDiffers,
    EncoderDiffers,
    SiteError,
    StudyRefused,
)
from privacy.fingerprint import code_fingerprint
from privacy.ledger import Receipt
from privacy.release import RequestHeader
from tasks import tallies
from tasks.heads.head import weights_of
from tasks.study import Study


def header(study: Study, **changes: object) -> RequestHeader:
    table = {"study": study.canonical(), "round": 1, "code": code_fingerprint()}
    return RequestHeader.model_validate(table | changes)


@pytest.fixture
def ready(study, make_site):
    """A site that has prepared the study, and a request for round 1."""
    site = make_site("ash")
    said = hello(site, header(study))
    return site, header(study, encoder=said.encoder)


def test_hello_says_public_things_only(study, make_site):
    said = hello(make_site("ash"), header(study))
    assert set(said.model_dump()) == {"site", "code", "encoder", "declared_patients"}
    assert (said.site, said.declared_patients) == ("ash", 40)


def test_a_round_is_charged_before_it_is_trained(study, ready, monkeypatch):
    site, request = ready

    def crash(*_: object, **__: object) -> None:
        assert site.open_ledger().spends() == (study.spend(1),)
        raise RuntimeError

    monkeypatch.setattr(local, "fit", crash)
    with pytest.raises(RuntimeError):
        local.train(site, study, request, study.initial())
    assert site.open_ledger().spends() == (study.spend(1),)


def test_a_release_passes_the_door_and_moves_the_weights(study, ready):
    site, request = ready
    release = local.train(site, study, request, study.initial())
    wire.check_release(release, study.contract())
    assert any(
        not np.array_equal(release.update[name], value) for name, value in study.initial().items()
    )
    assert {tally.name for tally in release.tallies} == set(tallies.shapes(8))


def test_a_study_beyond_the_lifetime_is_refused_at_hello_and_costs_nothing(study, make_site):
    site = make_site("ash", policy=policy_table(lifetime={"epsilon": 4.0}))
    with pytest.raises(BudgetExhausted, match=r"lifetime epsilon is 4 .* the ledger would reach"):
        hello(site, header(study))
    assert site.open_ledger().spends() == ()
    assert not cohort.cohort_path(site, study).exists()


def test_a_second_study_goes_on_from_the_first(study, ready):
    site, request = ready
    for number in (1, 2):
        at = request.model_copy(update={"round": number})
        local.train(site, study, at, study.initial())
    spent = site.open_ledger().epsilon(delta=1e-5)
    assert 7.5 < spent <= 8.0
    other = Study.parse_table(study_table(name="second", rounds=1), where="second")
    with pytest.raises(BudgetExhausted, match=f"before the last charge {spent:.3g}"):
        hello(site, header(other))


def test_a_round_in_the_middle_of_a_study_is_not_counted_twice(study, ready):
    site, request = ready
    local.train(site, study, request, study.initial())
    local.admitted(site, request.model_copy(update={"round": 2}))


def test_the_same_round_with_other_weights_is_charged_again_and_then_refused(study, ready):
    site, request = ready

    def other(number: int) -> dict[str, np.ndarray]:
        return {name: value + number for name, value in study.initial().items()}

    for number in range(2):
        local.train(site, study, request, other(number))
    with pytest.raises(BudgetExhausted):
        local.train(site, study, request, other(2))
    assert len(site.open_ledger().spends()) == 2


@pytest.mark.parametrize("number", [0, 3])
def test_a_round_that_the_study_does_not_have_is_refused(study, ready, number):
    site, request = ready
    with pytest.raises(StudyRefused, match="rounds 1 to 2"):
        local.train(site, study, request.model_copy(update={"round": number}), study.initial())
    assert site.open_ledger().spends() == ()


def test_other_code_and_other_encoders_are_refused_by_name(study, ready):
    site, request = ready
    with pytest.raises(CodeDiffers, match=r"ash runs code .* the coordinator 000000000000"):
        local.admitted(site, header(study, code="0" * 64))
    with pytest.raises(EncoderDiffers, match=r"ash embeds as .* the study as 111111111111"):
        local.train(site, study, request.model_copy(update={"encoder": "1" * 64}), study.initial())
    assert site.open_ledger().spends() == ()


def test_a_study_that_cannot_be_read_is_refused_without_its_values(make_site, study):
    table = json.loads(study.canonical()) | {"surprise": "Zebulon"}
    with pytest.raises(StudyRefused, match="surprise: no such key") as error:
        hello(make_site("ash"), header(study).model_copy(update={"study": json.dumps(table)}))
    assert "Zebulon" not in str(error.value)


def test_training_without_preparing_says_so(study, make_site):
    with pytest.raises(SiteError, match="was not prepared"):
        local.train(make_site("ash"), study, header(study), study.initial())


def test_withheld_metrics_stay_home(study, make_site):
    site = make_site("ash", policy=policy_table(metrics="withheld"))
    said = hello(site, header(study))
    release = local.train(site, study, header(study, encoder=said.encoder), study.initial())
    assert release.tallies == ()
    assert site.open_ledger().spends(cohort="heldout") == ()


def test_exact_tallies_stand_in_the_ledger_as_what_they_are(study, ready):
    site, request = ready
    local.train(site, study, request, study.initial())
    (spend,) = site.open_ledger().spends(cohort="heldout")
    assert spend.noise_multiplier == 0
    assert site.open_ledger().epsilon(delta=1e-5, cohort="heldout") == float("inf")
    assert site.open_ledger().epsilon(delta=1e-5) < 8


def test_few_held_out_patients_give_no_tallies(study, make_site):
    site = make_site("ash", policy=policy_table(smallest_count=1000))
    said = hello(site, header(study))
    assert (
        local.train(site, study, header(study, encoder=said.encoder), study.initial()).tallies == ()
    )


def test_an_evaluation_trains_nothing_and_charges_no_training_patient(study, ready):
    site, request = ready
    release = local.evaluate(site, study, request, study.initial())
    assert (dict(release.update), release.receipt) == ({}, None)
    assert site.open_ledger().spends() == ()


def test_a_cohort_holds_neither_ids_nor_words(study, make_site, write_lines):
    path = write_lines(*(patient(n) for n in range(30)))
    source = {"kind": "jsonl", "paths": [str(path)]}
    site = make_site("ash", source=source)
    attrition = cohort.prepare(site, study)
    text = cohort.cohort_path(site, study).read_text()
    assert "p1" not in text
    assert "hypertension" not in text
    kept = sum(n for rule, n in attrition.counts.items() if rule.startswith("patients kept"))
    assert kept == 30


def test_notes_that_are_embedded_need_no_encoder(study, make_site, monkeypatch):
    site = make_site("ash")
    cohort.prepare(site, study)
    monkeypatch.setattr(type(study.encoder), "load", lambda *_: pytest.fail("loaded again"))
    cohort.prepare(site, study)


def test_who_cannot_be_labelled_is_counted(study, make_site, write_lines):
    stay = patient(0)["stays"][0]
    late = {"at": "2024-03-01T00:00:00Z", "text": "written weeks after the discharge"}
    path = write_lines(
        patient(1),
        patient(2, stays=[stay | {"codes": []}]),
        patient(3, stays=[stay | {"codes": ["I10", "QQQ"]}]),
        patient(4, notes=[late]),
    )
    site = make_site("ash", source={"kind": "jsonl", "paths": [str(path)]})
    counts = cohort.prepare(site, study).counts
    assert (
        counts.pop("patients kept to train", 0)
        + counts.pop("patients kept to tune", 0)
        + counts.pop("patients kept to heldout", 0)
        == 2
    )
    assert counts == {
        "stays kept": 2,
        "stays without codes": 1,
        "codes that ICD-10-CM does not have": 1,
        "stays without notes by the prediction time": 1,
        "patients without a labelled stay": 2,
    }


def test_a_split_that_changed_stops_the_site(study, make_site):
    hello(make_site("ash"), header(study))
    changed = make_site("ash", split={"tune": 0.1, "heldout": 0.4})
    with pytest.raises(SiteError, match="split has changed since its first study"):
        hello(changed, header(study))
    rekeyed = make_site("ash")
    (rekeyed.folder / "site.key").unlink()  # another is drawn
    with pytest.raises(SiteError, match="split has changed since its first study"):
        hello(rekeyed, header(study))


def test_a_head_beyond_all_memory_is_refused_before_it_is_built(make_site):
    head = {"kind": "mlp", "hidden": [65536, 65536]}
    huge = Study.parse_table(study_table(head=head), where="huge")
    with pytest.raises(
        StudyRefused, match=r"most_numbers allows 20,000,000; .* 4,299,\d\d\d,\d\d\d"
    ):
        hello(make_site("ash"), header(huge))


def test_a_cohort_is_for_its_owner_only(study, ready):
    site, _ = ready
    assert cohort.cohort_path(site, study).stat().st_mode & 0o077 == 0


def test_chunks_longer_than_the_encoder_reads_are_refused(study, make_site, monkeypatch):
    from embeddings.hashing import HashingEncoder

    monkeypatch.setattr(HashingEncoder, "max_tokens", 20)
    with pytest.raises(EncoderDiffers, match="chunks of 40 tokens, the encoder reads 20"):
        hello(make_site("ash"), header(study))


def summing() -> Study:
    """A study in one round of sums."""
    table = study_table(
        rounds=1,
        steps=1,
        sample_rate=1.0,
        head={"kind": "ridge"},
        privacy={"kind": "gaussian-sums", "epsilon": 3.0},
    )
    return Study.parse_table(table, where="sums")


def test_a_sum_is_charged_once_kept_and_passes_the_door(make_site):
    policy = policy_table(mechanisms=["gaussian-sums"], lifetime={"epsilon": 3.0})
    site = make_site("ash", policy=policy)
    study = summing()
    request = header(study, encoder=hello(site, header(study)).encoder)
    release = local.train(site, study, request, study.initial())
    wire.check_release(release, study.contract())
    assert set(release.update) == {"gram", "cross"}
    assert all(np.abs(value).max() > 0 for value in release.update.values())
    # The same question again is the same answer, and costs nothing more.
    again = local.train(site, study, request, study.initial())
    assert all(np.array_equal(again.update[name], release.update[name]) for name in again.update)
    assert site.open_ledger().spends() == (study.spend(1),)
    assert 2.9 < site.open_ledger().epsilon(delta=1e-5) <= 3.0
    # Whatever the coordinator sends, what leaves is the sum and no function of it.
    sent = {name: value + 1 for name, value in study.initial().items()}
    with pytest.raises(BudgetExhausted):
        local.train(site, study, request, sent)


def test_a_sum_is_shut_at_a_site_that_does_not_name_it(make_site):
    study = summing()
    with pytest.raises(StudyRefused, match=r"policy\.mechanisms allows dp-sgd; .* 'gaussian-sums'"):
        hello(make_site("ash"), header(study))
    rules = {"least_noise": 2.0, "largest_clip": 0.5, "mechanisms": ["gaussian-sums"]}
    with pytest.raises(StudyRefused, match=r"noise multiplier is 1\.4.*clips at 1$"):
        hello(make_site("birch", policy=policy_table(**rules)), header(study))


@pytest.mark.parametrize(("decay", "rate"), [("linear", 0.25), ("none", 0.5)])
def test_the_rate_of_a_round_is_that_of_its_charge(monkeypatch, decay, rate):
    optimizer = {"kind": "sgd", "learning_rate": 0.5, "decay": decay}
    study = Study.parse_table(study_table(optimizer=optimizer), where="decay")
    head = study.head.build(dim=study.encoder.dim, outputs=len(study.outputs))
    seen = []

    def fit(self, head, patients, training):
        seen.append(training.learner(head.parameters()).param_groups[0]["lr"])
        return {}

    monkeypatch.setattr(type(study.privacy), "fit", fit)
    receipt = Receipt(id=1, spend=study.spend(2))
    local.fit(study, head, [], receipt=receipt, declared_patients=1, stream=None)
    assert seen == [rate]


def test_the_proximal_term_of_the_study_is_in_every_step(monkeypatch):
    strategy = {"kind": "fedprox", "proximal_mu": 2.0}
    study = Study.parse_table(study_table(strategy=strategy), where="held")
    head = study.head.build(dim=study.encoder.dim, outputs=len(study.outputs))
    begun = weights_of(head)

    def fit(self, head, patients, training):
        optimizer = training.learner(head.parameters())
        with torch.no_grad():
            for value in head.parameters():
                value.add_(1)
        optimizer.step()  # at a rate of 0.5
        return {}

    monkeypatch.setattr(type(study.privacy), "fit", fit)
    receipt = Receipt(id=1, spend=study.spend(1))
    local.fit(study, head, [], receipt=receipt, declared_patients=1, stream=None)
    for name, value in weights_of(head).items():
        np.testing.assert_allclose(value, begun[name], atol=1e-6)
