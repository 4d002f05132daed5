"""Models of `transformers` alone, made here with small random weights: pooled, limited, pinned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embeddings import sentence_transformer
from embeddings.encoder import EncoderSettings, file_sha256
from embeddings.sentence_transformer import SentenceTransformerSpec
from privacy.errors import EncoderDiffers

WORDS = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", "query", ":", "chest", "pain", "fever"]
TEXTS = ["chest pain", "fever", "pain fever chest pain fever fever chest"]
WIDTH = 16


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def make(folder: Path, kind: str = "bert") -> Path:
    """A model as its own library saves it: weights, config, vocabulary."""
    from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

    folder.mkdir()
    config, model = {"bert": (BertConfig, BertModel), "roberta": (RobertaConfig, RobertaModel)}[
        kind
    ]
    torch.manual_seed(7)
    small = config(
        vocab_size=len(WORDS), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=32, pad_token_id=1,
    )  # fmt: skip
    model(small).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), "utf-8")
    said = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), "utf-8")
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return make(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    """The model in a folder that may be changed."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def spec(folder: Path, **fields: Any) -> SentenceTransformerSpec:
    pin = file_sha256(folder / "model.safetensors")
    return SentenceTransformerSpec(model="it", sha256=pin, dim=WIDTH, **fields)


def settings(folder: Path) -> EncoderSettings:
    return EncoderSettings(paths={"it": folder}, device="cpu", precision="float32")


def load(folder: Path, **fields: Any) -> Any:
    return spec(folder, **fields).load(settings(folder))


def fingerprint(folder: Path, **fields: Any) -> str:
    return spec(folder, **fields).fingerprint(settings(folder))


def by_hand(folder: Path, text: str, pooling: str) -> np.ndarray:
    """A text alone through the bare model: nothing is padded."""
    from transformers import BertModel

    words = ["[CLS]", *text.split(), "[SEP]"]
    model = BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        tokens = model(torch.tensor([[WORDS.index(w) for w in words]])).last_hidden_state[0]
    vector = (tokens.mean(0) if pooling == "mean" else tokens[0]).numpy()
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_tokens_are_pooled_and_padding_is_not(bert: Path, pooling: str):
    found = load(bert, pooling=pooling).encode(TEXTS)
    expected = [by_hand(bert, text, pooling) for text in TEXTS]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_a_word_about_pooling_it_is_the_mean(bert: Path):
    own, mean = load(bert), load(bert, pooling="mean")
    np.testing.assert_array_equal(own.encode(TEXTS), mean.encode(TEXTS))
    assert own.fingerprint == mean.fingerprint == fingerprint(bert)
    assert fingerprint(bert, pooling="cls") != own.fingerprint


def test_a_prompt_stands_before_each_text(bert: Path):
    plain, asked = load(bert), load(bert, prompt="query: ")
    expected = plain.encode([f"query: {text}" for text in TEXTS])
    np.testing.assert_allclose(asked.encode(TEXTS), expected, atol=1e-6)
    assert np.abs(plain.encode(TEXTS) - expected).max() > 0.01
    assert asked.fingerprint != plain.fingerprint
    assert asked.fingerprint == fingerprint(bert, prompt="query: ")
    assert asked.max_tokens == plain.max_tokens - 2


def test_the_longest_text_is_what_the_study_says(bert: Path):
    assert load(bert).max_tokens == 30
    assert load(bert, context=16).max_tokens == 14
    assert fingerprint(bert, context=16) != fingerprint(bert)
    with pytest.raises(EncoderDiffers, match="it: reads 32 tokens; the study says 33"):
        load(bert, context=33)


def test_positions_that_a_roberta_never_uses_are_not_counted(tmp_path: Path):
    """32 rows with padding at 1: 30 positions. A longer text would be an index out of range."""
    folder = make(tmp_path / "roberta", "roberta")
    encoder = load(folder)
    assert encoder.max_tokens == 28
    long = encoder.encode(["chest pain fever " * 40])
    assert np.isfinite(long).all()
    with pytest.raises(EncoderDiffers, match="reads 30 tokens; the study says 32"):
        load(folder, context=32)


def test_weights_that_are_not_all_there_are_refused(copy: Path):
    """The library would make them up, and others at every site under one fingerprint."""
    weights = load_file(copy / "model.safetensors")
    cut = {name: value for name, value in weights.items() if "layer.1.output" not in name}
    assert len(cut) < len(weights)
    save_file(cut, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderDiffers, match=r"lacks \d+ of the model's tensors"):
        load(copy)


def test_a_pooler_that_is_not_there_is_not_missed(bert: Path, copy: Path):
    weights = load_file(copy / "model.safetensors")
    cut = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    assert len(cut) < len(weights)
    save_file(cut, copy / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(load(copy).encode(TEXTS), load(bert).encode(TEXTS))


def test_a_vocabulary_is_part_of_what_it_is(copy: Path):
    before = fingerprint(copy)
    swapped = [*WORDS[:-2], WORDS[-1], WORDS[-2]]
    (copy / "vocab.txt").write_text("\n".join(swapped), "utf-8")
    assert fingerprint(copy) != before


def with_a_layer(copy: Path, scale: float) -> Path:
    """The model with a layer of its own after the mean."""
    kinds = ("sentence_transformers.models.Transformer", "sentence_transformers.models.Dense")
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": kind}
        for n, (path, kind) in enumerate(zip(("", "2_Dense"), kinds, strict=True))
    ]
    (copy / "modules.json").write_text(json.dumps(modules), "utf-8")
    (copy / "2_Dense").mkdir(exist_ok=True)
    save_file({"linear.weight": torch.eye(WIDTH) * scale}, copy / "2_Dense" / "model.safetensors")
    return copy


def test_layers_of_its_own_are_part_of_what_it_is(copy: Path):
    assert fingerprint(with_a_layer(copy, 1.0)) != fingerprint(with_a_layer(copy, 2.0))


def test_layers_of_its_own_that_are_pickles_are_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sentence_transformer, "_load", lambda *_: pytest.fail("was loaded"))
    dense = with_a_layer(copy, 1.0) / "2_Dense"
    (dense / "model.safetensors").rename(dense / "pytorch_model.bin")
    for act in (load, fingerprint):
        with pytest.raises(EncoderDiffers, match="there as a pickle alone"):
            act(copy)
