"""Label sets drawn by rule: what they hold, and two sides whose tables differ."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from privacy.errors import StudyRefused
from privacy.spec import one_line
from tasks import icd, icd_table
from tasks.icd_coding import IcdCoding
from tasks.icd_rules import CodeRule, drawn
from tasks.study import Study

NINE = ("icd-9-cm", "icd-9-cm-procedures")


def task(**table: object) -> IcdCoding:
    return IcdCoding.model_validate(table)


def refusal(**table: object) -> str:
    with pytest.raises(ValidationError) as caught:
        task(**table)
    return one_line(caught.value)


def test_a_chapter_draws_its_categories_and_no_others():
    outputs = task(rule={"chapters": ["9"]}).outputs
    assert {code[0] for code in outputs} == {"I"}
    assert outputs == tuple(code for code in icd.codes("icd-10-cm", "category") if code[0] == "I")
    assert len(outputs) == 80


def test_blocks_and_prefixes_add_to_chapters():
    rule = {"chapters": ["3"], "blocks": ["I10-I1A"], "prefixes": ["E10.1"]}
    outputs = set(task(rule=rule, level="full").outputs)
    assert {"D50.0", "I10", "I1A.0", "E10.10", "E10.11"} <= outputs
    assert not {"E10.21", "I20.0", "C50.911", "E10", "I11"} & outputs


def test_full_codes_are_those_without_codes_below_them():
    outputs = task(rule={"prefixes": ["E11", "I10", "W19"]}, level="full").outputs
    assert {"E11.65", "E11.9", "I10", "W19.XXXA"} <= set(outputs)
    assert not {"E11", "E11.6", "W19", "W19.X"} & set(outputs)


@pytest.mark.parametrize("system", ["icd-10-cm", "icd-10-pcs", "icd-9-cm", "icd-9-cm-procedures"])
@pytest.mark.parametrize("level", ["chapter", "block", "category", "subcategory", "full"])
def test_every_code_of_the_table_falls_on_what_a_rule_draws(system, level):
    if (system, level) == ("icd-9-cm-procedures", "block"):
        with pytest.raises(ValueError, match="has no blocks"):
            icd.codes(system, level)
        return
    names = icd.codes(system, level)
    assert len(set(names)) == len(names)
    full = icd.codes(system, "full")
    assert {icd.at_level(code, system, level) for code in full} == set(names)
    assert all(icd.is_code(name, level, system) for name in names)


@pytest.mark.parametrize("system", ["icd-10-cm", "icd-10-pcs", "icd-9-cm"])
def test_the_chapters_share_out_every_block_and_category(system):
    for level in ("block", "category"):
        shares = [
            drawn(CodeRule(chapters=(chapter,)), (system,), level)
            for chapter in icd.codes(system, "chapter")
        ]
        together = [code for share in shares for code in share]
        assert all(shares)
        assert sorted(together) == sorted(icd.codes(system, level))


def test_all_of_icd_9_diagnoses_and_procedures_fits_into_one_study():
    both = task(systems=NINE, level="full", rule={})
    assert len(both.outputs) == 14_567 + 3_882
    assert both.outputs[0] == "icd-9-cm:001.0"
    assert both.outputs[-1] == "icd-9-cm-procedures:99.99"
    assert len(set(both.outputs)) == len(both.outputs)


def test_with_two_systems_a_rule_names_the_system():
    rule = {"chapters": ["icd-9-cm:7"], "prefixes": ["icd-9-cm-procedures:38."]}
    outputs = task(systems=NINE, level="full", rule=rule).outputs
    assert {"icd-9-cm:428.0", "icd-9-cm-procedures:38.93"} <= set(outputs)
    # chapter 7 of volume 3 was not asked for, nor the diagnoses that begin with 38
    assert not {"icd-9-cm-procedures:39.95", "icd-9-cm:380.0"} & set(outputs)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"rule": {"chapters": ["9", "IX"]}},
            "rule.chapters[1] 'IX' is not one of the chapters of ICD-10-CM (such as 1, 2, 3)",
        ),
        ({"rule": {"blocks": ["C00-C96"]}}, "rule.blocks[0] 'C00-C96' is not one of the blocks"),
        ({"rule": {"prefixes": ["I1", ""]}}, "rule.prefixes[1] '': no category code of ICD-10-CM"),
        ({"rule": {"prefixes": ["I14"]}}, "rule.prefixes[0] 'I14': no category code of ICD-10-CM"),
        ({"rule": {"prefixes": ["i1"]}}, "rule.prefixes[0] 'i1': no category code of ICD-10-CM"),
        ({"rule": {"prefixes": ["I"]}, "level": "chapter"}, "a chapter is not drawn by prefixes"),
        ({"rule": {"blocks": ["I10-I1A"]}, "level": "chapter"}, "a chapter is not drawn by blocks"),
        ({"rule": {"chapter": ["9"]}}, "rule.chapter: no such key"),
        ({"rule": {}, "level": "full"}, "it draws 74,"),
        ({"rule": {"chapters": ["7"]}, "systems": NINE}, "'7' must begin with icd-9-cm: or"),
    ],
)
def test_what_a_rule_cannot_draw_is_refused_with_its_place(table, said):
    assert said in refusal(**table)


def test_a_study_says_what_its_rule_was_drawn_from_and_stays_as_it_is():
    first = task(rule={"chapters": ["9"]})
    assert first.table is not None
    assert first.table.startswith(f"{icd_table.release('icd-10-cm')} #")
    again = IcdCoding.model_validate_json(first.canonical())
    assert again == first
    assert again.canonical() == first.canonical()
    assert first.content_hash() != task(rule={"chapters": ["10"]}).content_hash()


def test_a_list_of_codes_names_no_table_unless_it_is_asked_to():
    listed = task(codes=["I10", "I50"])
    assert listed.table is None
    pinned = task(rule={"chapters": ["9"]})
    assert task(codes=list(pinned.outputs), table=pinned.table).table == pinned.table
    assert "draw other codes or titles" in refusal(codes=["I10"], table=pinned.table)


def test_the_same_codes_and_titles_of_another_version_are_no_obstacle():
    table = task(rule={"chapters": ["9"]}).table or ""
    newer = f"simple-icd-10-cm 9.9.9 #{table.partition(' #')[2]}"
    assert task(rule={"chapters": ["9"]}, table=newer).table == newer


@pytest.mark.parametrize("table", ["simple-icd-10-cm 1.4.0 #0123456789abcdef", "x", "", " #"])
def test_a_side_whose_tables_draw_others_says_which_version_is_needed(table):
    said = refusal(rule={"chapters": ["9"]}, table=table)
    assert f"drawn from {table.partition(' #')[0]}, and the tables here (simple-icd-10-cm " in said


@pytest.mark.parametrize("change", ["a code more", "a title"])
def test_a_site_with_another_table_refuses_the_study(study, monkeypatch, change):
    asked = study.model_copy(update={"task": task(rule={"chapters": ["9"]})})
    assert Study.received(asked.canonical()).outputs == asked.outputs
    here = icd_table.table("icd-10-cm")
    if change == "a title":
        titles, places = here.titles | {"I10": "High blood pressure"}, here.places
    else:
        titles = here.titles | {"I14": "A new disease"}
        places = here.places | {"I14": here.places["I10"]}
    other = icd_table.Table(titles, here.groups, here.blocks, here.chapters, places)
    monkeypatch.setattr(icd, "table", lambda _: other)
    _forget()
    try:
        with pytest.raises(StudyRefused, match=r"drawn from simple-icd-10-cm .* draw other codes"):
            Study.received(asked.canonical())
    finally:
        _forget()


def _forget() -> None:
    from tasks import icd_coding, icd_rules

    for kept in (icd._all_codes, icd._chapters_of_blocks, icd_rules.drawn, icd_coding._titles):
        kept.cache_clear()
