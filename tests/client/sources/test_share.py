"""share: a source's patients whose ids stand in a file, and what was left out on the way."""

from __future__ import annotations

import json
import stat
from collections import Counter

import pytest
from builders import patient
from mimic_builders import hospital, write

from client.sources.jsonl import Jsonl
from client.sources.kinds import SOURCES
from client.sources.share import Share, read_ids, write_ids
from client.sources.source import Attrition
from client.sources.synthetic.source import SyntheticSource
from privacy.errors import SourceBroken


def no_notes(number: int) -> dict[str, object]:
    return patient(number, notes=[])


@pytest.fixture
def pooled(write_lines):
    """Ten patients; three more without notes are left out: at the start, amid and at the end."""
    lines = [patient(n, id=f"p{n:02}é") for n in range(10)]
    lines[5:5] = [no_notes(91)]
    path = write_lines(no_notes(90), *lines, no_notes(92))
    return Jsonl(paths=(path.name,))


def read(source, root):
    attrition = Attrition()
    return list(source.patients(root=root, attrition=attrition)), attrition


def test_shares_of_everybody_are_the_whole_and_what_was_left_out_is_counted_once(pooled, tmp_path):
    everybody, whole = read(pooled, tmp_path)
    assert whole.counts == {"patients without notes": 3}
    found, counts, places = [], Counter(), set()
    for n in range(3):
        write_ids(tmp_path / f"{n}.json", [one.id for one in everybody[n::3]])
        mine, attrition = read(Share(of=pooled, file=f"{n}.json"), tmp_path)
        assert mine == everybody[n::3]
        found += mine
        counts.update(attrition.counts)
        places |= set(attrition.first.values())
    assert sorted(found, key=lambda one: one.id) == everybody
    assert counts == whole.counts
    assert set(whole.first.values()) <= places


def test_a_patient_who_is_gone_from_the_pooled_records_is_missed(pooled, tmp_path):
    write_ids(tmp_path / "ids.json", ["p01é", "Zebulon"])
    with pytest.raises(SourceBroken, match="no longer have every patient") as raised:
        read(Share(of=pooled, file="ids.json"), tmp_path)
    assert "Zebulon" not in str(raised.value)


BROKEN = {
    "nothing": None,
    "no JSON": b"[",
    "no UTF-8": b'["\xff"]',
    "no list": b'{"Zebulon": 1}',
    "a number": b'["Zebulon", 1]',
    "twice": b'["Zebulon", "Zebulon"]',
}


@pytest.mark.parametrize("which", BROKEN)
def test_a_file_that_is_none_says_so_and_names_nobody(which, tmp_path):
    if (content := BROKEN[which]) is not None:
        (tmp_path / "ids.json").write_bytes(content)
    with pytest.raises(SourceBroken) as raised:
        read_ids(tmp_path / "ids.json")
    assert "Zebulon" not in str(raised.value)


def test_the_file_is_its_owners_alone(tmp_path):
    write_ids(tmp_path / "new" / "ids.json", ["b", "a"])
    assert stat.S_IMODE((tmp_path / "new" / "ids.json").stat().st_mode) == 0o600
    assert read_ids(tmp_path / "new" / "ids.json") == {"a", "b"}


def test_a_share_is_written_and_read_again_and_is_never_of_a_share(pooled):
    share = Share(of=pooled, file="ids.json")
    table = json.loads(json.dumps(SOURCES._table(share)))
    assert SOURCES.parse(table) == share
    with pytest.raises(ValueError, match=r"of: .*kind must be one of"):
        SOURCES.parse({"kind": "share", "of": table, "file": "ids.json"})


def test_the_state_follows_records_and_file(pooled, tmp_path):
    share = Share(of=pooled, file="ids.json")
    states = [share.state(root=tmp_path)]
    write_ids(tmp_path / "ids.json", ["p01é"])
    states.append(share.state(root=tmp_path))
    (tmp_path / "patients.jsonl").write_text("")
    states.append(share.state(root=tmp_path))
    assert len(set(states)) == 3
    assert Share(of=SyntheticSource(hospital="h", patient_count=1), file="ids.json").state(
        root=tmp_path
    )


def test_mimic_iv_is_shared_out_too(tmp_path):
    write(tmp_path / "mimic", hospital())
    pooled = SOURCES.parse({"kind": "mimic-iv", "folder": "mimic"})
    everybody, whole = read(pooled, tmp_path)
    assert len(everybody) > 1
    counts = Counter()
    for n in range(2):
        write_ids(tmp_path / f"{n}.json", [one.id for one in everybody[n::2]])
        mine, attrition = read(Share(of=pooled, file=f"{n}.json"), tmp_path)
        assert mine == everybody[n::2]
        counts.update(attrition.counts)
    assert counts == whole.counts
