"""The one door: everything that enters or leaves a site passes here, and nothing else does.

Guarantees:
    - What leaves has exactly the names, shapes and dtypes of the study's `Contract`, is finite,
      carries the study's digest and the code fingerprint, and, where something was trained,
      a receipt that the site's ledger holds. Anything else raises `ReleaseBlocked`.
    - What enters is checked just as strictly, on both sides, before anybody computes with it.
    - A message holds one JSON header and arrays in `.npy` form; nothing is ever unpickled. Both
      have one form only, so that no message has room for more than it says.
    - Whatever comes, the answer is the message or a `ReleaseBlocked` whose text is short,
      printable and holds no value of what came. Names that the other side chose may be in it.
"""

from __future__ import annotations

import hashlib
import io
import json
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
    Outlet,
    Refusal,
    Release,
    ReleaseHeader,
    Request,
    RequestHeader,
    Tally,
)
from privacy.spec import Spec, one_line, printable
from privacy.weights import LONGEST_NAME, check_array, check_weights

S = TypeVar("S", bound=Spec)

# A .npy file of the dtypes we send is its data and one header of 128 bytes.
NPY_HEADER = 128

# Flower's own limit is a number's 32 bits in each of any number of dimensions.
MOST_DIMENSIONS = 8
MOST_NUMBERS = 2**40

# The longest study with each character escaped; what a site says is short.
LONGEST_HEADER = 8_100_000
LONGEST_ANSWER = 50_000

LONGEST_REASON = 2000

LARGEST_COUNT = 1e12


def pack_hello(hello: Hello) -> RecordDict:
    """A site's answer to the first question."""
    return RecordDict({"header": _header(hello)})


def pack_refusal(error: Exception, *, site: str | None = None) -> RecordDict:
    """A site's no, as a message of its own.

    Flower would send an exception's text, in simulations a whole traceback with it. A SiteError
    leaves with what it says aloud, anything else as its class name.
    """
    failed = "failed; the site's own log says where"
    said = error.aloud if isinstance(error, SiteError) else failed
    reason = said[:LONGEST_REASON].encode("utf-8", "replace").decode()
    # This runs while an error is handled: it must not raise one, whatever the class is called.
    name = re.sub(r"^[^A-Za-z]+|[^A-Za-z0-9]", "", type(error).__name__)[:63] or "Exception"
    refusal = Refusal(error=name, reason=reason, site=site)
    return RecordDict({"refusal": _header(refusal)})


def _raise_refusal(content: RecordDict) -> None:
    if set(content) == {"refusal"} and set(content.config_records) == {"refusal"}:
        refusal = _parse(content, Refusal, "refusal")
        error = SiteError(printable(f"{refusal.error}: {refusal.reason}", LONGEST_REASON))
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
    header = _parse(content, RequestHeader, longest=LONGEST_HEADER)
    weights = {
        name: _numpy(name, array, shape=array.shape, dtype="float32")
        for name, array in content.array_records["weights"].items()
    }
    return Request(header=header, weights=weights)


def pack_release(
    release: Release, *, contract: Contract, ledger: Ledger, outlet: Outlet
) -> RecordDict:
    """Lets a release out of the site.

    Raises:
        ReleaseBlocked: It is not what the contract and the policy say, or what it holds was not
            charged.
    """
    check_release(release, contract)
    if release.header.code != code_fingerprint():
        raise ReleaseBlocked("the release does not name the code that made it")
    if release.update:
        receipt = release.receipt
        if receipt is None or receipt.cohort != "train":
            raise ReleaseBlocked("an update without a charge in the ledger may not leave")
        header, spend = release.header, receipt.spend
        charged = {"receipt": receipt.id, "attempt": receipt.attempt, **spend.model_dump()}
        if any(getattr(header, key) != value for key, value in charged.items()):
            raise ReleaseBlocked("the update's receipt is for another study, round or spend")
    if release.tallies:
        _check_tallies_out(release, outlet=outlet)
    receipts = [r for r in (release.receipt, release.tally_receipt) if r is not None]
    if not ledger.holds(*receipts):
        raise ReleaseBlocked("what has no charge in the ledger may not leave")
    content = RecordDict(
        {
            "header": _header(release.header),
            "update": _arrays(dict(release.update)),
            "tallies": _arrays({tally.name: tally.sums for tally in release.tallies}),
        }
    )
    # A copied model is not validated, and a numpy array may be of a subclass: what was checked
    # above is what leaves only if the coordinator would read it.
    if unpack_release(content, contract=contract).header != release.header:
        raise ReleaseBlocked("the header would not arrive as it is")
    return content


def _check_tallies_out(release: Release, *, outlet: Outlet) -> None:
    receipt, header = release.tally_receipt, release.header
    if receipt is None or receipt.cohort != "heldout":
        raise ReleaseBlocked("tallies without a charge in the ledger may not leave")
    spend = receipt.spend
    # A round is asked for from 0, a charge stands from 1.
    charged = (receipt.id, spend.noise_multiplier, spend.study, spend.round)
    said = (header.tally_receipt, header.tally_noise, header.study, max(header.round, 1))
    if charged != said:
        raise ReleaseBlocked("the tallies' receipt is for another study, round or noise")
    if outlet.metrics != ("noised" if spend.noise_multiplier else "exact"):
        raise ReleaseBlocked(f"policy.metrics is {outlet.metrics}")
    for tally in release.tallies:
        if outlet.metrics == "exact" and tally.patients < outlet.smallest_count:
            raise ReleaseBlocked(f"{tally.name}: fewer patients than policy.smallest_count")


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
    charge = (
        header.receipt,
        header.attempt,
        header.noise_multiplier,
        header.sample_rate,
        header.steps,
    )
    if release.update:
        check_weights(release.update, contract)
        if None in charge:
            raise ReleaseBlocked("an update must say what it was charged")
    elif any(value is not None for value in charge):
        raise ReleaseBlocked("a charge without an update")
    names = [tally.name for tally in release.tallies]
    if len(set(names)) != len(names) or set(names) != set(header.patients):
        raise ReleaseBlocked("each tally must be named once, with its number of patients")
    said = (header.tally_receipt is not None, header.tally_noise is not None)
    if said != (bool(names), bool(names)):
        raise ReleaseBlocked("tallies must say what they were charged, and nothing else may")
    for tally in release.tallies:
        _check_tally(tally, header, contract)


def _check_tally(tally: Tally, header: ReleaseHeader, contract: Contract) -> None:
    if header.patients[tally.name] != tally.patients:
        raise ReleaseBlocked(f"{tally.name}: other patients than the header says")
    if tally.name not in contract.tallies:
        raise ReleaseBlocked("a tally that the study does not ask for")
    noised = tally.name in contract.noised
    if noised is not bool(header.tally_noise):
        raise ReleaseBlocked(f"{tally.name}: not the sort of tally that was charged")
    if noised and tally.patients:
        raise ReleaseBlocked(f"{tally.name}: the number of patients is private")
    shape, dtype = contract.tallies[tally.name]
    check_array(tally.name, tally.sums, shape=shape, dtype=dtype)
    if np.abs(tally.sums).max(initial=0) > LARGEST_COUNT:
        raise ReleaseBlocked(f"{tally.name}: a count beyond belief")
    if not noised and (tally.sums < 0).any():
        raise ReleaseBlocked(f"{tally.name}: a count below zero")


def count_bytes(content: RecordDict) -> int:
    """Bytes of a message's records: array data, header text and names."""
    return sum(
        len(name) + sum(len(key) + len(_bytes(value)) for key, value in record.items())
        for name, record in content.items()
    )


def digest(content: RecordDict) -> str:
    """SHA-256 over a message's records in order of name, in hex: what an audit log keeps of it."""
    made = hashlib.sha256()
    for name in sorted(content):
        record = content[name]
        for key in sorted(record):
            data = _bytes(record[key])
            made.update(json.dumps([name, key, len(data)]).encode())
            made.update(data)
    return made.hexdigest()


def _bytes(value: object) -> bytes:
    """What stands in a record, whatever it is. Flower cannot count the bytes of an empty list."""
    if isinstance(value, Array):
        return value.data
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")


def _header(spec: Spec) -> ConfigRecord:
    return ConfigRecord({"json": spec.canonical()})


def _parse(
    content: RecordDict, kind: type[S], name: str = "header", *, longest: int = LONGEST_ANSWER
) -> S:
    record = content.config_records[name]
    text = record.get("json")
    if set(record) != {"json"} or not isinstance(text, str):
        raise ReleaseBlocked("the header must be one JSON text")
    if len(text) > longest:
        raise ReleaseBlocked(f"{kind.__name__}: longer than {longest:,} characters")
    try:
        found = kind.model_validate_json(text)
    except ValidationError as error:
        raise ReleaseBlocked(f"{kind.__name__}: {one_line(error)}") from None
    if found.canonical() != text:
        raise ReleaseBlocked(f"{kind.__name__}: not in the one form that its JSON has")
    return found


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
    name = printable(name, LONGEST_NAME)
    if len(array.shape) > MOST_DIMENSIONS or any(
        type(length) is not int or not 0 <= length <= MOST_NUMBERS for length in array.shape
    ):
        raise ReleaseBlocked(f"{name}: no array has such a shape")
    if tuple(array.shape) != tuple(shape) or array.dtype != dtype:
        raise ReleaseBlocked(f"{name}: must be {dtype} of shape {tuple(shape)}")
    # numpy multiplies the lengths of an empty array, too.
    if math.prod(max(length, 1) for length in shape) > MOST_NUMBERS:
        raise ReleaseBlocked(f"{name}: no array has such a shape")
    if len(array.data) != math.prod(shape) * np.dtype(dtype).itemsize + NPY_HEADER:
        raise ReleaseBlocked(f"{name}: its data is not one array of shape {tuple(shape)}")
    if array.stype != "numpy.ndarray" or array.data[:NPY_HEADER] != _npy_header(shape, dtype):
        raise ReleaseBlocked(f"{name}: its data is not an array")
    value = np.frombuffer(array.data, dtype, offset=NPY_HEADER).reshape(shape).copy()
    check_array(name, value, shape=tuple(shape), dtype=dtype)
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
