"""Conformance: does this encoder, on this machine, do what it does elsewhere?

The fingerprint says what an encoder *is*; this says what it *does*. Ten public sentences are
encoded and compared with reference vectors. A GPU in bfloat16 and a CPU in float32 agree to a
cosine of 0.999; a library that pools or tokenizes differently does not.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from embeddings.encoder import Encoder, Vectors
from privacy.errors import EncoderDiffers

LEAST_COSINE = 0.999
FOLDER = Path(__file__).parent / "references"

SENTENCES = (
    "The patient was admitted with chest pain radiating to the left arm.",
    "Creatinine rose to 3.1 mg/dL on the second day; oliguria followed.",
    "No evidence of pneumonia on the chest radiograph.",
    "Her mother had breast cancer at the age of 52.",
    "Discharged home on furosemide 40 mg and bisoprolol 2.5 mg daily.",
    "Se trata de un varón de 37 años con fiebre y dolor lumbar.",
    "A1c 9.8%, started on basal insulin.",
    "COPD exacerbation, treated with prednisone and nebulised salbutamol.",
    "MRI of the brain: acute infarct in the territory of the left middle cerebral artery.",
    "The weather was mild and the bus came late.",
)


def references(weights: str) -> Vectors | None:
    """The reference vectors of the weights with this SHA-256, (10, D); None if we have none."""
    for path in sorted(FOLDER.glob("*.json")):
        table = json.loads(path.read_text("utf-8"))
        if table["weights"] == weights:
            return np.asarray(table["vectors"], dtype=np.float32)
    return None


def least_cosine(encoder: Encoder, reference: Vectors) -> float:
    """The smallest cosine between a sentence's vector here and its reference, in [-1, 1]."""
    here = encoder.encode(SENTENCES).astype(np.float64)
    there = reference.astype(np.float64)
    cosines = (here * there).sum(1) / (np.linalg.norm(here, axis=1) * np.linalg.norm(there, axis=1))
    return float(cosines.min())


def check(encoder: Encoder) -> float | None:
    """Compares an encoder with its references.

    Returns:
        The smallest cosine; None where there are no references for these weights.

    Raises:
        EncoderDiffers: It is under 0.999.
    """
    reference = references(encoder.weights)
    if reference is None:
        return None
    cosine = least_cosine(encoder, reference)
    if not cosine >= LEAST_COSINE:
        raise EncoderDiffers(
            f"the encoder's vectors of the test sentences are off (cosine {cosine:.4f}, at least "
            f"{LEAST_COSINE} needed); install the pinned versions of sentence-transformers and "
            "transformers"
        )
    return cosine
