"""The real model that comes as a package, and how the tests load it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from embeddings.encoder import EncoderSettings
from embeddings.presets import MINILM
from embeddings.sentence_transformer import SentenceTransformerSpec

CPU = EncoderSettings(device="cpu", precision="float32")
SPEC = SentenceTransformerSpec()
SENTENCE = "The patient has chest pain."
Variant = Callable[..., Path]


def at(folder: Path) -> EncoderSettings:
    return replace(CPU, paths={MINILM: folder})


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text("utf-8"))
