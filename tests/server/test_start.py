"""The file that a study starts from: given, kept, read once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import CODES, study_table
from standins import Sites

from experiments.simulate.in_process import InProcessGrid, _identity
from privacy import wire
from server import start
from server.checkpoint import save_weights
from server.journal import Follower, Journal
from server.outbox import Outbox
from server.rounds import Rounds
from server.start import StartBroken
from tasks.heads.head import Weights
from tasks.heads.ridge import Ridge
from tasks.study import Study

D, L = 64, len(CODES)
TRAINED: Weights = {
    "out.weight": np.linspace(-1, 1, L * D, dtype=np.float32).reshape(L, D),
    "out.bias": np.full(L, -2.5, np.float32),
}


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "earlier.safetensors"
    save_weights(path, TRAINED)
    return path


def study(file: Path, **changes: Any) -> Study:
    pin = hashlib.sha256(file.read_bytes()).hexdigest()
    table = study_table(**changes) | {"start": {"weights_sha256": pin}}
    return Study.parse_table(table, where="study")


class Noting(Sites):
    """Stand-ins that keep the weights they were sent, by round."""

    sent: dict[int, Weights]

    def release(self, message, context, *, trains):
        request = wire.unpack_request(message.content)
        self.__dict__.setdefault("sent", {})[request.header.round] = request.weights
        return super().release(message, context, trains=trains)


def run(study: Study, folder: Path) -> tuple[Noting, Any]:
    """What the sites were sent, and the error where there was one."""
    sites, error = Noting(study), None
    grid = InProcessGrid(sites.app, nodes=4, run_config={}, run_id=1)
    journal, outbox = Journal(folder / "journal.jsonl"), Outbox(folder / "outbox.jsonl")
    try:
        with _identity(run_id=1, node_id=1):
            Rounds(study, grid, folder, journal, outbox).run()
    except StartBroken as broken:
        error = broken
    journal.close()
    outbox.close()
    return sites, error


def test_the_first_round_starts_there_and_a_study_that_goes_on_does_not_ask_again(file, tmp_path):
    asked = study(file)
    folder = tmp_path / "run"
    folder.mkdir()
    start.keep(folder, start.give(asked, file))
    file.unlink()
    sites, error = run(asked, folder)
    assert error is None
    for name, value in TRAINED.items():
        np.testing.assert_array_equal(sites.sent[1][name], value)
    (folder / start.FILE).unlink()
    (folder / "checkpoints" / "round-00002.safetensors").unlink()
    sites, error = run(asked, folder)
    assert error is None
    assert 1 not in sites.sent
    assert not np.array_equal(sites.sent[2]["out.bias"], TRAINED["out.bias"])


@pytest.mark.parametrize("lost", [True, False])
def test_a_run_whose_start_is_lost_or_another_asks_nobody_and_says_so(lost, file, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    if not lost:
        save_weights(folder / start.FILE, TRAINED | {"out.bias": np.zeros(L, np.float32)})
    sites, error = run(study(file), folder)
    assert sites.asked == []
    [end] = Follower(folder / "journal.jsonl").events()
    assert (end["event"], end["reason"]) == ("end", str(error))
    assert ("cannot be read" if lost else "give that one") in str(error)


def test_what_is_given_is_the_file_that_the_study_names(file, tmp_path):
    asked = study(file)
    assert start.give(asked, file) == file.read_bytes()
    other = tmp_path / "other.safetensors"
    save_weights(other, TRAINED | {"out.bias": np.zeros(L, np.float32)})
    found = hashlib.sha256(other.read_bytes()).hexdigest()
    with pytest.raises(StartBroken, match=f"has SHA-256 {found}, and the study tiny starts from"):
        start.give(asked, other)
    with pytest.raises(StartBroken, match=r"nowhere: cannot be read: No such file"):
        start.give(asked, tmp_path / "nowhere")
    with pytest.raises(StartBroken, match=r"give their file, with SHA-256 [0-9a-f]{64}, with"):
        start.give(asked, None)
    plain = Study.parse_table(study_table(), where="plain")
    with pytest.raises(StartBroken, match=r"has no table \[start\], so it starts from no file"):
        start.give(plain, file)
    assert start.give(plain, None) is None
    start.keep(tmp_path, None)
    assert not (tmp_path / start.FILE).exists()


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"out.bias": TRAINED["out.bias"]}, r"they are out\.bias \[8\], and those of head"),
        (
            TRAINED | {"out.bias": np.full(L, 2e6, np.float32)},
            r"beyond 1e\+06; name weights of an .* in \[start\]$",
        ),
        (
            {f"weights/{name}": value for name, value in TRAINED.items()}
            | {"patients": np.zeros((1, 32), np.uint8)},
            "a head of a site's own, trained without noise: it never leaves",
        ),
    ],
)
def test_weights_that_no_site_would_take_are_refused_before_one_is_asked(weights, said, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, weights)
    with pytest.raises(StartBroken, match=said):
        start.give(study(path), path)


def test_a_ridge_that_starts_too_high_is_told_what_makes_it_lower(tmp_path):
    path = tmp_path / "sums.safetensors"
    gram = np.eye(D + 1, dtype=np.float32) / 100
    save_weights(path, {"gram": gram, "cross": np.full((D + 1, L), 1e-3, np.float32)})
    asked = study(path)

    def read_with(scale: float) -> Study:
        begun = asked.start.model_copy(update={"head": Ridge(scale=scale)})
        return asked.model_copy(update={"start": begun})

    assert start.give(read_with(12.0), path)
    with pytest.raises(StartBroken, match=r"beyond 1e\+06; raise `ridge` or lower `scale` of its"):
        start.give(read_with(1e9), path)


def test_a_file_that_is_no_file_of_weights_is_one_line(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_text(json.dumps({"weights": 1}))
    with pytest.raises(StartBroken, match=r"is no file of weights$"):
        start.give(study(path), path)


def test_a_checkpoint_is_a_file_of_weights_too(file, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    run(Study.parse_table(study_table(), where="first"), folder)
    path = folder / "checkpoints" / "round-00001.safetensors"
    start.keep(tmp_path, start.give(study(path), path))
    assert start.initial(study(path), tmp_path).keys() == TRAINED.keys()
