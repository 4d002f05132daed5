"""Presets: what is known of encoders that studies often want, by a short name.

A preset fills in fields of a `sentence-transformer` table and is nothing else: what a study holds
and sends is the fields, and whoever spells them out gets the very same study. It never stands for
weights that were not seen: only where their hash is here is `sha256` filled in; elsewhere the study
gives it. The facts are those of the models' own pages; a model of which one of them is not certain,
or which runs code of its own, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Pooling = Literal["own", "mean", "cls"]
"""`own`: as the model's own modules.json says, the mean where it has none."""

Group = Literal["general", "retrieval", "biomedical", "spanish", "multilingual"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, slots=True)
class Preset:
    """One encoder.

    Attributes:
        group: What it is for.
        model: Hub id.
        dim: Width of its vectors.
        context: Longest text, in its own tokens with special ones.
        pooling: How a text's token vectors become one: `mean` or `cls`; `own` where layers of the
            model's own come after that.
        licence: Of the weights: an SPDX identifier, or `public domain`.
        bare: Whether it is a `transformers` model without a sentence-transformers configuration,
            so that a study must say pooling and context.
        prompt: Stands before each text.
        sha256: Of its model.safetensors, where that is certain.
    """

    group: Group
    model: str
    dim: int
    context: int
    pooling: Pooling
    licence: str
    bare: bool = False
    prompt: str = ""
    sha256: str | None = None

    def fields(self) -> dict[str, object]:
        """The fields of `SentenceTransformerSpec` that it fills in."""
        found: dict[str, object] = {"model": self.model, "dim": self.dim}
        if self.prompt:
            found["prompt"] = self.prompt
        if self.bare:
            found |= {"pooling": self.pooling, "context": self.context}
        if self.sha256 is not None:
            found["sha256"] = self.sha256
        return found

    @property
    def said(self) -> str:
        """It in one line, for people."""
        pooling = "its own pooling" if self.pooling == "own" else f"{self.pooling} pooling"
        return (
            f"{self.group}; {self.dim} wide, {self.context:,} tokens, {pooling}; {self.licence}; "
            f"{self.model}" + ("" if self.sha256 else "; give sha256")
        )


def _e5(name: str, dim: int, *, group: Group = "retrieval") -> Preset:
    # The authors ask for this prompt wherever vectors are features rather than passages.
    model = f"intfloat/{name}"
    return Preset(group, model, dim, 512, "mean", "MIT", prompt="query: ")


PRESETS: Mapping[str, Preset] = {
    "all-minilm-l6-v2": Preset(
        "general", MINILM, 384, 256, "mean", "Apache-2.0", sha256=MINILM_SHA256
    ),
    "all-mpnet-base-v2": Preset(
        "general", "sentence-transformers/all-mpnet-base-v2", 768, 384, "mean", "Apache-2.0"
    ),
    "e5-small-v2": _e5("e5-small-v2", 384),
    "e5-base-v2": _e5("e5-base-v2", 768),
    "e5-large-v2": _e5("e5-large-v2", 1024),
    "bge-small-en-v1.5": Preset("retrieval", "BAAI/bge-small-en-v1.5", 384, 512, "cls", "MIT"),
    "bge-base-en-v1.5": Preset("retrieval", "BAAI/bge-base-en-v1.5", 768, 512, "cls", "MIT"),
    "bge-large-en-v1.5": Preset("retrieval", "BAAI/bge-large-en-v1.5", 1024, 512, "cls", "MIT"),
    "gte-base": Preset("retrieval", "thenlper/gte-base", 768, 512, "mean", "MIT"),
    "gte-large": Preset("retrieval", "thenlper/gte-large", 1024, 512, "mean", "MIT"),
    "pubmedbert-base-embeddings": Preset(
        "biomedical", "NeuML/pubmedbert-base-embeddings", 768, 512, "mean", "Apache-2.0"
    ),
    "bio-clinicalbert": Preset(
        "biomedical", "emilyalsentzer/Bio_ClinicalBERT", 768, 512, "mean", "MIT", bare=True
    ),
    "biomedbert": Preset(
        "biomedical",
        "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext",
        768,
        512,
        "mean",
        "MIT",
        bare=True,
    ),
    "bioclinical-modernbert-base": Preset(
        "biomedical",
        "thomas-sounack/BioClinical-ModernBERT-base",
        768,
        8192,
        "mean",
        "MIT",
        bare=True,
    ),
    "medcpt-article": Preset(
        "biomedical", "ncbi/MedCPT-Article-Encoder", 768, 512, "cls", "public domain", bare=True
    ),
    "bsc-bio-ehr-es": Preset(
        "spanish", "PlanTL-GOB-ES/bsc-bio-ehr-es", 768, 512, "mean", "Apache-2.0", bare=True
    ),
    "roberta-base-biomedical-clinical-es": Preset(
        "spanish",
        "PlanTL-GOB-ES/roberta-base-biomedical-clinical-es",
        768,
        512,
        "mean",
        "Apache-2.0",
        bare=True,
    ),
    "multilingual-e5-small": _e5("multilingual-e5-small", 384, group="multilingual"),
    "multilingual-e5-base": _e5("multilingual-e5-base", 768, group="multilingual"),
    "multilingual-e5-large": _e5("multilingual-e5-large", 1024, group="multilingual"),
    "labse": Preset("multilingual", "sentence-transformers/LaBSE", 768, 256, "own", "Apache-2.0"),
    "paraphrase-multilingual-minilm-l12-v2": Preset(
        "multilingual",
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        384,
        128,
        "mean",
        "Apache-2.0",
    ),
    "bge-m3": Preset("multilingual", "BAAI/bge-m3", 1024, 8192, "cls", "MIT"),
}
"""By the name that a study gives."""


def filled(table: Mapping[str, object]) -> dict[str, object]:
    """A table without its `preset`, which has filled in what the table does not say itself.

    Args:
        table: Of an encoder, with or without a `preset`.

    Raises:
        ValueError: There is no such preset, or the study must pin the weights itself.
    """
    given = dict(table)
    if "preset" not in given:
        return given
    name = given.pop("preset")
    preset = PRESETS.get(name) if isinstance(name, str) else None
    if preset is None:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}")
    if preset.sha256 is None and "sha256" not in given:
        raise ValueError(
            f"the preset of {preset.model} pins no weights; give sha256, that of the "
            "model.safetensors that every site is to use"
        )
    return preset.fields() | given
