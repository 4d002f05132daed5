"""Which metrics stand in tables: rankings where many outputs are asked, curves where few are."""

from __future__ import annotations

Columns = tuple[tuple[str, str], ...]
"""What a column is called, and the field of `Metrics` in it."""

FEW = 8

_RANKED: Columns = (
    ("micro-F1", "micro_f1"),
    ("macro-F1", "macro_f1"),
    ("MAP", "map"),
    ("P@8", "p_at_8"),
    ("AUPRC", "auprc"),
)
_CURVES: Columns = (
    ("micro-F1", "micro_f1"),
    ("macro-F1", "macro_f1"),
    ("AUROC", "auroc_macro"),
    ("AUPRC", "auprc_macro"),
)


def columns(outputs: int) -> Columns:
    """The columns for a study with so many outputs.

    With up to eight, the first eight of a ranking are all of them, and of one output every
    ranking is perfect: P@8 and MAP would say nothing. AUROC and AUPRC are then the mean of the
    outputs' own.
    """
    return _CURVES if outputs <= FEW else _RANKED


def leading(outputs: int) -> tuple[str, str]:
    """The column by which two heads are told apart: micro-F1 where many outputs are asked, the mean
    of the outputs' AUROC where few are.
    """
    shown = columns(outputs)
    return shown[2] if outputs <= FEW else shown[0]
