"""MIMIC's codes: what is true of all of the public tables."""

from __future__ import annotations

import pytest

from client.sources import mimic_codes
from client.sources.mangled import dotted, public
from client.sources.mimic_codes import Found, check
from client.sources.source import Attrition
from privacy.errors import SourceBroken

SYSTEMS = [
    ("diagnoses", "9", "icd-9-cm"),
    ("procedures", "9", "icd-9-cm-procedures"),
    ("procedures", "10", "icd-10-pcs"),
]


def in_order(system):
    return sorted(public(system))


def counts(codes, sort, version):
    attrition = Attrition()
    check((Found("a.csv", version, code, 1) for code in codes), sort, "icd_code", attrition)
    return attrition.counts


@pytest.mark.parametrize(("sort", "version", "system"), SYSTEMS)
def test_every_public_code_passes_with_its_dot_and_without(sort, version, system):
    codes = in_order(system)
    assert len(codes) > 3800
    assert counts(codes, sort, version) == {}
    assert counts([dotted(code, system) for code in codes], sort, version) == {}


@pytest.mark.parametrize(("sort", "version", "system"), SYSTEMS)
def test_codes_that_begin_with_no_zero_pass_alone(sort, version, system):
    assert counts([c for c in in_order(system) if c[0] != "0"], sort, version) == {}


@pytest.mark.parametrize(("sort", "version", "system"), SYSTEMS)
def test_any_code_that_is_none_without_its_zeros_refuses_the_file(sort, version, system):
    codes = in_order(system)
    others = [code for code in codes if code[0] != "0"][:100]
    lost = {code.lstrip("0") for code in codes if code.isdecimal() and code[0] == "0"}
    lost -= set(codes)
    assert len(lost) > 200
    for code in sorted(lost)[::40]:
        with pytest.raises(SourceBroken, match=f"it has {code}, and"):
            counts([*others, code], sort, version)


@pytest.mark.parametrize(("sort", "version", "system"), SYSTEMS)
def test_dots_are_only_put_in(sort, version, system):
    for code in in_order(system):
        assert dotted(code, system).replace(".", "") == code
        assert dotted(dotted(code, system), system) == dotted(code, system)
    assert mimic_codes.system_of(sort, version) == system


def test_files_are_judged_apart():
    codes = [Found("a.csv", "9", "04112", 1), Found("b.csv", "9", "4112", 1)]
    with pytest.raises(SourceBroken, match=r"b\.csv: column icd_code has lost"):
        check(codes, "diagnoses", "icd_code", Attrition())


@pytest.mark.parametrize("code", ["I10", "E1165", "E11.65", "Z9E10", "O9A112"])
def test_codes_of_icd_10_cm_are_not_numbers(code):
    assert counts([code], "diagnoses", "10") == {}
