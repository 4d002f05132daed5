"""What a head of a site's own starts from: the final weights of the study, checked."""

from __future__ import annotations

import numpy as np
import pytest
from own_head_sites import ask, line, prepare
from safetensors.numpy import save_file

from client import cohort, final_weights
from client.personalise import personalise
from privacy.errors import EncoderDiffers, SiteError
from tasks.heads.weights_file import load_weights


def test_only_the_last_question_is_kept_and_only_at_a_deployed_site(
    make_site, site, study, start, write_lines
):
    prepare(site, study)
    for number in (0, 1):
        ask(site, study, start, round=number)
    assert not site.at(site.heads).exists()
    ask(site, study, start)
    path = final_weights.kept_at(site, study.digest)
    back = load_weights(path)
    assert set(back) == set(start)
    assert all(np.array_equal(back[name], value) for name, value in start.items())
    simulated_site = make_site(
        "birch", source={"kind": "jsonl", "paths": [str(write_lines(*map(line, range(30))))]}
    )
    cohort.prepare(simulated_site, study)
    ask(simulated_site, study, start)
    assert not simulated_site.at(simulated_site.heads).exists()


def test_the_first_final_weights_stay_and_others_are_told(ended, study, start, caplog):
    """Whoever asks later could put other weights under a head that is made for patients here."""
    path = final_weights.kept_at(ended, study.digest)
    first = path.read_bytes()
    final_weights.keep(ended, study, start, identity=cohort.load(ended, study).identity)
    assert not caplog.records
    ask(ended, study, {name: value + 1 for name, value in start.items()})
    assert path.read_bytes() == first
    [said] = [record.getMessage() for record in caplog.records]
    assert "others than study tiny's last question brought to ash first" in said
    assert "as --weights" in said


def test_what_came_before_the_end_or_in_a_run_before_makes_room(site, study, start):
    """Else who asks the last question first would keep the true weights out."""
    prepare(site, study)
    path, read = final_weights.kept_at(site, study.digest), []
    for number in range(3):
        if number:
            site.open_ledger().reserve(study.spend(number), lifetime=site.policy.lifetime)
        ask(site, study, {name: value + number for name, value in start.items()})
        read.append(path.read_bytes())
    assert len(set(read)) == 3
    ask(site, study, start)
    assert path.read_bytes() == read[-1]


def kept(site, study) -> dict[str, list[float]]:
    identity = cohort.load(site, study).identity
    found = final_weights.read(site, study, identity=identity)
    return {name: value.tolist() for name, value in found.items()}


@pytest.mark.parametrize("harm", ["cut", "not finite", "of another shape"])
def test_what_is_damaged_makes_room(ended, study, start, harm):
    path, identity = final_weights.kept_at(ended, study.digest), cohort.load(ended, study).identity
    first = kept(ended, study)
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        change = {"not finite": lambda value: value * np.nan, "of another shape": lambda v: v[:-1]}
        save_file(
            {name: change[harm](value) for name, value in start.items()},
            path,
            {"encoder": identity, "charges": "9"},
        )
    final_weights.keep(ended, study, start, identity=identity)
    assert kept(ended, study) == first


def test_what_is_of_other_vectors_makes_room(ended, study, start):
    identity, first = cohort.load(ended, study).identity, kept(ended, study)
    final_weights.keep(ended, study, start, identity="1" * 64)
    with pytest.raises(EncoderDiffers):
        kept(ended, study)
    final_weights.keep(ended, study, start, identity=identity)
    assert kept(ended, study) == first


def test_a_study_that_goes_on_is_said_to(site, study):
    prepare(site, study)
    with pytest.raises(SiteError, match=r"of study tiny are kept at ash: .* 0 of its 2 rounds"):
        personalise(site, study.digest)
    site.open_ledger().reserve(study.spend(1), lifetime=site.policy.lifetime)
    with pytest.raises(SiteError, match=r"last question brings them, and 1 of its 2 rounds"):
        personalise(site, study.digest)


def test_a_file_of_the_coordinators_takes_their_place(site, study, start, tmp_path):
    prepare(site, study)
    with pytest.raises(SiteError, match=r"kept at ash: .* give it as --weights"):
        personalise(site, study.digest)
    save_file(start, tmp_path / "final.safetensors")
    one = personalise(site, study.digest, weights=tmp_path / "final.safetensors")
    inside = {f"weights/{name}": value for name, value in start.items()}
    save_file(inside | {"tallies/ash/x": np.zeros(2)}, tmp_path / "round.safetensors")
    two = personalise(site, study.digest, weights=tmp_path / "round.safetensors")
    ask(site, study, start)
    three = personalise(site, study.digest)
    assert one.preferred.tune_f1 == two.preferred.tune_f1 == three.preferred.tune_f1


def bad(start: dict[str, np.ndarray]) -> dict[str, tuple[dict[str, np.ndarray], str]]:
    weight, bias = start["out.weight"], start["out.bias"]
    spoiled = bias.copy()
    spoiled[1] = np.nan
    return {
        "name": ({"out.weight": weight}, "weights must be exactly"),
        "more": (start | {"patients": bias}, "weights must be exactly"),
        "shape": (start | {"out.weight": weight[:, :-1].copy()}, "must be float32 of shape"),
        "type": (start | {"out.bias": bias.astype(np.float64)}, "must be float32 of shape"),
        "not finite": (start | {"out.bias": spoiled}, "not finite"),
        "huge": (start | {"out.bias": bias + np.float32(2e6)}, "beyond 1e.06"),
    }


def test_a_head_of_the_sites_own_is_not_taken_for_the_federations(site, study, start, tmp_path):
    prepare(site, study)
    inside = {f"weights/{name}": value for name, value in start.items()}
    save_file(inside | {"patients": np.zeros((1, 32), np.uint8)}, tmp_path / "x.safetensors")
    with pytest.raises(SiteError, match=r"^x\.safetensors does not hold .* it never leaves$"):
        personalise(site, study.digest, weights=tmp_path / "x.safetensors")


def test_a_round_is_answered_where_the_final_weights_cannot_be_kept(
    site, study, start, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(final_weights, "write", full)
    prepare(site, study)
    ask(site, study, start)
    assert not final_weights.kept_at(site, study.digest).exists()


@pytest.mark.parametrize("what", ["name", "more", "shape", "type", "not finite", "huge"])
def test_weights_that_are_not_the_studys_are_refused(site, study, start, tmp_path, what):
    prepare(site, study)
    weights, said = bad(start)[what]
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(SiteError, match=rf"^x\.safetensors does not hold .* tiny: .*{said}"):
        personalise(site, study.digest, weights=tmp_path / "x.safetensors")
    assert not site.at(site.heads).exists()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 no weights", bytes(200)])
def test_what_is_no_file_of_weights_is_one_line(site, study, tmp_path, content):
    prepare(site, study)
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SiteError, match=r"is not there|cannot be read as weights") as error:
        personalise(site, study.digest, weights=path)
    assert "\n" not in str(error.value)


def test_weights_of_other_vectors_are_refused(ended, study, start):
    final_weights.keep(ended, study, start, identity="1" * 64)
    with pytest.raises(EncoderDiffers, match="trained on vectors of 111111111111"):
        personalise(ended, study.digest)
