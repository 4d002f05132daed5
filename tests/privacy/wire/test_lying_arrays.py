"""An array is exactly what its metadata and the study say; its data is never parsed or run."""

from __future__ import annotations

import dataclasses
import io
import pickle
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from flwr.app import Array, ArrayRecord, RecordDict
from wire_builders import (
    CONTRACT,
    PATIENT,
    TRUE,
    lying,
    npy,
    npy_header,
    packed_by_a_liar,
    release,
    request,
)

from privacy import wire
from privacy.errors import ReleaseBlocked
from privacy.wire import pack_request, unpack_release, unpack_request


def into_release(array: Array) -> None:
    content = packed_by_a_liar(release())
    content["update"]["out.bias"] = array
    unpack_release(content, contract=CONTRACT)


def into_request(array: Array) -> None:
    content = pack_request(request())
    content["weights"]["out.bias"] = array
    unpack_request(content)


BOTH = pytest.mark.parametrize("into", [into_release, into_request])
Into = Callable[[Array], None]


def archive(size: int) -> bytes:
    """A zip file of exactly that size, which numpy would open."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.comment = b"x" * (size - 22)
    return made.getvalue()


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
    "Fortran's order": npy(npy_header().replace("False", "True")),
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
    "a name in the padding": npy(npy_header().ljust(60) + PATIENT),
    "unknown version": npy(npy_header(), version=b"\x09\x00"),
    "no magic": b"\0" * 140,
    "an archive's magic": b"PK\x03\x04".ljust(140, b"\0"),
    "an archive": archive(140),
    "a pickle": pickle.dumps([1.0, 2.0, 3.0]).ljust(140, b"."),
}


@BOTH
def test_the_true_array_enters(into):
    into(lying(TRUE))


# numpy warns where it repairs a header of Python 2, and hints at integers out of range.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
@BOTH
def test_data_that_is_not_the_array_does_not_enter(into: Into, data: bytes):
    with pytest.raises(ReleaseBlocked, match=r"out\.bias") as caught:
        into(lying(data))
    assert "Mustermann" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"},
        {"dtype": "<f4"},
        {"dtype": "object"},
        {"dtype": ""},
        {"dtype": PATIENT},
        {"shape": ()},
        {"shape": (4,)},
        {"shape": (1, 3)},
        {"shape": (True, 3)},
        {"shape": (-3,)},
        {"shape": (-1, -3)},
        {"shape": (10**30,)},
        {"stype": "torch.Tensor"},
        {"stype": ""},
    ],
    ids=str,
)
@BOTH
def test_an_array_that_calls_itself_something_else_does_not_enter(into: Into, change):
    with pytest.raises(ReleaseBlocked) as caught:
        into(dataclasses.replace(lying(TRUE), **change))
    assert "Mustermann" not in str(caught.value)


def test_an_array_of_a_tally_that_lies_does_not_enter():
    content = packed_by_a_liar(release())
    content["tallies"]["heldout/ranks"] = Array(
        "float64", (4,), "numpy.ndarray", npy(npy_header("'<f8'", "(2, 2)"), data=b"\0" * 32)
    )
    with pytest.raises(ReleaseBlocked, match="heldout/ranks"):
        unpack_release(content, contract=CONTRACT)


BIGGEST = 2**31 - 1

HUGE: dict[str, tuple[int, ...]] = {
    "petabytes": (10**15,),
    "a number of 3 million bits": (BIGGEST,) * 100_000,
    "many dimensions of one": (1,) * 100_000,
    "many dimensions of nothing": (0,) * 100_000,
    "nothing, but more of it than can be": (0, BIGGEST, BIGGEST, BIGGEST),
    "nothing of a length beyond any": (0, 2**70),
    "nothing, as numpy counts it": (0, 2**40, 2**40),
}


@pytest.mark.parametrize("shape", HUGE.values(), ids=HUGE)
@BOTH
def test_a_huge_shape_costs_neither_time_nor_memory(into: Into, shape: tuple[int, ...]):
    """Claimed by the message's metadata, with data that goes with the claim where any does."""
    data = TRUE
    if len(shape) < 10 and 0 in shape:
        data = wire._npy_header(shape, "float32")
    array = Array("float32", shape, "numpy.ndarray", data)
    if len(shape) > 10:
        array.data = array.data[:128] + b"\0" * (4 * int(shape[0] == 1))
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ReleaseBlocked) as caught:
        into(array)
    spent, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert spent < 2
    assert peak < 20_000_000
    assert len(str(caught.value)) < 300


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("pad", [False, True], ids=["whole", "of the right size"])
def test_a_pickle_is_never_run(tmp_path, pad):
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
        content = packed_by_a_liar(release())
        content["update"] = ArrayRecord({"w": lie})
        with pytest.raises(ReleaseBlocked):
            unpack_release(content, contract=contract)
        asked = RecordDict({**pack_request(request()), "weights": ArrayRecord({"w": lie})})
        with pytest.raises(ReleaseBlocked):
            unpack_request(asked)
    assert not bomb.exists()
