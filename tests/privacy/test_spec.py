"""Spec is frozen, closed and silent; a Registry finds kinds by name and refuses clashes."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from privacy import spec as specs
from privacy.budget import Budget, Spend
from privacy.mechanisms import MECHANISMS
from privacy.spec import Kind, Registry, Spec, one_line, read_toml

PATIENT = "Erika Mustermann"


class Animal(Kind):
    legs: Annotated[int, Field(ge=0)] = 4


class Cat(Animal):
    kind: ClassVar[str] = "cat"
    lives: Annotated[int, Field(ge=1)] = 9


class Bird(Animal):
    kind: ClassVar[str] = "bird"
    colour: str = "black"


class Heron(Animal):
    kind: ClassVar[str] = "heron"


ANIMALS: Registry[Animal] = Registry("fedward.test_animals", Animal, Cat, Bird)


class Zoo(Spec):
    name: Annotated[str, Field(pattern="^[a-z]+$")]
    size: Annotated[int, Field(le=10)] = 1
    star: Annotated[Animal, ANIMALS]


def zoo(**changes) -> dict:
    return {"name": "berlin", "star": {"kind": "cat"}, **changes}


@pytest.fixture
def installed(monkeypatch):
    """Pretends that packages offer these entry points, `name: value`, and nothing else."""

    def install(**offered: str) -> None:
        def found(*, group: str) -> list[EntryPoint]:
            return [EntryPoint(n, v, group) for n, v in offered.items() if group == ANIMALS.group]

        monkeypatch.setattr(specs, "entry_points", found)

    return install


# Frozen, closed, silent


def test_a_spec_is_frozen():
    budget = Budget(epsilon=1)
    with pytest.raises(ValidationError, match="frozen"):
        budget.epsilon = 100
    assert budget.epsilon == 1


def test_equal_specs_are_one_key():
    assert len({Budget(epsilon=1), Budget(epsilon=1), Budget(epsilon=2)}) == 2


BAD = {
    "extra key": (zoo(stra=PATIENT), "stra"),
    "wrong type": (zoo(size=PATIENT), "size"),
    "pattern": (zoo(name=PATIENT), "name"),
    "a table for a text": (zoo(name={"who": PATIENT}), "name"),
    "a list for the table": (zoo(star=[PATIENT]), "star"),
    "unknown kind": (zoo(star={"kind": PATIENT}), "star"),
    "extra key inside a kind": (zoo(star={"kind": "cat", "owner": PATIENT}), "owner"),
    "wrong type inside a kind": (zoo(star={"kind": "cat", "lives": PATIENT}), "lives"),
    "a kind that is a table": (zoo(star={"kind": {"x": PATIENT}}), "star"),
}


@pytest.mark.parametrize(("table", "key"), BAD.values(), ids=BAD)
def test_a_complaint_names_the_key_and_never_the_value(table, key):
    with pytest.raises(ValidationError) as caught:
        Zoo.model_validate(table)
    for text in (str(caught.value), one_line(caught.value)):
        assert key in text
        assert "Mustermann" not in text


@pytest.mark.parametrize(("table", "key"), BAD.values(), ids=BAD)
def test_a_table_is_refused_in_one_line_that_says_where(table, key):
    with pytest.raises(ValueError, match=r"^zoo\.toml: ") as caught:
        Zoo.parse_table(table, where="zoo.toml")
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Mustermann" not in str(caught.value)
    # A traceback prints the cause as well.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_extra_key_is_called_one():
    with pytest.raises(ValueError, match="stra: no such key; check its spelling"):
        Zoo.parse_table(zoo(stra=1), where="x")


def test_every_complaint_is_in_the_line():
    with pytest.raises(ValueError, match=r"^x: name: .*; size: .*; star: "):
        Zoo.parse_table({"name": "A", "size": 11}, where="x")


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0},
        {"epsilon": -1},
        {"epsilon": float("nan")},
        {"delta": 0},
        {"delta": 2e-3},
        {"unit": "note"},
        {"neighbours": "replace-one"},
    ],
    ids=str,
)
def test_a_budget_cannot_be_weakened(changes):
    with pytest.raises(ValidationError, match=next(iter(changes))):
        Budget(**{"epsilon": 1, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"noise_multiplier": -0.1},
        {"noise_multiplier": float("nan")},
        {"noise_multiplier": float("inf")},
        {"sample_rate": 0},
        {"sample_rate": 1.01},
        {"sample_rate": float("nan")},
        {"steps": 0},
        {"round": 0},
        {"study": "A" * 64},
        {"study": "a" * 63},
    ],
    ids=str,
)
def test_a_spend_holds_nothing_that_cannot_be_counted(changes):
    good = {"study": "a" * 64, "round": 1, "noise_multiplier": 1, "sample_rate": 0.5, "steps": 3}
    assert Spend(**good).steps == 3
    with pytest.raises(ValidationError, match=next(iter(changes))):
        Spend(**{**good, **changes})


# Canonical JSON


def test_canonical_golden():
    value = Zoo.model_validate(zoo(star={"kind": "bird", "colour": "grün"}))
    assert value.canonical() == (
        '{"name":"berlin","size":1,"star":{"colour":"gr\\u00fcn","kind":"bird","legs":4}}'
    )
    assert value.content_hash() == (
        "99408c71c6be45941cae04189a43d60c334290fc93b8adae5f3e4d27e6869561"
    )


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(
    name=st.from_regex("[a-z]{1,9}", fullmatch=True),
    size=st.integers(-5, 10),
    star=st.one_of(
        st.fixed_dictionaries({"kind": st.just("cat"), "lives": st.integers(1, 99)}),
        st.fixed_dictionaries({"kind": st.just("bird"), "colour": st.text()}),
    ),
)
def test_canonical_round_trips_whatever_the_order_of_keys(name, size, star):
    value = Zoo.model_validate({"name": name, "size": size, "star": star})
    shuffled = Zoo.model_validate(
        {"star": dict(reversed(star.items())), "size": size, "name": name}
    )
    text = value.canonical()
    assert text.isascii()
    assert shuffled.canonical() == text
    assert Zoo.model_validate_json(text) == value
    assert Zoo.model_validate_json(text).content_hash() == value.content_hash()
    assert type(Zoo.model_validate_json(text).star) is type(value.star)


def test_the_hash_follows_every_value():
    tables = [zoo(), zoo(name="bonn"), zoo(size=2), zoo(star={"kind": "bird"})]
    tables += [zoo(star={"kind": "cat", "lives": 8}), zoo(star={"kind": "cat", "legs": 3})]
    hashes = {Zoo.model_validate(table).content_hash() for table in tables}
    assert len(hashes) == len(tables)


def test_infinity_has_no_canonical_text():
    with pytest.raises(ValueError, match="JSON"):
        Budget(epsilon=float("inf")).canonical()


# Registry


def test_an_unknown_kind_lists_the_known_and_the_installed(installed, monkeypatch):
    monkeypatch.setattr(EntryPoint, "load", lambda _: Heron)
    installed(heron="far.away:Heron")
    with pytest.raises(ValueError, match=r"^kind must be one of bird, cat, heron$"):
        ANIMALS.parse({"kind": "dog"})


@pytest.mark.parametrize("value", [{}, {"kind": 3}, {"kind": None}, "cat", None, ["cat"], 7])
def test_a_missing_or_odd_kind_lists_the_known_ones(value):
    with pytest.raises(ValueError, match=r"^kind must be one of bird, cat$"):
        ANIMALS.parse(value)


def test_parsing_leaves_the_table_as_it_was():
    table = {"kind": "cat", "lives": 7}
    assert ANIMALS.parse(table) == Cat(lives=7)
    assert table == {"kind": "cat", "lives": 7}


def test_a_kind_passes_as_itself():
    cat = Cat(lives=3)
    assert ANIMALS.parse(cat) is cat


def test_an_installed_package_adds_a_kind(installed, monkeypatch):
    monkeypatch.setattr(EntryPoint, "load", lambda point: globals()[point.attr])
    installed(heron="far.away:Heron")
    assert list(ANIMALS.kinds()) == ["cat", "bird", "heron"]
    value = Zoo.model_validate(zoo(star={"kind": "heron", "legs": 2}))
    assert value.star == Heron(legs=2)
    assert Zoo.model_validate_json(value.canonical()) == value


def test_a_registry_asks_for_its_own_group(monkeypatch):
    asked = []
    monkeypatch.setattr(specs, "entry_points", lambda *, group: asked.append(group) or [])
    assert set(MECHANISMS.kinds()) == {"dp-sgd", "gaussian-sums", "off"}
    assert asked == ["fedward.mechanisms"]


def test_a_package_cannot_take_a_name_of_ours(installed):
    installed(cat="far.away:Cat")
    with pytest.raises(ValueError, match=r"two packages define fedward\.test_animals 'cat'"):
        ANIMALS.kinds()


def test_two_packages_cannot_take_one_name(monkeypatch):
    points = [EntryPoint("heron", f"{far}:Heron", ANIMALS.group) for far in ("one", "two")]
    monkeypatch.setattr(specs, "entry_points", lambda *, group: points)
    monkeypatch.setattr(EntryPoint, "load", lambda _: Heron)
    with pytest.raises(ValueError, match=r"two packages define .* 'heron'; uninstall one"):
        ANIMALS.kinds()


@pytest.mark.parametrize("value", ["json:dumps", "json:JSONDecoder", "privacy.budget:Budget"])
def test_an_entry_point_must_be_a_kind_of_the_seam(installed, value):
    installed(odd=value)
    with pytest.raises(ValueError, match=f"^{value} is not a Animal$"):
        ANIMALS.kinds()


def test_an_entry_point_under_another_name_than_its_kind_is_refused(installed, monkeypatch):
    # Its canonical text would name `heron`, which no other site would find.
    monkeypatch.setattr(EntryPoint, "load", lambda _: Heron)
    installed(stork="far.away:Heron")
    with pytest.raises(ValueError, match="heron"):
        ANIMALS.kinds()


# TOML


def test_a_file_is_read(tmp_path):
    path = tmp_path / "zoo.toml"
    path.write_text('name = "berlin"\n[star]\nkind = "cat"\n', "utf-8")
    assert Zoo.read(path) == Zoo(name="berlin", star=Cat())


def one_line_about(path: Path) -> str:
    with pytest.raises(ValueError, match="zoo") as caught:
        Zoo.read(path)
    text = str(caught.value)
    assert type(caught.value) is ValueError
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert "Mustermann" not in text
    return text


def test_a_missing_file_is_named(tmp_path):
    assert one_line_about(tmp_path / "zoo.toml").endswith(": no such file")


BROKEN = {
    "no value": f"name = {PATIENT}\n",
    "no equals sign": f"{PATIENT}\n",
    "open string": f'name = "{PATIENT}\n',
    "twice": f'name = "{PATIENT}"\nname = "x"\n',
    "control character": f'name = "{PATIENT}\x00"\n',
    "open table": f'[star\nname = "{PATIENT}"\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_not_toml_is_named_and_its_content_is_not(tmp_path, text):
    path = tmp_path / "zoo.toml"
    path.write_text(text, "utf-8")
    assert "not TOML" in one_line_about(path)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "zoo.toml"
    path.write_bytes(f'name = "{PATIENT} '.encode() + b'\xe9"\n')
    assert "not TOML" in one_line_about(path)


def test_a_file_that_does_not_fit_is_named_with_its_key(tmp_path):
    path = tmp_path / "zoo.toml"
    path.write_text(f'name = "bonn"\n[star]\nkind = "cat"\nowner = "{PATIENT}"\n', "utf-8")
    assert "star: cat: owner: no such key" in one_line_about(path)


def test_a_folder_is_not_a_file(tmp_path):
    path = tmp_path / "zoo"
    path.mkdir()
    one_line_about(path)


def test_read_toml_gives_the_plain_table(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text('a = 1\n[b]\nc = "ü"\n', "utf-8")
    assert read_toml(path) == json.loads('{"a": 1, "b": {"c": "ü"}}')
