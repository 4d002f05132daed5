"""Presets: a short name for fields, and no more than that."""

from __future__ import annotations

import json

import pytest
from builders import study_table
from pydantic import ValidationError
from typer.testing import CliRunner

from embeddings.encoders import ENCODERS
from embeddings.presets import MINILM_SHA256, PRESETS
from embeddings.sentence_transformer import SentenceTransformerSpec
from experiments.command import app
from tasks.study import Study

PIN = "a" * 64


def made(**table: object) -> SentenceTransformerSpec:
    return SentenceTransformerSpec.model_validate(table)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_fields_spelled_out(name):
    preset = PRESETS[name]
    spec = made(preset=name, sha256=preset.sha256 or PIN)
    assert spec == made(**{"sha256": PIN} | preset.fields())
    assert (spec.model, spec.dim, spec.prompt) == (preset.model, preset.dim, preset.prompt)
    assert (spec.pooling, spec.context) == (
        (preset.pooling, preset.context) if preset.bare else ("own", None)
    )


def test_a_study_that_names_a_preset_is_the_study_that_spells_it_out():
    table = {"kind": "sentence-transformer", "preset": "e5-base-v2", "sha256": PIN}
    study = Study.parse_table(study_table(encoder=table), where="")
    spelled = {"model": "intfloat/e5-base-v2", "dim": 768, "prompt": "query: "}
    encoder = {"kind": "sentence-transformer", "sha256": PIN} | spelled
    assert study.digest == Study.parse_table(study_table(encoder=encoder), where="").digest
    assert "preset" not in study.canonical()
    assert Study.received(study.canonical()) == study


def test_what_the_table_says_itself_stays():
    spec = made(preset="biomedbert", sha256=PIN, model="/srv/biomedbert", pooling="cls")
    assert (spec.model, spec.pooling, spec.context) == ("/srv/biomedbert", "cls", 512)


def test_the_one_with_a_hash_is_the_default():
    assert made(preset="all-minilm-l6-v2") == SentenceTransformerSpec()
    assert [p.sha256 for p in PRESETS.values() if p.sha256] == [MINILM_SHA256]


@pytest.mark.parametrize("name", [name for name, p in PRESETS.items() if p.sha256 is None])
def test_none_stands_for_weights_that_nobody_pinned(name):
    with pytest.raises(ValidationError, match="pins no weights; give sha256"):
        made(preset=name)


@pytest.mark.parametrize("name", ["nobody", "", 3, None, ["labse"]])
def test_an_unknown_one_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"^sentence-transformer: .*one of all-minilm-l6-v2, "):
        ENCODERS.parse({"kind": "sentence-transformer", "preset": name})


def test_each_group_has_some_and_no_model_stands_twice():
    groups = {preset.group for preset in PRESETS.values()}
    assert groups == {"general", "retrieval", "biomedical", "spanish", "multilingual"}
    assert len({preset.model for preset in PRESETS.values()}) == len(PRESETS)


def test_they_are_listed_with_the_encoders(tmp_path):
    out = tmp_path / "kinds.json"
    assert CliRunner().invoke(app, ["lab", "kinds", "encoders", "--json", str(out)]).exit_code == 0
    rows = {row["kind"]: row for row in json.loads(out.read_text("utf-8"))}
    assert set(PRESETS) < set(rows)
    assert "512 tokens, mean pooling; MIT; emily" in rows["bio-clinicalbert"]["what"]
    assert rows["hashing"]["seam"] == "encoders"
