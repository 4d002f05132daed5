"""The journal and the checkpoints: whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from server.checkpoint import load_weights, save_weights
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
    assert list(follower.events()) == [{"event": "site", "site": "ash"}]
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
