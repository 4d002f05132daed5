"""Small messages that the tests of the one door are built from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from privacy.budget import Budget, Spend
from privacy.fingerprint import code_fingerprint
from privacy.ledger import Ledger, Receipt
from privacy.release import (
    Contract,
    Hello,
    Outlet,
    Refusal,
    Release,
    ReleaseHeader,
    Request,
    RequestHeader,
    Tally,
)
from privacy.spec import Spec
from privacy.wire import pack_release

PATIENT = "Erika Mustermann"
STUDY, ENCODER, OTHER = ("0" * 63 + digit for digit in "134")
CODE = code_fingerprint()
NO_CEILING = Budget(epsilon=math.inf)

LABELS, RANKS, NOISED = "heldout/labels", "heldout/ranks", "heldout/noised-ranks"
CONTRACT = Contract(
    study=STUDY,
    parameters={"out.bias": (3,), "out.weight": (3, 2)},
    tallies={
        LABELS: ((2, 3, 4), "int64"),
        RANKS: ((4,), "float64"),
        NOISED: ((4,), "float64"),
    },
    noised=frozenset({NOISED}),
)

SPEND = Spend(study=STUDY, round=2, noise_multiplier=1.5, sample_rate=0.25, steps=7)
EXACT = Spend(study=STUDY, round=2, noise_multiplier=0, sample_rate=1, steps=1)
NOISY = EXACT.model_copy(update={"noise_multiplier": 20.0})

# In the order of `charged`, so that each is the ledger's entry of its number.
TRAINED, COUNTED, ADDED_NOISE = (
    Receipt(1, SPEND),
    Receipt(2, EXACT, "heldout"),
    Receipt(3, NOISY, "heldout", attempt=2),
)

OPEN = Outlet("exact", smallest_count=0)


def charged(folder: Path) -> Ledger:
    """A ledger with `TRAINED`, `COUNTED` and `ADDED_NOISE`."""
    made = Ledger(folder / "ledger.sqlite", dataset="icu", mark=folder / "mark.sqlite")
    for receipt in (TRAINED, COUNTED, ADDED_NOISE):
        assert made.reserve(receipt.spend, lifetime=NO_CEILING, cohort=receipt.cohort) == receipt
    return made


def update() -> dict[str, np.ndarray]:
    return {
        "out.bias": np.array([1, 2, 3], np.float32),
        "out.weight": np.arange(6, dtype=np.float32).reshape(3, 2) - 2.5,
    }


def labels() -> np.ndarray:
    return np.arange(24).reshape(2, 3, 4)


def tallies() -> tuple[Tally, ...]:
    return (
        Tally(LABELS, labels(), 40),
        Tally(RANKS, np.array([0.5, 4, 0.25, 8]), 40),
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
            "patients": {LABELS: 40, RANKS: 40},
            "receipt": 1,
            "noise_multiplier": 1.5,
            "sample_rate": 0.25,
            "steps": 7,
            "attempt": 1,
            "tally_receipt": 2,
            "tally_noise": 0.0,
            **changes,
        }
    )


def release(**changes: Any) -> Release:
    """An update with exact tallies."""
    whole = Release(
        header=header(),
        update=update(),
        tallies=tallies(),
        receipt=TRAINED,
        tally_receipt=COUNTED,
    )
    return dataclasses.replace(whole, **changes)


UNCHARGED = dict.fromkeys(("receipt", "attempt", "noise_multiplier", "sample_rate", "steps"))
UNTALLIED: dict[str, Any] = {"patients": {}, "tally_receipt": None, "tally_noise": None}


def evaluation(**changes: Any) -> Release:
    """Exact tallies alone."""
    return release(header=header(**UNCHARGED, **changes), update={}, receipt=None)


def noised(sums: np.ndarray | None = None, *, patients: int = 0, **changes: Any) -> Release:
    """Noised tallies alone."""
    said = {"patients": {NOISED: patients}, "tally_receipt": 3, "tally_noise": 20.0, **changes}
    value = np.array([-0.5, 4, -3.25, 8]) if sums is None else sums
    return release(
        header=header(**UNCHARGED, **said),
        update={},
        receipt=None,
        tallies=(Tally(NOISED, value, patients),),
        tally_receipt=ADDED_NOISE,
    )


def silent() -> Release:
    """An update whose site withholds tallies."""
    return release(header=header(**UNTALLIED), tallies=(), tally_receipt=None)


def request(**changes: Any) -> Request:
    said = {"study": '{"name":"x"}', "round": 2, "code": CODE, "encoder": ENCODER, **changes}
    return Request(header=RequestHeader(**said), weights=update())


def hello() -> Hello:
    return Hello(site="st-mary", code=CODE, encoder=ENCODER, declared_patients=200)


def packed_by(ledger: Ledger, sent: Release, contract: Contract = CONTRACT) -> RecordDict:
    """A release that its site lets out, whatever sort of tally it has."""
    outlet = Outlet("noised") if sent.header.tally_noise else OPEN
    return pack_release(sent, contract=contract, ledger=ledger, outlet=outlet)


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


def canonical(value: object) -> str:
    """The one JSON text of a header."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def json_with(spec: Spec | None = None, **changes: Any) -> ConfigRecord:
    """A header with other values, written as ours are."""
    table = (spec or header()).model_dump(mode="json")
    return ConfigRecord({"json": canonical({**table, **changes})})


def swapped(name: str, record: Any) -> Callable[[RecordDict], RecordDict]:
    return lambda content: RecordDict({**content, name: record})


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


def broken(array: np.ndarray, value: float) -> np.ndarray:
    """The array with another last number."""
    changed = array.copy()
    changed.reshape(-1)[-1] = value
    return changed


# Array data, true and lying


def npy(text: str, *, data: bytes = b"\0" * 12, version: bytes = b"\x01\x00") -> bytes:
    """A .npy file with any header, padded to 128 bytes as numpy pads it."""
    padded = text.encode("latin1").ljust(117)[:117] + b"\n"
    return b"\x93NUMPY" + version + len(padded).to_bytes(2, "little") + padded + data


def npy_header(descr: str = "'<f4'", shape: str = "(3,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


TRUE = npy(npy_header())


def lying(data: bytes, *, stype: str = "numpy.ndarray") -> Array:
    """Says that it is `out.bias`."""
    return Array(dtype="float32", shape=(3,), stype=stype, data=data)


def refusal(**changes: Any) -> RecordDict:
    said = {"error": "StudyRefused", "reason": "ask for less", "site": "st-mary", **changes}
    return RecordDict({"refusal": ConfigRecord({"json": Refusal(**said).canonical()})})


def items(content: RecordDict) -> Mapping[str, Mapping[str, Any]]:
    """What a message is, to the byte."""
    return {
        name: {
            key: (value.dtype, tuple(value.shape), value.stype, value.data)
            if isinstance(value, Array)
            else value
            for key, value in record.items()
        }
        for name, record in content.items()
    }
