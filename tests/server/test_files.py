"""The journal and the checkpoints: whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from privacy.release import Hello
from server.checkpoint import (
    Checkpoint,
    CheckpointBroken,
    State,
    latest_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from server.journal import Follower, Journal, finite


def test_weights_come_back_bit_for_bit(tmp_path):
    weights = {"b": np.float32([[1.5, -0.0]]), "a": np.arange(3, dtype=np.float32)}
    save_weights(tmp_path / "x.safetensors", weights)
    back = load_weights(tmp_path / "x.safetensors")
    assert set(back) == {"a", "b"}
    for name, value in weights.items():
        assert back[name].tobytes() == value.tobytes()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_weights(path, {"a": np.zeros(3, np.float32)})

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("server.checkpoint.os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save_weights(path, {"a": np.ones(3, np.float32)})
    np.testing.assert_array_equal(load_weights(path)["a"], np.zeros(3))


def test_a_follower_sees_whole_events_only_and_each_once(tmp_path):
    path = tmp_path / "deep" / "journal.jsonl"
    follower = Follower(path)
    assert list(follower.events()) == []
    journal = Journal(path)
    journal.write("site", site="ash")
    (event,) = follower.events()
    assert event.pop("at").endswith("+00:00")
    assert event == {"event": "site", "site": "ash"}
    with path.open("a") as file:
        file.write('{"event": "half')
        file.flush()
        assert list(follower.events()) == []
        file.write(' written"}\n')
    assert list(follower.events()) == [{"event": "half written"}]
    assert list(follower.events()) == []
    journal.close()


def test_infinity_is_never_written_as_a_number(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.write("round", epsilon=float("inf"))
    journal.close()
    assert finite(float("inf")) is None
    assert finite(1.0) == 1.0


def test_a_line_that_a_crash_cut_short_is_taken_off(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.write("site", site="ash")
    journal.close()
    with path.open("a") as file:
        file.write('{"event": "half')
    journal = Journal(path)
    assert [event["event"] for event in journal.before] == ["site"]
    journal.write("site", site="birch")
    journal.close()
    assert [event["site"] for event in Follower(path).events()] == ["ash", "birch"]


def checkpoint(round: int, study: str = "a" * 64) -> Checkpoint:
    hello = Hello(site="ash", code="c" * 64, encoder="e" * 64, declared_patients=40)
    state = State(
        study=study,
        round=round,
        encoder="e" * 64,
        sites={"ash": hello},
        charges={"ash": {1: 1, 2: 3}},
        receipts={"ash": 17},
    )
    weights = {"out.bias": np.float32([1.5, -0.0, round])}
    tallies = {"ash": {"heldout/ranks": np.float64([1, 2, 3, 4])}}
    return Checkpoint(state, weights, tallies, {"m_t/out.bias": np.float64([0.1, -0.0, 1e-300])})


def test_a_checkpoint_comes_back_whole_and_the_last_one_counts(tmp_path):
    assert latest_checkpoint(tmp_path, study="a" * 64) is None
    for number in (1, 2, 10):
        path = save_checkpoint(tmp_path, checkpoint(number))
    back = latest_checkpoint(tmp_path, study="a" * 64)
    assert back.state == checkpoint(10).state
    assert back.weights["out.bias"].tobytes() == checkpoint(10).weights["out.bias"].tobytes()
    assert list(back.tallies["ash"]["heldout/ranks"]) == [1, 2, 3, 4]
    assert set(load_weights(path)) == {"out.bias"}
    (moment,) = back.strategy.values()
    assert moment.tobytes() == checkpoint(10).strategy["m_t/out.bias"].tobytes()


def test_a_checkpoint_that_is_not_what_was_written_is_named(tmp_path):
    path = save_checkpoint(tmp_path, checkpoint(1))
    with pytest.raises(CheckpointBroken, match="is of study aaaa"):
        latest_checkpoint(tmp_path, study="b" * 64)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointBroken, match=r"is damaged .* go on from the round before"):
        latest_checkpoint(tmp_path, study="a" * 64)
    save_weights(path, {"out.bias": np.zeros(3, np.float32)})  # without a state
    with pytest.raises(CheckpointBroken, match="is damaged"):
        latest_checkpoint(tmp_path, study="a" * 64)
