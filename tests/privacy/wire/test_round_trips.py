"""What is packed arrives as it was, and the bytes of a message are these and no others."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from wire_builders import (
    CODE,
    CONTRACT,
    ENCODER,
    STUDY,
    described,
    evaluation,
    hello,
    items,
    noised,
    packed_by,
    packed_by_a_liar,
    release,
    request,
    same,
    silent,
    update,
)

from privacy.release import Request, RequestHeader
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

RELEASES = {"update": release, "evaluation": evaluation, "noised": noised, "withheld": silent}


@pytest.mark.parametrize("make", RELEASES.values(), ids=RELEASES)
def test_a_release_round_trips(ledger, make):
    assert same(unpack_release(packed_by(ledger, make()), contract=CONTRACT), make())


@pytest.mark.parametrize("make", RELEASES.values(), ids=RELEASES)
def test_a_release_round_trips_through_flowers_own_bytes(ledger, make):
    sent = packed_by(ledger, make())
    came = recorddict_from_proto(recorddict_to_proto(sent))
    assert items(came) == items(sent)
    assert same(unpack_release(came, contract=CONTRACT), make())


@pytest.mark.parametrize("make", RELEASES.values(), ids=RELEASES)
def test_the_liar_packs_what_is_true_as_we_do(ledger, make):
    assert items(packed_by_a_liar(make())) == items(packed_by(ledger, make()))


def test_the_receipts_themselves_stay_at_the_site(packed):
    found = unpack_release(packed, contract=CONTRACT)
    assert found.receipt is None
    assert found.tally_receipt is None


def test_arrays_that_are_not_contiguous_round_trip(ledger):
    turned = {**update(), "out.weight": np.asfortranarray(update()["out.weight"])}
    content = packed_by(ledger, release(update=turned))
    assert same(unpack_release(content, contract=CONTRACT), release())


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3, 4, 5)], ids=str)
def test_every_shape_of_a_contract_round_trips(ledger, shape):
    contract = dataclasses.replace(CONTRACT, parameters={"w": shape})
    sent = release(update={"w": np.full(shape, 0.5, np.float32)})
    found = unpack_release(packed_by(ledger, sent, contract), contract=contract)
    assert found.update["w"].shape == shape
    assert (found.update["w"] == 0.5).all()


@pytest.mark.parametrize("value", [5e-324, -0.0, 1e-45, 1e6], ids=str)
def test_numbers_at_the_edge_arrive_bit_for_bit(ledger, value):
    sent = release(update={**update(), "out.bias": np.full(3, value, np.float32)})
    assert same(unpack_release(packed_by(ledger, sent), contract=CONTRACT), sent)


def test_a_hello_round_trips():
    assert unpack_hello(pack_hello(hello())) == hello()


def test_a_request_round_trips():
    found = unpack_request(pack_request(request()))
    assert found.header == request().header
    check_weights(found.weights, CONTRACT)
    assert {name: value.tolist() for name, value in found.weights.items()} == {
        name: value.tolist() for name, value in update().items()
    }


def test_the_first_question_has_no_weights():
    content = pack_request(Request(header=RequestHeader(study="{}", code=CODE)))
    assert described(content) == {"header": {"json": "str"}, "weights": {}}
    assert unpack_request(content).weights == {}


# To the byte


def test_the_text_of_a_release_header(packed):
    assert packed["header"]["json"] == (
        f'{{"attempt":1,"code":"{CODE}","declared_patients":200,"encoder":"{ENCODER}",'
        '"noise_multiplier":1.5,"patients":{"heldout/labels":40,"heldout/ranks":40},'
        '"receipt":1,"round":2,"sample_rate":0.25,"site":"st-mary","steps":7,'
        f'"study":"{STUDY}","tally_noise":0.0,"tally_receipt":2}}'
    )


def test_the_text_of_an_evaluation_names_no_charge_for_training(ledger):
    said = json.loads(packed_by(ledger, evaluation())["header"]["json"])
    charge = ("receipt", "attempt", "noise_multiplier", "sample_rate", "steps")
    assert {said[key] for key in charge} == {None}


def test_the_text_of_a_hello():
    assert pack_hello(hello())["header"]["json"] == (
        f'{{"code":"{CODE}","declared_patients":200,"encoder":"{ENCODER}","site":"st-mary"}}'
    )


def test_the_text_of_a_request():
    assert pack_request(request())["header"]["json"] == (
        f'{{"code":"{CODE}","encoder":"{ENCODER}","round":2,"study":"{{\\"name\\":\\"x\\"}}"}}'
    )


def test_the_bytes_of_an_array(packed):
    data = packed["update"]["out.bias"].data
    assert data[:8] == b"\x93NUMPY\x01\x00"
    assert data[10:128].rstrip() == b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"
    assert data[128:] == np.array([1, 2, 3], "<f4").tobytes()


def test_bytes_are_counted(packed):
    arrays = sum(
        len(array.data) for name in ("update", "tallies") for array in packed[name].values()
    )
    assert arrays == 4 * 128 + 4 * 9 + 8 * 28
    names = ("header", "update", "tallies", "json", *packed["update"], *packed["tallies"])
    text = packed["header"]["json"]
    assert count_bytes(packed) == arrays + len(text) + sum(map(len, names))


def test_what_cannot_be_read_is_counted_and_hashed_all_the_same():
    """The audit log holds every request, before anybody knows whether it is one."""
    odd = RecordDict(
        {"\ud800": ConfigRecord({"a": [], "\ud801": ["\ud802"], "b": b"x", "c": 1.5, "d": [1]})}
    )
    assert count_bytes(odd) > 0
    assert len(digest(odd)) == 64


def test_a_digest_tells_messages_apart(packed):
    changed = [packed]
    for name, key, value in (
        ("header", "json", "{}"),
        ("update", "out.bias", packed["update"]["out.weight"]),
    ):
        other = RecordDict({**packed, name: copy.deepcopy(packed[name])})
        other[name][key] = value
        changed.append(other)
    # A name's end is where it says, not where a zero stands.
    changed += [
        RecordDict({"a\0b": ConfigRecord({"c": "x"})}),
        RecordDict({"a": ConfigRecord({"b\0c": "x"})}),
        RecordDict({"a": ConfigRecord({"bc": "x"}), "d": ArrayRecord()}),
    ]
    assert len({digest(content) for content in changed}) == len(changed)
    assert digest(copy.deepcopy(packed)) == digest(packed)


def test_unpacking_leaves_the_message_as_it_was(packed):
    before = copy.deepcopy(items(packed))
    unpack_release(packed, contract=CONTRACT)
    assert items(packed) == before
