"""A study that a coordinator sends is taken whole, or refused in a few words that a site can say.

Everything that happens to it before somebody has approved it: read, held against the policy and
against the ledger, and kept.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import tomli_w
from builders import site_table, study_table
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from client import local
from client.site import Site
from privacy.errors import SiteError
from privacy.fingerprint import code_fingerprint
from privacy.release import RequestHeader
from tasks.study import Study

MARK = "Zebulon4711"
CODE = code_fingerprint()
OURS = Study.parse_table(
    study_table(
        privacy={"kind": "dp-sgd", "epsilon": 8.0, "clip": 0.5, "adaptive": {"quantile": 0.4}},
        head={"kind": "mlp", "hidden": [8]},
    ),
    where="fuzz",
)
OTHERS = (
    Study.parse_table(study_table(head={"kind": "code-query"}), where="fuzz"),
    Study.parse_table(
        study_table(
            privacy={"kind": "off"},
            encoder={"kind": "sentence-transformer", "model": "all-MiniLM-L6-v2"},
        ),
        where="fuzz",
    ),
)

# Names of things that are public; a refusal may say which one is not known or not allowed.
SAID = {"model", "codes"}


def sites(folder, **policy: Any) -> Site:
    allowed = {
        "lifetime": {"epsilon": 20.0},
        "mechanisms": ["dp-sgd", "off"],
        "smallest_count": 0,
        **policy,
    }
    path = folder / "site.toml"
    path.write_text(tomli_w.dumps(site_table("ash", policy=allowed)), "utf-8")
    return Site.read(path)


@pytest.fixture(scope="module")
def willing(tmp_path_factory) -> Site:
    return sites(tmp_path_factory.mktemp("willing"), studies="any")


@pytest.fixture(scope="module")
def asking(tmp_path_factory) -> Site:
    return sites(tmp_path_factory.mktemp("asking"), studies="approved")


def admitted(site: Site, text: str, *, secret: bool = True) -> str:
    """Lets a study in or refuses it; never anything else, and never for long."""
    began = time.process_time()
    try:
        study = local.admitted(site, RequestHeader(study=text, code=CODE))
    except SiteError as error:
        said = str(error)
        assert said.isprintable()
        assert len(said) <= 2000
        assert not secret or MARK not in said
        found = type(error).__name__
    else:
        assert Study.received(study.canonical()) == study
        found = "admitted"
    assert time.process_time() - began < 10
    return found


any_text = st.text(st.characters(exclude_categories=()), max_size=8)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.sampled_from(
            [0, 1, -1, 0.5, 5e-324, 1e-300, 1e-9, 1e300, 2**31, 2**63, 10**30, 10**4000, 1e5]
        ),
        any_text,
        st.sampled_from([MARK, MARK * 20_000, "\x1b[2J" + MARK, "off", "hashing", "code-query"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(any_text | st.just("kind"), inner, max_size=3)
    ),
    max_leaves=5,
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, child in inner:
        found.append((*path, key))
        if isinstance(child, dict | list):
            found += _paths(child, (*path, key))
    return found


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, bool]:
    """A study with some of its values changed; and whether none of them is a public name."""
    table = json.loads(draw(st.sampled_from([OURS, *OTHERS])).canonical())
    public = False
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(_paths(table)))
        inner = table
        for step in path[:-1]:
            inner = inner[step]
        value = draw(values)
        how = draw(st.sampled_from(["replace", "replace", "replace", "drop", "add"]))
        if how == "replace":
            inner[path[-1]] = value
            public = public or bool(SAID & set(path)) or path[-1] in {"task", "encoder"}
        elif how == "drop":
            del inner[path[-1]]
        elif isinstance(inner, dict):
            inner[draw(any_text | st.just("k" * 300))] = value
    return json.dumps(table, sort_keys=True, separators=(",", ":")), not public


@settings(deadline=None, derandomize=True, database=None, max_examples=200)
@given(changed())
def test_a_changed_study_is_admitted_or_refused(willing, found):
    text, secret = found
    event(admitted(willing, text, secret=secret))


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(changed())
def test_a_changed_study_waits_or_is_refused_where_people_decide(asking, found):
    text, secret = found
    assert admitted(asking, text, secret=secret) != "admitted"


PRIVATE = {"kind": "dp-sgd", "clip": 0.5}
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    # Once a grid of 150 million points: the system ended the site's process.
    "all memory": (
        {"privacy": PRIVATE | {"epsilon": 1e3}, "rounds": 1000, "steps": 100},
        "BudgetExhausted",
    ),
    "all digits": ({"privacy": PRIVATE | {"epsilon": 1e9}}, "StudyRefused"),
    "no cost at all": ({"privacy": PRIVATE | {"epsilon": 1e-9}}, "StudyRefused"),
    "no delta at all": ({"privacy": PRIVATE | {"epsilon": 1.0, "delta": 5e-324}}, "StudyRefused"),
    "a head larger than memory": (
        {"head": {"kind": "mlp", "hidden": [65536] * 8}},
        "StudyRefused",
    ),
    "vectors larger than memory": ({"encoder": {"kind": "hashing", "dim": 16384}}, "admitted"),
}


@pytest.mark.parametrize(("changes", "found"), HOSTILE.values(), ids=HOSTILE)
def test_a_study_that_asks_for_the_moon_costs_little_to_refuse(willing, changes, found):
    study = Study.parse_table(study_table(**changes), where="hostile")
    assert admitted(willing, study.canonical()) == found


def test_a_study_whose_promise_no_noise_keeps_is_refused_in_words(willing):
    study = Study.parse_table(study_table(privacy=PRIVATE | {"epsilon": 1e-9}), where="hostile")
    with pytest.raises(SiteError, match="no noise keeps 6 steps"):
        willing.policy.admit(study, declared_patients=40)


@settings(deadline=None, derandomize=True, database=None, max_examples=100)
@given(st.text(max_size=40) | any_text)
@example("[" * 100_000)
@example("{" * 100_000)
@example('{"a":' * 100_000)
@example("9" * 100_000)
@example("NaN")
@example('{"name":"a","name":"b"}')
@example('{"name":"\\ud800"}')
@example("\ud800")
def test_any_text_for_a_study_is_refused(text):
    with pytest.raises(SiteError) as caught:
        Study.received(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 2000
