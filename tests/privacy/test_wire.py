"""The one door: exactly these names, types and shapes pass, and nothing else does."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from privacy import errors
from privacy.budget import Budget, Spend
from privacy.errors import BudgetExhausted, ReleaseBlocked, SiteError
from privacy.fingerprint import code_fingerprint
from privacy.ledger import Ledger, Receipt
from privacy.release import (
    Contract,
    Hello,
    Release,
    ReleaseHeader,
    Request,
    RequestHeader,
    Tally,
)
from privacy.wire import (
    check_release,
    check_weights,
    count_bytes,
    pack_hello,
    pack_refusal,
    pack_release,
    pack_request,
    unpack_hello,
    unpack_release,
    unpack_request,
)

PATIENT = "Erika Mustermann"
STUDY, ENCODER, OTHER = ("0" * 63 + digit for digit in "134")
CODE = code_fingerprint()
NO_CEILING = Budget(epsilon=math.inf)

CONTRACT = Contract(
    study=STUDY,
    parameters={"out.bias": (3,), "out.weight": (3, 2)},
    tallies={"heldout/labels": ((2, 3, 4), "int64"), "heldout/ranks": ((4,), "float64")},
)

SPEND = Spend(study=STUDY, round=2, noise_multiplier=1.5, sample_rate=0.25, steps=7)


def update() -> dict[str, np.ndarray]:
    return {
        "out.bias": np.array([1, 2, 3], np.float32),
        "out.weight": np.arange(6, dtype=np.float32).reshape(3, 2) - 2.5,
    }


def tallies() -> tuple[Tally, ...]:
    return (
        Tally("heldout/labels", np.arange(24).reshape(2, 3, 4), 40),
        Tally("heldout/ranks", np.array([0.5, 4, 0.25, 8]), 40),
    )


def header(**changes: Any) -> ReleaseHeader:
    return ReleaseHeader(
        **{
            "study": STUDY,
            "round": 2,
            "site": "st-mary",
            "code": CODE,
            "encoder": ENCODER,
            "declared_patients": 200,
            "patients": {"heldout/labels": 40, "heldout/ranks": 40},
            "receipt": 1,
            "noise_multiplier": 1.5,
            "sample_rate": 0.25,
            "steps": 7,
            **changes,
        }
    )


def release(**changes: Any) -> Release:
    whole = Release(header=header(), update=update(), tallies=tallies(), receipt=Receipt(1, SPEND))
    return dataclasses.replace(whole, **changes)


def evaluation() -> Release:
    uncharged = dict.fromkeys(("receipt", "noise_multiplier", "sample_rate", "steps"))
    return release(header=header(**uncharged), update={}, receipt=None)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory) -> Ledger:
    """Charge 1 is the release's; 2 is of another round, 3 of another study."""
    made = Ledger(tmp_path_factory.mktemp("site") / "ledger.sqlite", dataset="icu")
    for change in ({}, {"round": 3}, {"study": OTHER}):
        made.reserve(SPEND.model_copy(update=change), lifetime=NO_CEILING)
    return made


@pytest.fixture
def packed(ledger) -> RecordDict:
    return pack_release(release(), contract=CONTRACT, ledger=ledger)


def described(content: RecordDict) -> dict[str, Any]:
    """Every name, type and shape in a message."""
    return {
        name: {
            key: (value.dtype, value.shape, value.stype)
            if isinstance(value, Array)
            else type(value).__name__
            for key, value in record.items()
        }
        for name, record in content.items()
    }


def same(a: Release, b: Release) -> bool:
    """Equal as the coordinator sees them."""
    assert a.header == b.header
    assert list(a.update) == list(b.update)
    assert all(a.update[name].tobytes() == b.update[name].tobytes() for name in a.update)
    assert [(t.name, t.patients) for t in a.tallies] == [(t.name, t.patients) for t in b.tallies]
    return all(
        x.sums.dtype == y.sums.dtype and x.sums.tobytes() == y.sums.tobytes()
        for x, y in zip(a.tallies, b.tallies, strict=True)
    )


# Goldens: what leaves, to the letter


def test_golden_release(packed):
    numpy = "numpy.ndarray"
    assert described(packed) == {
        "header": {"json": "str"},
        "update": {"out.bias": ("float32", (3,), numpy), "out.weight": ("float32", (3, 2), numpy)},
        "tallies": {
            "heldout/labels": ("int64", (2, 3, 4), numpy),
            "heldout/ranks": ("float64", (4,), numpy),
        },
    }
    assert packed["header"]["json"] == (
        f'{{"code":"{CODE}","declared_patients":200,"encoder":"{ENCODER}",'
        '"noise_multiplier":1.5,"patients":{"heldout/labels":40,"heldout/ranks":40},'
        '"receipt":1,"round":2,"sample_rate":0.25,"site":"st-mary","steps":7,'
        f'"study":"{STUDY}"}}'
    )


def test_golden_bytes_of_an_array(packed):
    data = packed["update"]["out.bias"].data
    assert data[:8] == b"\x93NUMPY\x01\x00"
    assert data[10:128].rstrip() == b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"
    assert data[128:] == np.array([1, 2, 3], "<f4").tobytes()


def test_golden_evaluation(ledger):
    content = pack_release(evaluation(), contract=CONTRACT, ledger=ledger)
    assert list(content) == ["header", "update", "tallies"]
    assert dict(content["update"]) == {}
    said = json.loads(content["header"]["json"])
    assert {said[key] for key in ("receipt", "noise_multiplier", "sample_rate", "steps")} == {None}


def test_golden_hello():
    hello = Hello(site="st-mary", code=CODE, encoder=ENCODER, declared_patients=200)
    content = pack_hello(hello)
    assert described(content) == {"header": {"json": "str"}}
    assert content["header"]["json"] == (
        f'{{"code":"{CODE}","declared_patients":200,"encoder":"{ENCODER}","site":"st-mary"}}'
    )
    assert unpack_hello(content) == hello


def test_golden_request():
    request = Request(
        header=RequestHeader(study='{"name":"x"}', round=2, code=CODE, encoder=ENCODER),
        weights=update(),
    )
    content = pack_request(request)
    numpy = "numpy.ndarray"
    assert described(content) == {
        "header": {"json": "str"},
        "weights": {"out.bias": ("float32", (3,), numpy), "out.weight": ("float32", (3, 2), numpy)},
    }
    assert content["header"]["json"] == (
        f'{{"code":"{CODE}","encoder":"{ENCODER}","round":2,"study":"{{\\"name\\":\\"x\\"}}"}}'
    )
    found = unpack_request(content)
    assert found.header == request.header
    check_weights(found.weights, CONTRACT)
    assert {name: value.tolist() for name, value in found.weights.items()} == {
        name: value.tolist() for name, value in update().items()
    }


def test_golden_first_question():
    content = pack_request(Request(header=RequestHeader(study="{}", code=CODE)))
    assert described(content) == {"header": {"json": "str"}, "weights": {}}
    assert json.loads(content["header"]["json"])["encoder"] is None
    assert unpack_request(content).weights == {}


@pytest.mark.parametrize(("site", "text"), [("st-mary", '"st-mary"'), (None, "null")])
def test_golden_refusal(site, text):
    content = pack_refusal(BudgetExhausted("lifetime epsilon is 3"), site=site)
    assert described(content) == {"refusal": {"json": "str"}}
    assert content["refusal"]["json"] == (
        f'{{"error":"BudgetExhausted","reason":"lifetime epsilon is 3","site":{text}}}'
    )
    with pytest.raises(SiteError) as caught:
        unpack_hello(content)
    assert caught.value.site == site


# Round trips


def test_a_release_round_trips(packed):
    assert same(unpack_release(packed, contract=CONTRACT), release())


def test_the_receipt_itself_stays_at_the_site(packed):
    assert unpack_release(packed, contract=CONTRACT).receipt is None


def test_an_evaluation_round_trips(ledger):
    content = pack_release(evaluation(), contract=CONTRACT, ledger=ledger)
    assert same(unpack_release(content, contract=CONTRACT), evaluation())


def test_a_site_may_withhold_tallies(ledger):
    silent = release(header=header(patients={}), tallies=())
    content = pack_release(silent, contract=CONTRACT, ledger=ledger)
    assert dict(content["tallies"]) == {}
    assert same(unpack_release(content, contract=CONTRACT), silent)


def test_arrays_that_are_not_contiguous_round_trip(ledger):
    turned = {**update(), "out.weight": np.asfortranarray(update()["out.weight"])}
    content = pack_release(release(update=turned), contract=CONTRACT, ledger=ledger)
    assert same(unpack_release(content, contract=CONTRACT), release())


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3, 4, 5)], ids=str)
def test_every_shape_of_a_contract_round_trips(ledger, shape):
    contract = dataclasses.replace(CONTRACT, parameters={"w": shape})
    sent = release(update={"w": np.full(shape, 0.5, np.float32)})
    content = pack_release(sent, contract=contract, ledger=ledger)
    found = unpack_release(content, contract=contract)
    assert found.update["w"].shape == shape
    assert (found.update["w"] == 0.5).all()


def test_bytes_are_counted(packed):
    arrays = sum(
        len(array.data) for name in ("update", "tallies") for array in packed[name].values()
    )
    assert arrays == 4 * 128 + 4 * 9 + 8 * 28
    names = sum(map(len, ("header", "update", "tallies", "json", *CONTRACT.parameters)))
    names += sum(map(len, CONTRACT.tallies))
    assert count_bytes(packed) == arrays + len(packed["header"]["json"]) + names


# Blocked on the way out


def with_update(**arrays: Any) -> Release:
    named = {name.replace("_", "."): value for name, value in arrays.items()}
    return release(update={**update(), **named})


def without(name: str) -> Release:
    return release(update={key: value for key, value in update().items() if key != name})


def with_labels(sums: np.ndarray) -> Release:
    return release(tallies=(Tally("heldout/labels", sums, 40), tallies()[1]))


def labels() -> np.ndarray:
    return tallies()[0].sums.copy()


def broken(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed.reshape(-1)[-1] = value
    return changed


DEVIATIONS: dict[str, Callable[[], Release]] = {
    "a missing array": lambda: without("out.bias"),
    "an extra array": lambda: with_update(embedding=np.zeros(3, np.float32)),
    "a renamed array": lambda: release(
        update={"bias": update()["out.bias"], "out.weight": update()["out.weight"]}
    ),
    "transposed": lambda: with_update(out_weight=update()["out.weight"].T),
    "flattened": lambda: with_update(out_weight=update()["out.weight"].reshape(-1)),
    "longer": lambda: with_update(out_bias=np.zeros(4, np.float32)),
    "float64": lambda: with_update(out_bias=np.zeros(3)),
    "float16": lambda: with_update(out_bias=np.zeros(3, np.float16)),
    "int32": lambda: with_update(out_bias=np.zeros(3, np.int32)),
    "big-endian": lambda: with_update(out_bias=np.zeros(3, ">f4")),
    "objects": lambda: with_update(out_bias=np.array([PATIENT] * 3, object)),
    "texts": lambda: with_update(out_bias=np.array([PATIENT] * 3)),
    "NaN": lambda: with_update(out_bias=broken(update()["out.bias"], np.nan)),
    "infinity": lambda: with_update(out_weight=broken(update()["out.weight"], np.inf)),
    "minus infinity": lambda: with_update(out_weight=broken(update()["out.weight"], -np.inf)),
    "a negative count": lambda: with_labels(broken(labels(), -1)),
    "a count in float64": lambda: with_labels(labels().astype(np.float64)),
    "a count in int32": lambda: with_labels(labels().astype(np.int32)),
    "a count of another shape": lambda: with_labels(labels()[:, :2]),
    "a sum in int64": lambda: release(
        tallies=(tallies()[0], Tally("heldout/ranks", np.arange(4), 40))
    ),
    "a NaN in a tally": lambda: release(
        tallies=(tallies()[0], Tally("heldout/ranks", np.array([0, 1, np.nan, 2]), 40))
    ),
    "infinity in a tally": lambda: release(
        tallies=(tallies()[0], Tally("heldout/ranks", np.array([0, 1, np.inf, 2]), 40))
    ),
    "a negative sum": lambda: release(
        tallies=(tallies()[0], Tally("heldout/ranks", np.array([0, 1, -0.5, 2]), 40))
    ),
    "a tally not asked for": lambda: release(
        header=header(patients={**header().patients, "train/loss": 40}),
        tallies=(*tallies(), Tally("train/loss", np.zeros(1), 40)),
    ),
    "a tally twice": lambda: release(tallies=(*tallies(), tallies()[0])),
    "a tally without its patients": lambda: release(header=header(patients={"heldout/labels": 40})),
    "patients without their tally": lambda: release(tallies=tallies()[:1]),
    "another study": lambda: release(header=header(study=OTHER)),
    "an update without a charge": lambda: release(
        header=header(receipt=None, noise_multiplier=None, sample_rate=None, steps=None)
    ),
    "an update without its receipt's number": lambda: release(header=header(receipt=None)),
    "an update without its noise": lambda: release(header=header(noise_multiplier=None)),
    "an update without its rate": lambda: release(header=header(sample_rate=None)),
    "an update without its steps": lambda: release(header=header(steps=None)),
    "a charge without an update": lambda: release(update={}),
    "a receipt's number without an update": lambda: dataclasses.replace(
        evaluation(), header=evaluation().header.model_copy(update={"receipt": 1})
    ),
    "noise without an update": lambda: dataclasses.replace(
        evaluation(), header=evaluation().header.model_copy(update={"noise_multiplier": 1.0})
    ),
}


@pytest.mark.parametrize("make", DEVIATIONS.values(), ids=DEVIATIONS)
def test_a_deviation_does_not_leave(ledger, make):
    with pytest.raises(ReleaseBlocked) as caught:
        pack_release(make(), contract=CONTRACT, ledger=ledger)
    assert "Mustermann" not in str(caught.value)


SITE_ONLY: dict[str, Callable[[], Release]] = {
    "no receipt": lambda: release(receipt=None),
    "a receipt that the ledger never wrote": lambda: release(
        header=header(receipt=99), receipt=Receipt(99, SPEND)
    ),
    "a receipt with less noise than was charged": lambda: release(
        header=header(noise_multiplier=0.5),
        receipt=Receipt(1, SPEND.model_copy(update={"noise_multiplier": 0.5})),
    ),
    "a receipt for another round": lambda: release(
        header=header(receipt=2), receipt=Receipt(2, SPEND.model_copy(update={"round": 3}))
    ),
    "a receipt for another study": lambda: release(
        header=header(receipt=3), receipt=Receipt(3, SPEND.model_copy(update={"study": OTHER}))
    ),
    "a header for another round": lambda: release(header=header(round=3)),
    "a header with another receipt's number": lambda: release(header=header(receipt=2)),
    "a header that claims other noise": lambda: release(header=header(noise_multiplier=9.0)),
    "a header that claims another rate": lambda: release(header=header(sample_rate=0.01)),
    "a header that claims other steps": lambda: release(header=header(steps=1)),
    "a header that claims other patients": lambda: release(
        header=header(patients={"heldout/labels": 40, "heldout/ranks": 4000})
    ),
}


@pytest.mark.parametrize("make", SITE_ONLY.values(), ids=SITE_ONLY)
def test_what_the_ledger_does_not_back_does_not_leave(ledger, make):
    with pytest.raises(ReleaseBlocked):
        pack_release(make(), contract=CONTRACT, ledger=ledger)


def test_a_charge_of_the_heldout_backs_no_update(tmp_path):
    own = Ledger(tmp_path / "ledger.sqlite", dataset="icu")
    receipt = own.reserve(SPEND, lifetime=NO_CEILING, cohort="heldout")
    with pytest.raises(ReleaseBlocked):
        pack_release(
            release(header=header(receipt=receipt.id), receipt=receipt),
            contract=CONTRACT,
            ledger=own,
        )


def test_a_charge_of_another_dataset_backs_no_update(ledger):
    with pytest.raises(ReleaseBlocked, match="without a charge in the ledger"):
        pack_release(release(), contract=CONTRACT, ledger=Ledger(ledger.path, dataset="ward"))


# Blocked on the way in


def packed_by_a_liar(lie: Release) -> RecordDict:
    """A release packed by a site that checks nothing."""
    arrays = {tally.name: tally.sums for tally in lie.tallies}
    return RecordDict(
        {
            "header": ConfigRecord({"json": lie.header.canonical()}),
            "update": ArrayRecord({name: Array(value) for name, value in lie.update.items()}),
            "tallies": ArrayRecord({name: Array(value) for name, value in arrays.items()}),
        }
    )


def test_the_liar_packs_what_is_true_as_we_do(packed):
    assert described(packed_by_a_liar(release())) == described(packed)
    assert same(unpack_release(packed_by_a_liar(release()), contract=CONTRACT), release())


# A dict of arrays cannot hold one name twice, and objects cannot be packed at all.
@pytest.mark.parametrize("name", sorted(set(DEVIATIONS) - {"a tally twice", "objects"}))
def test_a_deviation_does_not_enter(name):
    content = packed_by_a_liar(DEVIATIONS[name]())
    with pytest.raises(ReleaseBlocked):
        unpack_release(content, contract=CONTRACT)


def json_with(**changes: Any) -> ConfigRecord:
    return ConfigRecord({"json": json.dumps({**header().model_dump(mode="json"), **changes})})


def swapped(name: str, record: Any) -> Callable[[RecordDict], RecordDict]:
    return lambda content: RecordDict({**content, name: record})


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
    "a refusal beside": swapped("refusal", pack_refusal(SiteError("x"))["refusal"]),
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
    "deep json": swapped("header", ConfigRecord({"json": "[" * 100_000})),
    "an unknown header key": swapped("header", json_with(loss=0.5)),
    "NaN in json": swapped("header", json_with(noise_multiplier=math.nan)),
    "infinite noise": swapped("header", json_with(noise_multiplier=math.inf)),
    "negative noise": swapped("header", json_with(noise_multiplier=-1)),
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
def test_a_mangled_message_does_not_enter(packed, mangle):
    with pytest.raises(ReleaseBlocked) as caught:
        unpack_release(mangle(packed), contract=CONTRACT)
    assert "Mustermann" not in str(caught.value)


def test_an_unknown_header_key_is_named(packed):
    with pytest.raises(ReleaseBlocked, match="ReleaseHeader: loss: no such key"):
        unpack_release(MANGLED["an unknown header key"](packed), contract=CONTRACT)


# Array data that lies


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def npy(text: str, *, data: bytes = b"\0" * 12, version: bytes = b"\x01\x00") -> bytes:
    """A .npy file with any header, padded to 128 bytes as numpy pads it."""
    padded = text.encode("latin1").ljust(117)[:117] + b"\n"
    return b"\x93NUMPY" + version + len(padded).to_bytes(2, "little") + padded + data


def npy_header(descr: str = "'<f4'", shape: str = "(3,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def archive(size: int) -> bytes:
    """A zip file of exactly that size, which numpy would open."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.comment = b"x" * (size - 22)
    return made.getvalue()


TRUE = npy(npy_header())

LIES: dict[str, bytes] = {
    "nothing": b"",
    "one byte less": TRUE[:-1],
    "one byte more": TRUE + b"x",
    "a name behind the data": TRUE + PATIENT.encode(),
    "another shape": npy(npy_header(shape="(1, 3)")),
    "fewer numbers": npy(npy_header(shape="(2,)")),
    "more numbers": npy(npy_header(shape="(4,)")),
    "petabytes": npy(npy_header(shape="(1000000000000000,)")),
    "more than fits an integer": npy(npy_header(shape=f"({10**30},)")),
    "a negative shape": npy(npy_header(shape="(-3,)")),
    "another dtype": npy(npy_header("'<i4'")),
    "the other byte order": npy(npy_header("'>f4'")),
    "an object dtype": npy(npy_header("'|O'"), data=pickle.dumps([1, 2]).ljust(12)[:12]),
    "a record dtype": npy(npy_header("[('a', '<f4', (3,))]", "(1,)")),
    "a dtype in a tuple": npy(npy_header("('<f4',)")),
    "an unknown dtype": npy(npy_header("'spam'")),
    "Python 2 integers": npy(npy_header(shape="(3L,)")),
    "an open bracket": npy(npy_header(shape="(3,")),
    "open text": npy("'''"),
    "indentation": npy("  1\n 2"),
    "brackets": npy("(" * 117),
    "an expression": npy("__import__('os')"),
    "spaces": npy(""),
    "unknown version": npy(npy_header(), version=b"\x09\x00"),
    "no magic": b"\0" * 140,
    "an archive's magic": b"PK\x03\x04".ljust(140, b"\0"),
    "an archive": archive(140),
    "a pickle": pickle.dumps([1.0, 2.0, 3.0]).ljust(140, b"."),
}


def lying(data: bytes, *, stype: str = "numpy.ndarray") -> Array:
    return Array(dtype="float32", shape=(3,), stype=stype, data=data)


def test_the_true_array_enters(packed):
    packed["update"]["out.bias"] = lying(TRUE)
    assert unpack_release(packed, contract=CONTRACT).update["out.bias"].tolist() == [0, 0, 0]


# numpy warns where it repairs a header of Python 2, and hints at integers out of range.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
def test_data_that_is_not_the_array_does_not_enter_a_release(packed, data):
    packed["update"]["out.bias"] = lying(data)
    with pytest.raises(ReleaseBlocked, match=r"out\.bias"):
        unpack_release(packed, contract=CONTRACT)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
def test_data_that_is_not_the_array_does_not_enter_a_request(data):
    content = pack_request(Request(header=RequestHeader(study="{}", code=CODE), weights=update()))
    content["weights"]["out.bias"] = lying(data)
    with pytest.raises(ReleaseBlocked, match=r"out\.bias"):
        unpack_request(content)


@pytest.mark.parametrize("pad", [False, True], ids=["whole", "of the right size"])
def test_a_pickle_is_never_run(packed, tmp_path, pad):
    bomb = tmp_path / "went-off"
    pickled = pickle.dumps(Bomb(bomb))
    pickle.loads(pickled)  # noqa: S301 - that it would go off is the point
    assert bomb.exists()
    bomb.unlink()
    contract = dataclasses.replace(CONTRACT, parameters={"w": (len(pickled) // 4 + 1,)})
    size = 128 + 4 * contract.parameters["w"][0]
    data = pickled.ljust(size, b"\0") if pad else pickled
    array = Array("float32", contract.parameters["w"], "numpy.ndarray", data)
    objects = npy(npy_header("'|O'", str(contract.parameters["w"])), data=data[: size - 128])
    for lie in (array, dataclasses.replace(array, data=objects)):
        content = RecordDict({**packed, "update": ArrayRecord({"w": lie})})
        with pytest.raises(ReleaseBlocked):
            unpack_release(content, contract=contract)
        request = pack_request(Request(header=RequestHeader(study="{}", code=CODE)))
        request["weights"]["w"] = lie
        with pytest.raises(ReleaseBlocked):
            unpack_request(request)
    assert not bomb.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"},
        {"dtype": "<f4"},
        {"dtype": "object"},
        {"dtype": ""},
        {"shape": ()},
        {"shape": (4,)},
        {"shape": (1, 3)},
        {"shape": (-3,)},
        {"shape": (10**30,)},
        {"stype": "torch.Tensor"},
        {"stype": ""},
    ],
    ids=str,
)
def test_an_array_that_calls_itself_something_else_does_not_enter(packed, change):
    array = dataclasses.replace(lying(TRUE), **change)
    packed["update"]["out.bias"] = array
    with pytest.raises(ReleaseBlocked):
        unpack_release(packed, contract=CONTRACT)
    content = pack_request(Request(header=RequestHeader(study="{}", code=CODE), weights=update()))
    content["weights"]["out.bias"] = array
    with pytest.raises(ReleaseBlocked):
        unpack_request(content)


def test_an_array_of_a_tally_that_lies_does_not_enter(packed):
    packed["tallies"]["heldout/ranks"] = Array(
        "float64", (4,), "numpy.ndarray", npy(npy_header("'<f8'", "(2, 2)"), data=b"\0" * 32)
    )
    with pytest.raises(ReleaseBlocked, match="heldout/ranks"):
        unpack_release(packed, contract=CONTRACT)


# Fuzz

NAMES = st.one_of(st.sampled_from([*CONTRACT.parameters, *CONTRACT.tallies]), st.text(max_size=8))
DATA = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(list(LIES.values())),
    st.binary(max_size=117).map(lambda text: npy(text.decode("latin1"))),
    st.text("{}()[]'\",: \n\\#<f40123descrshapefortran_orderTrueFalse", max_size=117).map(npy),
)
ARRAYS = st.one_of(
    st.builds(lying, DATA),
    st.builds(
        Array,
        dtype=st.sampled_from(["float32", "int64", "float64", "object"]) | st.text(max_size=4),
        shape=st.lists(st.integers(-2, 2**40), max_size=3).map(tuple)
        | st.sampled_from([(3,), (3, 2), (4,), (2, 3, 4)]),
        stype=st.sampled_from(["numpy.ndarray", "pickle"]),
        data=DATA,
    ),
)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning")
@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(
    where=st.sampled_from(["update", "tallies"]),
    arrays=st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=3),
    extra=st.booleans(),
)
def test_random_arrays_never_enter_and_never_break_the_door(where, arrays, extra):
    content = packed_by_a_liar(release())
    content[where] = ArrayRecord({**(content[where] if extra else {}), **arrays})
    with pytest.raises(SiteError):
        unpack_release(content, contract=CONTRACT)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    key=st.sampled_from(sorted(ReleaseHeader.model_fields)),
    value=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=4,
    ),
)
def test_a_random_header_breaks_nothing(key, value):
    content = packed_by_a_liar(release())
    content["header"] = json_with(**{key: value})
    try:
        found = unpack_release(content, contract=CONTRACT)
    except SiteError:
        return
    # The few that pass are headers that a site could have meant.
    assert found.header == header(**{key: value})
    check_release(found, CONTRACT)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=60))
def test_random_text_for_a_header_never_enters(text):
    content = packed_by_a_liar(release())
    content["header"] = ConfigRecord({"json": text})
    with pytest.raises(ReleaseBlocked):
        unpack_release(content, contract=CONTRACT)


# Weights


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"out.bias": update()["out.bias"]},
        {**update(), "more": np.zeros(1, np.float32)},
        {**update(), "out.bias": np.zeros(2, np.float32)},
        {**update(), "out.bias": np.zeros(3)},
        {**update(), "out.bias": np.array([0, 0, np.nan], np.float32)},
    ],
    ids=["none", "missing", "extra", "shape", "float64", "NaN"],
)
def test_weights_that_the_study_does_not_train_are_blocked(weights):
    with pytest.raises(ReleaseBlocked):
        check_weights(weights, CONTRACT)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_a_request_with_weights_that_are_not_finite_is_blocked(value):
    wrong = {**update(), "out.bias": broken(update()["out.bias"], value)}
    content = pack_request(Request(header=RequestHeader(study="{}", code=CODE), weights=wrong))
    with pytest.raises(ReleaseBlocked, match=r"out\.bias: holds a value that is not finite"):
        unpack_request(content)


@pytest.mark.parametrize(
    "mangle",
    [
        swapped("more", ConfigRecord({"x": 1})),
        swapped("weights", MetricRecord({"x": 1})),
        swapped("header", ConfigRecord({"json": '{"study":"{}","code":"x"}'})),
        swapped("header", ConfigRecord({"json": f'{{"study":"{{}}","code":"{CODE}","lr":1}}'})),
        lambda content: RecordDict({"header": content["header"]}),
    ],
    ids=["extra record", "metrics", "no digest", "unknown key", "no weights"],
)
def test_a_mangled_request_does_not_enter(mangle):
    content = pack_request(Request(header=RequestHeader(study="{}", code=CODE), weights=update()))
    with pytest.raises(ReleaseBlocked):
        unpack_request(mangle(content))


def test_a_mangled_hello_does_not_enter():
    content = pack_hello(Hello(site="a", code=CODE, encoder=ENCODER, declared_patients=1))
    for wrong in (
        RecordDict({**content, "weights": ArrayRecord()}),
        RecordDict({"header": ConfigRecord({"json": "{}"})}),
        RecordDict({"header": MetricRecord({"patients": 17})}),
        RecordDict(),
    ):
        with pytest.raises(ReleaseBlocked):
            unpack_hello(wrong)


# Refusals


def said(content: RecordDict) -> tuple[str, str]:
    found = json.loads(content["refusal"]["json"])
    return found["error"], found["reason"]


EVERY_SITE_ERROR = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, SiteError)
]


@pytest.mark.parametrize("error", EVERY_SITE_ERROR)
def test_the_text_of_a_site_error_leaves(error):
    assert said(pack_refusal(error("ask for less"))) == (error.__name__, "ask for less")


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
    error = raised(SiteError("ask for less"), cause=ValueError(PATIENT))
    error.add_note(PATIENT)
    assert said(pack_refusal(error)) == ("SiteError", "ask for less")


AWKWARD = {
    "an underscore in front": type("_ArrayMemoryError", (MemoryError,), {}),  # as numpy has it
    "an underscore within": type("Bad_Gateway", (Exception,), {}),
    "not ASCII": type("Überlauf", (Exception,), {}),
    "far too long": type("E" * 200, (Exception,), {}),
}


@pytest.mark.parametrize("kind", AWKWARD.values(), ids=AWKWARD)
def test_an_exception_of_any_name_can_be_refused_with(kind):
    content = pack_refusal(kind(PATIENT))
    assert "Mustermann" not in str(content)
    with pytest.raises(SiteError, match="the site's own log says where") as caught:
        unpack_release(content, contract=CONTRACT)
    assert type(caught.value) is SiteError


@pytest.mark.parametrize("text", ["", "ü\n\x00", "x" * 5000, "\ud800"], ids=ascii)
def test_any_text_of_a_site_error_arrives(text):
    content = pack_refusal(SiteError(text))
    assert len(said(content)[1]) <= 2000
    with pytest.raises(SiteError, match=r"^SiteError: ") as caught:
        unpack_hello(content)
    assert type(caught.value) is SiteError


@pytest.mark.parametrize(
    "unpack", [unpack_hello, lambda content: unpack_release(content, contract=CONTRACT)]
)
def test_a_refusal_reaches_the_coordinator_as_the_sites_words(unpack):
    with pytest.raises(SiteError, match=r"^BudgetExhausted: lifetime epsilon is 3$") as caught:
        unpack(pack_refusal(BudgetExhausted("lifetime epsilon is 3")))
    assert not isinstance(caught.value, ReleaseBlocked)


@pytest.mark.parametrize(
    "record",
    [
        ConfigRecord({"json": '{"error":"X","reason":"y","note":"z"}'}),
        ConfigRecord({"json": '{"error":"X","reason":"y"}', "note": "z"}),
        ConfigRecord({"json": '{"error":"X y","reason":"z"}'}),
        ConfigRecord({"json": '{"error":"X","reason":"y","site":"a b"}'}),
        ConfigRecord({"json": json.dumps({"error": "X", "reason": "y" * 2001})}),
        MetricRecord({"json": 1}),
        ArrayRecord(),
    ],
    ids=[
        "extra key",
        "extra config key",
        "no class name",
        "no site name",
        "too long",
        "metrics",
        "arrays",
    ],
)
def test_a_mangled_refusal_is_blocked(record):
    content = RecordDict({"refusal": record})
    with pytest.raises(ReleaseBlocked):
        unpack_release(content, contract=CONTRACT)
    with pytest.raises(ReleaseBlocked):
        unpack_hello(content)


@pytest.mark.parametrize("more", [ArrayRecord(), ConfigRecord(), MetricRecord({"loss": 0.5})])
def test_a_refusal_stands_alone(more):
    content = RecordDict({**pack_refusal(SiteError("no")), "more": more})
    with pytest.raises(ReleaseBlocked):
        unpack_release(content, contract=CONTRACT)
    with pytest.raises(ReleaseBlocked):
        unpack_hello(content)


def test_unpacking_leaves_the_message_as_it_was(packed):
    before = copy.deepcopy(described(packed)), packed["header"]["json"]
    unpack_release(packed, contract=CONTRACT)
    assert (described(packed), packed["header"]["json"]) == before
