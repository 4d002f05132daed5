"""Whatever comes through the door is exactly a message, or a short refusal, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.proto.recorddict_pb2 import RecordDict as Proto
from google.protobuf.message import DecodeError
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from wire_builders import (
    CONTRACT,
    evaluation,
    hello,
    items,
    lying,
    noised,
    npy,
    packed_by_a_liar,
    refusal,
    release,
    request,
    silent,
)

from privacy.errors import ReleaseBlocked, SiteError
from privacy.wire import (
    check_weights,
    count_bytes,
    digest,
    pack_hello,
    pack_request,
    unpack_hello,
    unpack_release,
    unpack_request,
)

MARK = "Zebulon4711"

FUZZ = settings(deadline=None, derandomize=True, database=None)


# The property


def asked(content: RecordDict) -> RecordDict:
    """What a site does with what the coordinator sends."""
    count_bytes(content)
    digest(content)
    found = unpack_request(content)
    check_weights(found.weights, CONTRACT)
    return pack_request(found)


def greeted(content: RecordDict) -> RecordDict:
    """What the coordinator does with a site's first answer."""
    return pack_hello(unpack_hello(content))


def released(content: RecordDict) -> RecordDict:
    """What the coordinator does with any other answer."""
    return packed_by_a_liar(unpack_release(content, contract=CONTRACT))


def holds(read: Callable[[RecordDict], RecordDict], content: RecordDict) -> str:
    """It is the message, to the byte, or it is refused in a few printable words."""
    try:
        again = read(content)
    except SiteError as error:
        said = str(error)
        assert said.isprintable()
        assert len(said) <= 2000
        if isinstance(error, ReleaseBlocked):
            assert MARK not in said
            return "blocked"
        # A refusal is the site's own words, which are to be read.
        assert set(content) == {"refusal"}
        return "refused"
    assert items(again) == items(content)
    return "a message"


VALID: dict[Callable[[RecordDict], RecordDict], list[Callable[[], RecordDict]]] = {
    asked: [lambda: pack_request(request())],
    greeted: [lambda: pack_hello(hello()), refusal],
    released: [
        lambda: packed_by_a_liar(release()),
        lambda: packed_by_a_liar(evaluation()),
        lambda: packed_by_a_liar(noised()),
        lambda: packed_by_a_liar(silent()),
        refusal,
    ],
}
SENT = [(read, make) for read, makes in VALID.items() for make in makes]


def test_what_is_valid_passes():
    for read, make in SENT:
        assert holds(read, make()) == ("refused" if "refusal" in make() else "a message")


# What may stand in a message

any_text = st.text(st.characters(exclude_categories=()), max_size=12)
names = st.one_of(
    st.sampled_from(
        [*CONTRACT.parameters, *CONTRACT.tallies, "header", "update", "tallies", "weights", "json"]
    ),
    any_text,
    st.sampled_from(
        ["", "../../etc/passwd", "\x1b[2J", "\x00", "\u202e", "\ud800", "w" * 500, "refusal"]
    ),
)
numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.sampled_from([0, -0.0, 1, 5e-324, 1e308, 10**30, -1, 2**63, 10**6 + 1, 1.5]),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, any_text, st.just(MARK))
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)

DTYPES = st.one_of(
    arrays.scalar_dtypes(),
    st.sampled_from(
        [
            np.dtype(object),
            np.dtype(">f4"),
            np.dtype("V3"),
            np.dtype("S5"),
            np.dtype([("a", "<f4", (3,)), ("b", [("c", "<i8")])]),
        ]
    ),
)
SHAPES = st.one_of(
    st.sampled_from([*CONTRACT.parameters.values(), *(s for s, _ in CONTRACT.tallies.values())]),
    st.lists(st.integers(0, 3), max_size=5).map(tuple),
    st.lists(st.integers(-(2**40), 2**70), max_size=12).map(tuple),
    st.sampled_from([(1,) * 70, (0,) * 70, (2**31 - 1,) * 300, (0, 2**62), (-1,), (3, -2, -1)]),
)


def saved(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """A true .npy file of some sort; objects have none."""
    small = shape if len(shape) < 9 and all(0 <= n <= 4 for n in shape) else (3,)
    return b"" if dtype.hasobject else Array(np.zeros(small, dtype)).data


odd_numbers = st.sampled_from([np.nan, np.inf, -np.inf, 1e-45, -0.0, 1e6, 1.1e6, 3e38])
odd_arrays = st.builds(
    lambda shape, value, dtype: Array(np.full(shape, value).astype(dtype)),
    st.sampled_from([*CONTRACT.parameters.values(), (4,), (2, 3, 4), (0,), ()]),
    odd_numbers,
    st.sampled_from(["float32", "float64"]),
)
data = st.one_of(
    st.binary(max_size=200),
    st.builds(saved, DTYPES, SHAPES),
    st.text("{}()[]'\",: \n\\#<f40123descrshapefortran_orderTrueFalse", max_size=117).map(npy),
    st.just(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }" + MARK)),
)
any_array = st.one_of(
    odd_arrays,
    st.builds(lying, data),
    st.builds(
        Array,
        dtype=st.one_of(DTYPES.map(str), st.sampled_from(["float32", "int64", MARK]), any_text),
        shape=SHAPES,
        stype=st.sampled_from(["numpy.ndarray", "torch.Tensor", "", MARK]),
        data=data,
    ),
)
metrics = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(), st.lists(st.floats(), max_size=3)
)
configs = st.one_of(
    metrics,
    st.booleans(),
    any_text,
    st.just(MARK),
    st.binary(max_size=20),
    st.lists(any_text, max_size=3),
    st.lists(st.binary(max_size=4), max_size=3),
    json_values.map(lambda value: json.dumps(value, allow_nan=True)),
)
records = st.one_of(
    st.builds(ArrayRecord, st.dictionaries(names, any_array, max_size=3)),
    st.builds(ConfigRecord, st.dictionaries(names, configs, max_size=3)),
    st.builds(MetricRecord, st.dictionaries(names, metrics, max_size=3)),
)


# Changes of a valid message


def _mutated(draw: st.DrawFn, value: bytes) -> bytes:
    at = draw(st.integers(0, max(len(value) - 1, 0)))
    how = draw(st.sampled_from(["change", "drop", "add", "cut", "twice"]))
    byte = bytes([draw(st.integers(0, 255))])
    return {
        "change": value[:at] + byte + value[at + 1 :],
        "drop": value[:at] + value[at + 1 :],
        "add": value[:at] + byte + value[at:],
        "cut": value[:at],
        "twice": value + value,
    }[how]


def _json_changed(draw: st.DrawFn, text: str) -> str:
    how = draw(st.sampled_from(["value", "extra", "missing", "bytes", "twice", "deep", "order"]))
    if how == "bytes":
        return _mutated(draw, text.encode()).decode("latin1")
    if how == "twice":
        return f"{text[:-1]},{text[1:]}"
    if how == "deep":
        return text.replace(":", ":" + '{"a":[' * draw(st.integers(1, 20_000)), 1)
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return text  # spoilt before
    if not isinstance(table, dict) or not table:
        return text
    key = draw(st.sampled_from(sorted(table)))
    if how == "order":
        table = {key: table.pop(key), **table}
        return json.dumps(table, separators=(",", ":"))
    if how == "missing":
        del table[key]
    elif how == "extra":
        table[draw(any_text)] = draw(json_values)
    elif isinstance(table[key], dict) and draw(st.booleans()):
        table[key][draw(names)] = draw(json_values)
    else:
        table[key] = draw(json_values)
    return json.dumps(table, sort_keys=True, separators=(",", ":"))


def _record_changed(draw: st.DrawFn, record: Any) -> Any:
    """A record with one thing in it changed."""
    values = dict(record)
    if isinstance(values.get("json"), str) and draw(st.booleans()):
        return ConfigRecord({"json": _json_changed(draw, values["json"])})
    kind = type(record)
    value = any_array if kind is ArrayRecord else metrics if kind is MetricRecord else configs
    if values and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(values)))
        old = values.pop(key)
        how = draw(st.sampled_from(["drop", "rename", "replace", "bytes"]))
        if how == "rename":
            values[draw(names)] = old
        elif how == "bytes" and isinstance(old, Array):
            data_ = _mutated(draw, old.data)
            values[key] = Array(old.dtype, tuple(old.shape), old.stype, data_)
        elif how != "drop":
            values[key] = draw(value)
    else:
        values[draw(names)] = draw(value)
    return kind(values)


@st.composite
def changed(draw: st.DrawFn, make: Callable[[], RecordDict]) -> RecordDict:
    """A valid message with one to three things changed anywhere in it."""
    content = dict(make())
    for _ in range(draw(st.integers(1, 3))):
        if not content:
            break
        name = draw(st.sampled_from(sorted(content)))
        how = draw(st.sampled_from(["drop", "rename", "replace", "add", *["inside"] * 6]))
        if how == "add":
            content[draw(names)] = draw(records)
            continue
        old = content.pop(name)
        if how == "rename":
            content[draw(names)] = old
        elif how == "replace":
            content[name] = draw(records)
        elif how == "inside":
            content[name] = _record_changed(draw, old)
    return RecordDict(content)


@settings(FUZZ, max_examples=1200)
@given(st.data())
def test_a_changed_message_is_a_message_or_is_refused(source):
    read, make = source.draw(st.sampled_from(SENT))
    event(holds(read, source.draw(changed(make))))


@settings(FUZZ, max_examples=300)
@given(st.sampled_from(list(VALID)), st.dictionaries(names, records, max_size=4))
@example(asked, {"header": ConfigRecord({"json": []}), "weights": ArrayRecord()})
@example(asked, {"header": ConfigRecord({"json": "\ud800"}), "weights": ArrayRecord()})
@example(released, {"refusal": ConfigRecord({"json": "\ud800"})})
def test_any_records_at_all_are_refused(read, content):
    event(holds(read, RecordDict(content)))


@settings(FUZZ, max_examples=500)
@given(st.data())
def test_a_message_whose_bytes_changed_on_the_way_is_a_message_or_is_refused(source):
    """On the wire it is a protobuf of Flower's, which takes much that no site sends."""
    read, make = source.draw(st.sampled_from(SENT))
    wire = recorddict_to_proto(make()).SerializeToString()
    for _ in range(source.draw(st.integers(1, 3))):
        wire = _mutated(source.draw, wire)
    try:
        content = recorddict_from_proto(Proto.FromString(wire))
    except (DecodeError, TypeError, ValueError, KeyError):
        event("Flower would not read it")
        return
    event(holds(read, content))


@settings(FUZZ, max_examples=300)
@given(st.sampled_from(SENT), st.text(max_size=60) | any_text)
def test_any_text_for_a_header_is_refused(sent, text):
    read, make = sent
    content = dict(make())
    name = next(iter(content))
    content[name] = ConfigRecord({"json": text})
    event(holds(read, RecordDict(content)))


def test_every_single_byte_of_a_header_matters():
    """No byte of a header can be another one without the message being another one."""
    for read, make in SENT:
        sent = make()
        name = next(iter(sent))
        text = sent[name]["json"]
        for at in range(len(text)):
            for byte in " \x000a\\":
                other = f"{text[:at]}{byte}{text[at + 1 :]}"
                if other != text:
                    holds(read, RecordDict({**sent, name: ConfigRecord({"json": other})}))


def test_every_single_byte_of_an_array_matters():
    sent = packed_by_a_liar(release())
    array = sent["update"]["out.bias"]
    for at in range(len(array.data)):
        for flip in (1, 128):
            other = bytes([*array.data[:at], array.data[at] ^ flip, *array.data[at + 1 :]])
            lie = Array(array.dtype, array.shape, array.stype, other)
            holds(
                released,
                RecordDict({**sent, "update": ArrayRecord({**sent["update"], "out.bias": lie})}),
            )
