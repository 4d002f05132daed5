"""A refusal carries what a SiteError says aloud or a class name; a terminal takes it in peace."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from pydantic import ValidationError
from wire_builders import CONTRACT, PATIENT, canonical, described, refusal

from privacy.errors import BudgetExhausted, ReleaseBlocked, SiteError, StudyRefused
from privacy.release import ReleaseHeader
from privacy.wire import pack_refusal, unpack_hello, unpack_release


def unpack_as_release(content: RecordDict) -> object:
    return unpack_release(content, contract=CONTRACT)


BOTH = pytest.mark.parametrize("unpack", [unpack_hello, unpack_as_release])


def said(content: RecordDict) -> tuple[str, str]:
    found = json.loads(content["refusal"]["json"])
    return found["error"], found["reason"]


@pytest.mark.parametrize(("site", "text"), [("st-mary", '"st-mary"'), (None, "null")])
def test_the_text_of_a_refusal(site, text):
    content = pack_refusal(BudgetExhausted("lifetime epsilon is 3"), site=site)
    assert described(content) == {"refusal": {"json": "str"}}
    assert content["refusal"]["json"] == (
        f'{{"error":"BudgetExhausted","reason":"lifetime epsilon is 3","site":{text}}}'
    )
    with pytest.raises(SiteError) as caught:
        unpack_hello(content)
    assert caught.value.site == site


ROOT = Path(__file__).parents[3]
PACKAGES = ("client", "embeddings", "experiments", "privacy", "server", "tasks")

# Whose own text leaves, and the only files that may raise them: what these say depends on the
# study, the policy, the code and the ledger alone. Whoever adds one here has to show the same.
ALOUD = {"StudyRefused", "BudgetExhausted", "CodeDiffers"}
RAISED_IN = {
    "client/approval.py",
    "client/local.py",
    "client/policy.py",
    "privacy/entries.py",
    "privacy/ledger.py",
    "tasks/study.py",
}


def family(kind: type[SiteError]) -> Iterator[type[SiteError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from family(child)


EVERY_SITE_ERROR = [kind for kind in family(SiteError) if kind.__module__ == "privacy.errors"]


@pytest.mark.parametrize("error", EVERY_SITE_ERROR)
def test_the_text_of_a_site_error_leaves_only_where_it_depends_on_public_numbers(error):
    """Two sites that fail alike over other records answer with the same bytes."""
    one = pack_refusal(error("takes 9.42e-05 GB; N = 61"), site="ash")
    two = pack_refusal(error("takes 9.97e-05 GB; N = 97"), site="ash")
    if error.__name__ in ALOUD:
        assert said(one) == (error.__name__, "takes 9.42e-05 GB; N = 61")
    else:
        assert one == two
        assert said(one) == (error.__name__, error.public)
        assert not any(character.isdigit() for character in said(one)[1])


def test_every_class_of_site_error_is_known():
    names = {error.__name__ for error in EVERY_SITE_ERROR}
    assert len(names) == 13
    assert names >= ALOUD
    elsewhere = [
        node.name
        for _, node in nodes(ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in names and node.name not in names
    ]
    assert elsewhere == []  # the walk above would not see them


def test_a_new_kind_of_site_error_says_nothing_of_its_own():
    class Surprise(SiteError):
        pass

    assert said(pack_refusal(Surprise("17 patients"))) == ("Surprise", SiteError.public)


def test_errors_that_leave_with_their_text_are_raised_where_no_record_is_read():
    found = {
        path
        for path, node in nodes(ast.Raise)
        if isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in ALOUD
    }
    assert found <= RAISED_IN


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Every such piece of our code, with its file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, kind):
                    yield path.relative_to(ROOT).as_posix(), node


class PatientError(ValueError):
    def __str__(self) -> str:
        return f"could not parse {PATIENT}"

    __repr__ = __str__


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


OTHERS = {
    "ValueError": ValueError(PATIENT),
    "KeyError": KeyError(PATIENT),
    "RuntimeError": raised(RuntimeError("x"), cause=SiteError(PATIENT)),
    "FileNotFoundError": FileNotFoundError(2, "no such file", f"/notes/{PATIENT}.txt"),
    "UnicodeDecodeError": UnicodeDecodeError("utf-8", PATIENT.encode(), 0, 1, PATIENT),
    "ExceptionGroup": ExceptionGroup(PATIENT, [ValueError(PATIENT)]),
    "PatientError": PatientError(PATIENT),
}


@pytest.mark.parametrize(("name", "error"), OTHERS.items(), ids=OTHERS)
def test_of_any_other_exception_only_the_class_name_leaves(name, error):
    error.add_note(PATIENT)
    content = pack_refusal(error)
    assert "Mustermann" not in str(content)
    assert said(content) == (name, "failed; the site's own log says where")


def test_what_a_validation_error_says_stays():
    with pytest.raises(ValidationError) as caught:
        ReleaseHeader.model_validate({PATIENT: 1})
    content = pack_refusal(caught.value)
    assert "Mustermann" not in str(content)
    assert said(content)[0] == "ValidationError"


def test_neither_cause_nor_notes_of_a_site_error_leave():
    error = raised(StudyRefused("ask for less"), cause=ValueError(PATIENT))
    error.add_note(PATIENT)
    assert said(pack_refusal(error)) == ("StudyRefused", "ask for less")


AWKWARD = {
    "an underscore in front": type("_ArrayMemoryError", (MemoryError,), {}),  # as numpy has it
    "an underscore within": type("Bad_Gateway", (Exception,), {}),
    "not ASCII": type("Überlauf", (Exception,), {}),
    "nothing but underscores": type("__", (Exception,), {}),
    "far too long": type("E" * 200, (Exception,), {}),
}


@pytest.mark.parametrize("kind", AWKWARD.values(), ids=AWKWARD)
def test_an_exception_of_any_name_can_be_refused_with(kind):
    content = pack_refusal(kind(PATIENT))
    assert "Mustermann" not in str(content)
    with pytest.raises(SiteError, match="the site's own log says where") as caught:
        unpack_as_release(content)
    assert type(caught.value) is SiteError


@pytest.mark.parametrize(
    "text",
    ["", "ü\n\x00", "x" * 5000, "\ud800", "\x1b]0;owned\x07", "\u202e\u200b\x85" * 900],
    ids=ascii,
)
@BOTH
def test_any_text_of_a_site_error_arrives_printable_and_bounded(unpack, text):
    content = pack_refusal(StudyRefused(text))
    assert len(said(content)[1]) <= 2000
    with pytest.raises(SiteError, match=r"^StudyRefused: ") as caught:
        unpack(content)
    assert type(caught.value) is SiteError
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 2000


def test_what_is_cut_off_is_seen_to_be():
    with pytest.raises(SiteError, match=r"xxx\.\.\.$"):
        unpack_hello(pack_refusal(StudyRefused("x" * 5000)))


@BOTH
def test_a_refusal_reaches_the_coordinator_as_the_sites_words(unpack):
    with pytest.raises(SiteError, match=r"^BudgetExhausted: lifetime epsilon is 3$") as caught:
        unpack(pack_refusal(BudgetExhausted("lifetime epsilon is 3")))
    assert not isinstance(caught.value, ReleaseBlocked)


TRUE = json.loads(refusal()["refusal"]["json"])

MANGLED = {
    "extra key": ConfigRecord({"json": canonical({**TRUE, "note": PATIENT})}),
    "extra config key": ConfigRecord({"json": canonical(TRUE), "note": PATIENT}),
    "not its one form": ConfigRecord({"json": json.dumps(TRUE)}),
    "no class name": ConfigRecord({"json": canonical({**TRUE, "error": "X y"})}),
    "no site name": ConfigRecord({"json": canonical({**TRUE, "site": PATIENT})}),
    "too long": ConfigRecord({"json": canonical({**TRUE, "reason": "y" * 2001})}),
    "far too long": ConfigRecord({"json": canonical({**TRUE, "reason": "y" * 10**7})}),
    "not json": ConfigRecord({"json": PATIENT}),
    "metrics": MetricRecord({"json": 1}),
    "arrays": ArrayRecord(),
}


@pytest.mark.parametrize("record", MANGLED.values(), ids=MANGLED)
@BOTH
def test_a_mangled_refusal_is_blocked(unpack, record):
    with pytest.raises(ReleaseBlocked) as caught:
        unpack(RecordDict({"refusal": record}))
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize("more", [ArrayRecord(), ConfigRecord(), MetricRecord({"loss": 0.5})])
@BOTH
def test_a_refusal_stands_alone(unpack, more):
    with pytest.raises(ReleaseBlocked):
        unpack(RecordDict({**pack_refusal(SiteError("no")), "more": more}))
