"""What enters is one message of the agreed form, on both sides, or it is refused."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from wire_builders import (
    CODE,
    CONTRACT,
    ENCODER,
    PATIENT,
    STUDY,
    TRUE,
    broken,
    canonical,
    header,
    hello,
    json_with,
    lying,
    refusal,
    request,
    swapped,
    update,
)

from privacy.errors import ReleaseBlocked
from privacy.release import Request, RequestHeader
from privacy.wire import (
    pack_hello,
    pack_request,
    unpack_hello,
    unpack_release,
    unpack_request,
)

MANGLED: dict[str, Callable[[RecordDict], RecordDict]] = {
    "an extra array record": swapped("more", ArrayRecord()),
    "an extra config record": swapped("more", ConfigRecord({"x": 1})),
    "an extra metric record": swapped("more", MetricRecord({"loss": 0.5})),
    "no header": lambda content: RecordDict({k: content[k] for k in ("update", "tallies")}),
    "no update": lambda content: RecordDict({k: content[k] for k in ("header", "tallies")}),
    "no tallies": lambda content: RecordDict({k: content[k] for k in ("header", "update")}),
    "nothing": lambda _: RecordDict(),
    "the update as metrics": swapped("update", MetricRecord({"out.bias": [1.0, 2.0, 3.0]})),
    "the update as config": swapped("update", ConfigRecord({"out.bias": [1.0, 2.0, 3.0]})),
    "the header as arrays": swapped("header", ArrayRecord()),
    "a refusal beside": swapped("refusal", refusal()["refusal"]),
    "an extra config key": lambda content: RecordDict(
        {**content, "header": ConfigRecord({**content["header"], "loss": 0.5})}
    ),
    "no json": swapped("header", ConfigRecord({})),
    "json under another key": swapped("header", ConfigRecord({"yaml": header().canonical()})),
    "json in bytes": swapped("header", ConfigRecord({"json": header().canonical().encode()})),
    "json in a list": swapped("header", ConfigRecord({"json": [header().canonical()]})),
    "a number for json": swapped("header", ConfigRecord({"json": 1})),
    "not json": swapped("header", ConfigRecord({"json": PATIENT})),
    "empty json": swapped("header", ConfigRecord({"json": ""})),
    "a json list": swapped("header", ConfigRecord({"json": f'["{PATIENT}"]'})),
    "deep json": swapped("header", ConfigRecord({"json": "[" * 40_000})),
    "long json": swapped("header", ConfigRecord({"json": " " * 10_000_000})),
    "an unknown header key": swapped("header", json_with(loss=0.5)),
    "NaN in json": swapped("header", json_with(noise_multiplier=math.nan)),
    "a rate of NaN": swapped("header", json_with(sample_rate=math.nan)),
    "infinite noise": swapped("header", json_with(noise_multiplier=math.inf)),
    "negative noise": swapped("header", json_with(noise_multiplier=-1)),
    "infinite noise of tallies": swapped("header", json_with(tally_noise=math.inf)),
    "negative noise of tallies": swapped("header", json_with(tally_noise=-1.0)),
    "tally receipt zero": swapped("header", json_with(tally_receipt=0)),
    "a receipt beyond any ledger": swapped("header", json_with(receipt=2**63)),
    "steps beyond any study": swapped("header", json_with(steps=10**40)),
    "negative patients": swapped(
        "header", json_with(patients={**header().patients, "heldout/labels": -1})
    ),
    "a site name with a space": swapped("header", json_with(site=PATIENT)),
    "a site name with a slash": swapped("header", json_with(site="../x")),
    "a site name with a newline": swapped("header", json_with(site="a\n")),
    "an empty site name": swapped("header", json_with(site="")),
    "a long site name": swapped("header", json_with(site="a" * 64)),
    "a study that is no digest": swapped("header", json_with(study="x")),
    "code that is no digest": swapped("header", json_with(code=PATIENT)),
    "no declared patients": swapped("header", json_with(declared_patients=0)),
    "a rate above one": swapped("header", json_with(sample_rate=1.5)),
    "receipt zero": swapped("header", json_with(receipt=0)),
    "a negative round": swapped("header", json_with(round=-1)),
}


@pytest.mark.parametrize("mangle", MANGLED.values(), ids=MANGLED)
def test_a_mangled_release_does_not_enter(packed, mangle):
    with pytest.raises(ReleaseBlocked) as caught:
        unpack_release(mangle(packed), contract=CONTRACT)
    assert "Mustermann" not in str(caught.value)


def test_an_unknown_header_key_is_named(packed):
    with pytest.raises(ReleaseBlocked, match="ReleaseHeader: loss: no such key"):
        unpack_release(MANGLED["an unknown header key"](packed), contract=CONTRACT)


TEXT = header().canonical()

# Each is the same header to a lenient reader, so each could say more than it seems to.
LENIENT = {
    "spaces": json.dumps(json.loads(TEXT), sort_keys=True),
    "a space behind": TEXT + " ",
    "a newline before": "\n" + TEXT,
    "another order of keys": canonical(dict(reversed(json.loads(TEXT).items())))
    .replace('"round":2,', "")
    .replace("{", '{"round":2,', 1),
    "a key twice": TEXT.replace('"round":2', '"round":1,"round":2'),
    "a name twice, first as a secret": TEXT.replace('"site":', f'"site":"{PATIENT}","site":'),
    "a number as text": TEXT.replace('"round":2', '"round":"2"'),
    "a number as a decimal": TEXT.replace('"round":2', '"round":2.0'),
    "a decimal as a number": TEXT.replace('"tally_noise":0.0', '"tally_noise":0'),
    "more digits": TEXT.replace('"noise_multiplier":1.5', '"noise_multiplier":1.500'),
    "an exponent": TEXT.replace('"noise_multiplier":1.5', '"noise_multiplier":15e-1'),
    "true for one": TEXT.replace('"receipt":1,', '"receipt":true,'),
    "escapes": TEXT.replace("st-mary", "st-m\\u0061ry"),
    "a default left out": canonical(
        {k: v for k, v in json.loads(header(tally_noise=None).canonical()).items() if v is not None}
    ),
}


@pytest.mark.parametrize("text", LENIENT.values(), ids=LENIENT)
def test_a_header_has_one_form_only(packed, text):
    content = swapped("header", ConfigRecord({"json": text}))(packed)
    with pytest.raises(ReleaseBlocked, match="not in the one form that its JSON has"):
        unpack_release(content, contract=CONTRACT)


def test_of_many_wrong_keys_some_are_told(packed):
    many = json_with(**{f"{'k' * 90}{number}": 1 for number in range(90)})
    with pytest.raises(ReleaseBlocked, match=r"k0: no such key; .*\.\.\.$") as caught:
        unpack_release(swapped("header", many)(packed), contract=CONTRACT)
    assert 1000 < len(str(caught.value)) < 2000


def test_a_header_beyond_all_length_is_not_even_read(packed):
    answer = ConfigRecord({"json": " " * 60_000})
    with pytest.raises(ReleaseBlocked, match="ReleaseHeader: longer than 50,000 characters"):
        unpack_release(swapped("header", answer)(packed), contract=CONTRACT)
    question = ConfigRecord({"json": " " * 9_000_000})
    with pytest.raises(ReleaseBlocked, match="RequestHeader: longer than 8,100,000 characters"):
        unpack_request(swapped("header", question)(pack_request(request())))


def test_a_key_as_long_as_a_book_or_full_of_escapes_is_told_in_brief(packed):
    for key in ("k" * 40_000, "\x1b[2J\n\u202e" * 50, "\ud800"):
        with pytest.raises(ReleaseBlocked, match=r"no such key|Invalid JSON") as caught:
            unpack_release(swapped("header", json_with(**{key: 1}))(packed), contract=CONTRACT)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300


# Requests


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_request_with_weights_that_are_not_finite_is_blocked(value):
    wrong = {**update(), "out.bias": broken(update()["out.bias"], value)}
    content = pack_request(Request(header=request().header, weights=wrong))
    with pytest.raises(ReleaseBlocked, match=r"out\.bias: holds a value that is not finite"):
        unpack_request(content)


@pytest.mark.parametrize(
    "mangle",
    [
        swapped("more", ConfigRecord({"x": 1})),
        swapped("weights", MetricRecord({"x": 1})),
        swapped("header", ConfigRecord({"json": '{"study":"{}","code":"x"}'})),
        swapped("header", json_with(request().header, lr=1)),
        swapped("header", json_with(request().header, round=10**6 + 1)),
        swapped("header", json_with(request().header, study="x" * 4_000_001)),
        swapped("header", ConfigRecord({"json": f'{{"code":"{CODE}","study":"{{}}"}}'})),
        lambda content: RecordDict({"header": content["header"]}),
    ],
    ids=[
        "extra record",
        "metrics",
        "no digest",
        "unknown key",
        "a round too many",
        "a study too long",
        "defaults left out",
        "no weights",
    ],
)
def test_a_mangled_request_does_not_enter(mangle):
    with pytest.raises(ReleaseBlocked) as caught:
        unpack_request(mangle(pack_request(request())))
    assert len(str(caught.value)) < 300


def test_the_longest_study_enters():
    text = '"\\' * 2_000_000  # each character escaped
    header_ = RequestHeader(study=text, code=CODE, encoder=ENCODER)
    assert unpack_request(pack_request(Request(header_))).header.study == text


def test_names_of_weights_are_told_in_brief():
    content = pack_request(request())
    for name in ("../../etc/passwd", "w" * 100_000, "\x1b[2J\n", "\ud800", ""):
        content["weights"][name] = lying(TRUE[:-1])
        with pytest.raises(ReleaseBlocked) as caught:
            unpack_request(content)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 300
        del content["weights"][name]


def test_many_wrong_keys_are_counted_and_not_listed():
    """A coordinator that sends a million of them does not get a minute of the site's time."""
    text = json.dumps({"study": "{}", "code": CODE, **{f"k{n}": 1 for n in range(400_000)}})
    content = RecordDict({"header": ConfigRecord({"json": text}), "weights": ArrayRecord()})
    began = time.process_time()
    with pytest.raises(ReleaseBlocked, match="keys do not fit"):
        unpack_request(content)
    assert time.process_time() - began < 5


# Hellos


def test_a_mangled_hello_does_not_enter():
    content = pack_hello(hello())
    for wrong in (
        RecordDict({**content, "weights": ArrayRecord()}),
        RecordDict({"header": ConfigRecord({"json": "{}"})}),
        RecordDict({"header": ConfigRecord({"json": hello().canonical() + " "})}),
        RecordDict({"header": json_with(hello(), declared_patients=0)}),
        RecordDict({"header": json_with(hello(), site=PATIENT)}),
        RecordDict({"header": json_with(hello(), patients=17)}),
        RecordDict({"header": MetricRecord({"patients": 17})}),
        RecordDict(),
    ):
        with pytest.raises(ReleaseBlocked) as caught:
            unpack_hello(wrong)
        assert "Mustermann" not in str(caught.value)


def test_a_message_of_another_sort_does_not_enter(packed):
    """Each of the four is taken for itself alone."""
    content = {"hello": pack_hello(hello()), "request": pack_request(request()), "release": packed}
    for name, message in content.items():
        for other, unpack in {
            "hello": unpack_hello,
            "request": unpack_request,
            "release": lambda came: unpack_release(came, contract=CONTRACT),
        }.items():
            if name == other:
                assert unpack(message)
            else:
                with pytest.raises(ReleaseBlocked):
                    unpack(message)
    assert STUDY not in content["hello"]["header"]["json"]
