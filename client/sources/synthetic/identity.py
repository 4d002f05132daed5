"""Who an invented patient is: a name and a record number that nobody bears."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

_GIVEN = (
    "Abbeline Brisco Calder Delphy Elowin Farrow Gwillem Harlo Ivanette Jorrin Kestrel Lumen "
    "Marlowe Nimbus Orrin Perrin Quillon Rowana Sorrel Tamsel Umber Verity Wrenna Xanthe Yarrow "
    "Zephrin"
)
_FAMILY = (
    "Applewhistle Brambleford Copperquill Dunnimock Elderspool Fennimarsh Gadwhistle Hollowmere "
    "Inkersole Jestwick Kettlebrand Larksample Mockridge Nettlewhim Oddenham Placeholt "
    "Quillfeather Rumblethorpe Samplewick Testerby Underfable Voidhurst Wickentoft Yondermill "
    "Zinnabar"
)


class Identity(NamedTuple):
    """What a note's header says of its patient."""

    name: str
    record: str


def identity(hospital: str, number: int) -> Identity:
    """The name and record number of a hospital's patient: the same whenever it is asked.

    Names repeat, as names do; record numbers do not repeat within a hospital.

    >>> identity("north", 7) == identity("north", 7)
    True
    >>> identity("north", 7).record == identity("south", 7).record
    False
    """
    digest = hashlib.sha256(f"identity\0{hospital}\0{number}".encode()).digest()
    given, family = _GIVEN.split(), _FAMILY.split()
    first = given[int.from_bytes(digest[:4]) % len(given)]
    last = family[int.from_bytes(digest[4:8]) % len(family)]
    prefix = int.from_bytes(hashlib.sha256(f"records\0{hospital}".encode()).digest()[:4]) % 10_000
    return Identity(f"{first} {chr(65 + digest[8] % 26)}. {last}", f"SYN-{prefix:04d}-{number:06d}")
