"""A planted patient's name, record number and birth date are in nothing that is written or sent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from builders import simulation_table, site_table
from canaries import CANARIES, assert_clean, with_canaries, written
from flwr.app import RecordDict
from test_simulate import run

from experiments.simulate import in_process
from tasks.bags import PatientBag

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
]


def sent(monkeypatch) -> list[bytes]:
    """Everything that goes between the coordinator and the sites, as bytes."""
    seen: list[bytes] = []
    clone = in_process._clone

    def spy(content: RecordDict) -> RecordDict:
        for name, record in content.items():
            seen.append(name.encode())
            for key, value in record.items():
                seen.append(str(key).encode())
                seen.append(value.data if hasattr(value, "data") else str(value).encode())
        return clone(content)

    monkeypatch.setattr(in_process, "_clone", spy)
    return seen


def a_study(study_file, tmp_path, write_lines, *more: object) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("ash", "birch"):
        path = write_lines(*(with_canaries(n) for n in range(40)), name=f"{name}.jsonl")
        path.rename(data / path.name)
    sites = [
        site_table(name, source={"kind": "jsonl", "paths": [f"{name}.jsonl"]})
        for name in ("ash", "birch")
    ]
    return study_file(simulation_table(*sites, *more))


def test_the_canaries_are_where_they_were_planted_and_nowhere_else(
    study_file, tmp_path, write_lines, monkeypatch, caplog, capfd
):
    path = a_study(study_file, tmp_path, write_lines)
    assert CANARIES[0] in (tmp_path / "data" / "ash.jsonl").read_text()
    messages = sent(monkeypatch)
    with caplog.at_level(logging.DEBUG):
        result, screen = run(path, tmp_path / "home", data=tmp_path / "data", with_baselines=True)
    assert len(result.rounds) == 2
    assert sum(map(len, messages)) > 10_000
    assert_clean("a message", b"\0".join(messages))
    files = list(written(tmp_path / "home"))
    names = {found.name for found, _ in files}
    assert {"mlflow.db", "final.safetensors", "journal.jsonl", "ledger.sqlite"} <= names
    for found, content in files:
        assert_clean(found, content)
    assert_clean("the result", result.model_dump_json().encode())
    assert_clean("the screen", repr(screen.said + screen.events).encode())
    assert_clean("the logs", caplog.text.encode())
    out = capfd.readouterr()
    assert_clean("the terminal", (out.out + out.err).encode())


def test_an_error_in_the_middle_of_training_tells_nothing(
    study_file, tmp_path, write_lines, monkeypatch, caplog, capfd
):
    path = a_study(study_file, tmp_path, write_lines, site_table("cedar"))

    def broken(_bags: object, **_: object) -> PatientBag:
        raise ValueError(" ".join(CANARIES))

    messages = sent(monkeypatch)
    from client import local

    real = local.fit

    def fit(study, head, patients, **options):
        if options["declared_patients"] == 40 and len(patients) < 30:
            broken(patients)
        real(study, head, patients, **options)

    monkeypatch.setattr(local, "fit", fit)
    with caplog.at_level(logging.DEBUG):
        _, screen = run(path, tmp_path / "home", data=tmp_path / "data")
    refused = [event for event in screen.events if event["event"] == "refused"]
    assert {event["reason"] for event in refused} == {
        "ValueError: failed; the site's own log says where"
    }
    assert_clean("a message", b"\0".join(messages))
    assert_clean("the logs", caplog.text.encode())
    assert "ValueError at test_no_phi.py" in caplog.text
    out = capfd.readouterr()
    assert_clean("the terminal", (out.out + out.err).encode())
    for found, content in written(tmp_path / "home"):
        assert_clean(found, content)
