"""Every rule of the policy, at its border: what is allowed passes, a hair beyond is refused."""

from __future__ import annotations

import math

import pytest
from builders import study_table

from client.policy import Policy
from privacy.errors import StudyRefused
from tasks.study import Study

SPEND = Study.parse_table(study_table(), where="tiny").spend(1)


def broken(policy: dict[str, object], declared: int = 40, **study: object) -> list[str]:
    made = Policy.model_validate({"lifetime": {"epsilon": 8.0}} | policy)
    asked = Study.parse_table(study_table(**study), where="study")
    return list(made.broken(asked, declared_patients=declared))


ADAPTIVE = {"kind": "dp-sgd", "epsilon": 8.0, "clip": 0.5, "adaptive": {"largest": 3.0}}


@pytest.mark.parametrize(
    ("allowed", "refused", "words"),
    [
        ({"tasks": ["icd-coding"]}, {"tasks": ["x"]}, "policy.tasks allows x; .* 'icd-coding'"),
        ({"encoders": ["hashing"]}, {"encoders": []}, "policy.encoders allows none; .* 'hashing'"),
        ({"heads": ["linear"]}, {"heads": ["mlp"]}, "policy.heads allows mlp; .* 'linear'"),
        ({"mechanisms": ["dp-sgd"]}, {"mechanisms": ["off"]}, "policy.mechanisms allows off"),
        (
            {"least_noise": SPEND.noise_multiplier},
            {"least_noise": SPEND.noise_multiplier + 1e-6},
            "policy.least_noise is",
        ),
        ({"largest_clip": 0.5}, {"largest_clip": 0.4999}, "policy.largest_clip is 0.4999; .* 0.5"),
        ({"smallest_cohort": 40}, {"smallest_cohort": 41}, "policy.smallest_cohort is 41; .* 40"),
        ({"most_chunks": 12}, {"most_chunks": 11}, "policy.most_chunks allows 11; .* 12"),
        ({"longest_chunk": 40}, {"longest_chunk": 39}, "policy.longest_chunk allows 39; .* 40"),
        ({"most_numbers": 520}, {"most_numbers": 519}, "policy.most_numbers allows 519; .* 520"),
    ],
)
def test_a_rule_refuses_just_beyond_its_border_and_says_both_sides(allowed, refused, words):
    assert broken(allowed) == []
    (said,) = broken(refused)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(said)


def test_an_adaptive_clip_is_bounded_by_how_far_it_may_grow():
    assert broken({"largest_clip": 3.0}, privacy=ADAPTIVE) == []
    assert "clips at 3" in broken({"largest_clip": 2.9}, privacy=ADAPTIVE)[0]


def test_one_model_of_a_kind_can_be_allowed():
    model = {"kind": "sentence-transformer", "model": "org/model", "sha256": "a" * 64, "dim": 8}
    assert broken({"encoders": ["sentence-transformer:org/model"]}, encoder=model) == []
    assert broken({"encoders": ["sentence-transformer"]}, encoder=model) == []
    (said,) = broken({"encoders": ["sentence-transformer:org/other"]}, encoder=model)
    assert "'sentence-transformer:org/model'" in said


def test_without_a_mechanism_there_is_no_noise_to_bound():
    rules = {"mechanisms": ["off"], "lifetime": {"epsilon": math.inf}, "least_noise": 5.0}
    assert broken(rules, privacy={"kind": "off"}) == []


def test_every_broken_rule_is_said_at_once(study):
    rules = {"lifetime": {"epsilon": 8.0}, "tasks": [], "largest_clip": 0.1, "most_chunks": 1}
    policy = Policy.model_validate(rules)
    with pytest.raises(StudyRefused, match=r"policy\.tasks .*; policy\.largest_clip .*; .*chunks"):
        policy.admit(study, declared_patients=40)


def test_exact_tallies_leave_only_where_it_is_written():
    policy = Policy.model_validate({"lifetime": {"epsilon": 8.0}})
    assert policy.metrics == policy.outlet.metrics == "noised"
    assert policy.heldout.epsilon == 2.0
