"""The one door: everything that enters or leaves a site passes here, and nothing else does.

Guarantees:
    - What leaves has exactly the names, shapes and dtypes of the study's `Contract`, is finite,
      carries the study's digest and the code fingerprint, and, where something was trained,
      a receipt that the site's ledger holds. Anything else raises `ReleaseBlocked`.
    - What enters is checked just as strictly, on both sides, before anybody computes with it.
    - A message holds one JSON header and arrays in `.npy` form; nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray
from pydantic import ValidationError

from privacy.errors import ReleaseBlocked, SiteError
from privacy.fingerprint import code_fingerprint
from privacy.ledger import Ledger
from privacy.release import (
    Contract,
    Hello,
    Refusal,
    Release,
    ReleaseHeader,
    Request,
    RequestHeader,
    Tally,
)
from privacy.spec import Spec, one_line

S = TypeVar("S", bound=Spec)

# A .npy file of the dtypes we send is its data and one header of 128 bytes.
NPY_HEADER = 128

# No head that learns comes near these; beyond them sums overflow.
LARGEST_WEIGHT = 1e6
LARGEST_COUNT = 1e12


def pack_hello(hello: Hello) -> RecordDict:
    """A site's answer to the first question."""
    return RecordDict({"header": _header(hello)})


def pack_refusal(error: Exception, *, site: str | None = None) -> RecordDict:
    """A site's no, as a message of its own.

    Flower would send an exception's text, in simulations a whole traceback with it. A SiteError
    leaves with its text, anything else as its class name.
    """
    said = isinstance(error, SiteError)
    reason = str(error)[:2000] if said else "failed; the site's own log says where"
    reason = reason.encode("utf-8", "replace").decode()
    # This runs while an error is handled: it must not raise one, whatever the class is called.
    name = re.sub(r"^[^A-Za-z]+|[^A-Za-z0-9]", "", type(error).__name__)[:63] or "Exception"
    refusal = Refusal(error=name, reason=reason, site=site)
    return RecordDict({"refusal": _header(refusal)})


def _raise_refusal(content: RecordDict) -> None:
    if set(content) == {"refusal"} and set(content.config_records) == {"refusal"}:
        refusal = _parse(content, Refusal, "refusal")
        # Printed on terminals: no escape sequences.
        reason = "".join(char if char.isprintable() else " " for char in refusal.reason)
        error = SiteError(f"{refusal.error}: {reason}")
        error.site = refusal.site
        raise error


def unpack_hello(content: RecordDict) -> Hello:
    """Reads a site's answer.

    Raises:
        SiteError: It is a refusal; the text is the site's.
        ReleaseBlocked: It is anything but a hello.
    """
    _raise_refusal(content)
    _only(content, {"header"})
    return _parse(content, Hello)


def pack_request(request: Request) -> RecordDict:
    """What the coordinator asks of a site."""
    return RecordDict(
        {"header": _header(request.header), "weights": _arrays(dict(request.weights))}
    )


def unpack_request(content: RecordDict) -> Request:
    """Reads what the coordinator asks; shapes are checked later by `check_weights`.

    Raises:
        ReleaseBlocked: It is anything but a request.
    """
    _only(content, {"header", "weights"})
    header = _parse(content, RequestHeader)
    weights = {
        name: _numpy(name, array, shape=array.shape, dtype="float32")
        for name, array in content.array_records["weights"].items()
    }
    return Request(header=header, weights=weights)


def check_weights(weights: Mapping[str, NDArray[np.float32]], contract: Contract) -> None:
    """Checks that weights are what the study trains, and finite.

    Raises:
        ReleaseBlocked: Names the first array that is not.
    """
    if set(weights) != set(contract.parameters):
        raise ReleaseBlocked(
            f"weights must be exactly {sorted(contract.parameters)}, not {sorted(weights)}"
        )
    for name, shape in contract.parameters.items():
        _check_array(name, weights[name], shape=shape, dtype="float32")
        if weights[name].size and np.abs(weights[name]).max() > LARGEST_WEIGHT:
            raise ReleaseBlocked(f"{name}: a weight beyond {LARGEST_WEIGHT:g}")


def pack_release(release: Release, *, contract: Contract, ledger: Ledger) -> RecordDict:
    """Lets a release out of the site.

    Raises:
        ReleaseBlocked: It is not what the contract says, or what was trained was not charged.
    """
    check_release(release, contract)
    if release.header.code != code_fingerprint():
        raise ReleaseBlocked("the release does not name the code that made it")
    if release.update:
        receipt = release.receipt
        if receipt is None or not ledger.holds(receipt):
            raise ReleaseBlocked("an update without a charge in the ledger may not leave")
        header, spend = release.header, receipt.spend
        charged = {"receipt": receipt.id, **spend.model_dump()}
        if any(getattr(header, key) != value for key, value in charged.items()):
            raise ReleaseBlocked("the update's receipt is for another study, round or spend")
    return RecordDict(
        {
            "header": _header(release.header),
            "update": _arrays(dict(release.update)),
            "tallies": _arrays({tally.name: tally.sums for tally in release.tallies}),
        }
    )


def unpack_release(content: RecordDict, *, contract: Contract) -> Release:
    """Reads a release at the coordinator.

    Raises:
        SiteError: It is a refusal; the text is the site's.
        ReleaseBlocked: It is not what the contract says.
    """
    _raise_refusal(content)
    _only(content, {"header", "update", "tallies"})
    header = _parse(content, ReleaseHeader)
    update = {
        name: _numpy(name, array, shape=contract.parameters.get(name), dtype="float32")
        for name, array in content.array_records["update"].items()
    }
    tallies = []
    for name, array in content.array_records["tallies"].items():
        shape, dtype = contract.tallies.get(name, (None, ""))
        sums = _numpy(name, array, shape=shape, dtype=dtype)
        tallies.append(Tally(name, sums, header.patients.get(name, 0)))
    release = Release(header=header, update=update, tallies=tuple(tallies))
    check_release(release, contract)
    return release


def check_release(release: Release, contract: Contract) -> None:
    """Checks a release against the study's contract, the same way on both sides.

    Raises:
        ReleaseBlocked: Names the first thing that differs.
    """
    header = release.header
    if header.study != contract.study:
        raise ReleaseBlocked("the release is for another study")
    charge = (header.receipt, header.noise_multiplier, header.sample_rate, header.steps)
    if release.update:
        check_weights(release.update, contract)
        if None in charge:
            raise ReleaseBlocked("an update must say what it was charged")
    elif charge != (None, None, None, None):
        raise ReleaseBlocked("a charge without an update")
    names = [tally.name for tally in release.tallies]
    if len(set(names)) != len(names) or set(names) != set(header.patients):
        raise ReleaseBlocked("each tally must be named once, with its number of patients")
    for tally in release.tallies:
        if header.patients[tally.name] != tally.patients:
            raise ReleaseBlocked(f"{tally.name}: other patients than the header says")
        if tally.name not in contract.tallies:
            raise ReleaseBlocked("a tally that the study does not ask for")
        shape, dtype = contract.tallies[tally.name]
        _check_array(tally.name, tally.sums, shape=shape, dtype=dtype)
        if (tally.sums < 0).any() or (tally.sums > LARGEST_COUNT).any():
            raise ReleaseBlocked(f"{tally.name}: a count below zero or beyond belief")


def count_bytes(content: RecordDict) -> int:
    """Bytes of a message's records: array data, header text and names."""
    return sum(
        record.count_bytes() + len(name)
        for records in (content.array_records, content.config_records, content.metric_records)
        for name, record in records.items()
    )


def _header(spec: Spec) -> ConfigRecord:
    return ConfigRecord({"json": spec.canonical()})


def _parse(content: RecordDict, kind: type[S], name: str = "header") -> S:
    record = content.config_records[name]
    text = record.get("json")
    if set(record) != {"json"} or not isinstance(text, str):
        raise ReleaseBlocked("the header must be one JSON text")
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise ReleaseBlocked(f"{kind.__name__}: {one_line(error)}") from None


def _only(content: RecordDict, names: set[str]) -> None:
    arrays = names - {"header"}
    if (
        set(content) != names
        or set(content.array_records) != arrays
        or set(content.config_records) != {"header"}
    ):
        raise ReleaseBlocked(f"a message must hold exactly {sorted(names)}")


def _arrays(arrays: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return ArrayRecord(
        {name: Array(np.asarray(value, order="C")) for name, value in arrays.items()}
    )


def _numpy(name: str, array: Array, *, shape: tuple[int, ...] | None, dtype: str) -> NDArray[Any]:
    """Decodes one array whose size was agreed beforehand."""
    if shape is None:
        raise ReleaseBlocked("an array that the study does not ask for")
    if tuple(array.shape) != tuple(shape) or array.dtype != dtype:
        raise ReleaseBlocked(f"{name}: must be {dtype} of shape {tuple(shape)}")
    if min(shape, default=0) < 0:
        raise ReleaseBlocked(f"{name}: a negative length")
    if len(array.data) != math.prod(shape) * np.dtype(dtype).itemsize + NPY_HEADER:
        raise ReleaseBlocked(f"{name}: its data is not one array of shape {tuple(shape)}")
    if array.stype != "numpy.ndarray" or array.data[:NPY_HEADER] != _npy_header(shape, dtype):
        raise ReleaseBlocked(f"{name}: its data is not an array")
    value = np.frombuffer(array.data, dtype, offset=NPY_HEADER).reshape(shape).copy()
    _check_array(name, value, shape=tuple(shape), dtype=dtype)
    return value


def _npy_header(shape: tuple[int, ...], dtype: str) -> bytes:
    """What numpy writes before an array of this shape. Compared rather than parsed: numpy's
    reader takes zip archives, pickles and headers that say petabytes, and a header that is
    free to vary has room to hide something in.
    """
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        made, {"shape": tuple(shape), "fortran_order": False, "descr": np.dtype(dtype).str}
    )
    return made.getvalue()


def _check_array(name: str, value: NDArray[Any], *, shape: tuple[int, ...], dtype: str) -> None:
    if value.shape != tuple(shape) or str(value.dtype) != dtype:
        raise ReleaseBlocked(f"{name}: must be {dtype} of shape {tuple(shape)}")
    if not np.isfinite(value).all():
        raise ReleaseBlocked(f"{name}: holds a value that is not finite")
