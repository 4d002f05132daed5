"""The real model, loaded once, and folders of it with other settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from minilm import CPU, SPEC, Variant

from embeddings.encoder import Encoder, EncoderSettings


@pytest.fixture(scope="session")
def packaged() -> Path:
    return SPEC.find(EncoderSettings())


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return SPEC.load(CPU)


@pytest.fixture
def variant(packaged: Path, tmp_path: Path) -> Variant:
    """Makes a folder of the model with some JSON files changed, added or (None) left out."""

    def make(changes: dict[str, Any] | None = None) -> Path:
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        for source in packaged.rglob("*"):
            if source.is_file():
                target = folder / source.relative_to(packaged)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
        for name, content in (changes or {}).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            if content is not None:
                target.write_text(json.dumps(content), "utf-8")
        return folder

    return make
