"""The vocabulary: which conditions there are, which come together, who sees more of them."""

from __future__ import annotations

from typing import Literal

from client.sources.synthetic.circulation import CIRCULATION
from client.sources.synthetic.condition import Condition, read_conditions
from client.sources.synthetic.organs import ORGANS
from client.sources.synthetic.systemic import SYSTEMIC

Mix = Literal["general", "cardiac", "renal", "respiratory", "oncology", "rural"]

CONDITIONS: dict[str, Condition] = {
    condition.category: condition
    for table in (CIRCULATION, ORGANS, SYSTEMIC)
    for condition in read_conditions(table)
}
"""Every condition by its category."""

LINKS: dict[frozenset[str], float] = {
    frozenset(pair.split()): weight
    for weight, pairs in (
        (0.6, "I10 E78, I10 E11, I10 I48, E78 I25, E78 I70, E11 I25, E11 I50, F32 F41, I25 I48"),
        (0.6, "E66 I10, E66 K21, J44 K21, N18 M10, N18 I25, F17 I25, F10 F32, F03 F32, I50 N17"),
        (0.6, "E11 N39, E11 L03, E66 L03, M17 E66, N18 I48, J44 I50, C50 F32, C61 D64, G20 N39"),
        (1.0, "E11 N18, I10 N18, I50 I48, I50 I25, I50 N18, E11 E66, E66 G47, F17 J44, F17 I70"),
        (1.0, "I25 I70, I25 I21, N18 D64, N18 N17, N18 E87, E86 N17, E86 E87, N17 E87, A41 N17"),
        (1.0, "A41 I95, J18 J96, J18 A41, N39 A41, L03 A41, J44 J18, F03 N39, F03 J69, F10 E87"),
        (1.0, "I48 I63, I10 I63, I35 I50, C34 D64, C18 D50, M81 S72, A41 F05, N39 F05, E43 L89"),
        (1.0, "C34 E43, C25 E43, C78 E43, F10 K74, B18 K74, F10 K85, I82 C25, D69 K74, I95 E86"),
        (1.6, "J44 J96, I50 J90, C34 J90, F03 F05, K92 D62, S72 D62, K70 D69, K80 K85, G20 J69"),
        (1.6, "I63 J69, J84 J96, C34 I26, C78 I26, S72 F05, K57 K92, K70 E87, F03 L89, A04 E86"),
        (2.2, "F10 K70, C34 J44, C34 C78, C18 C78, C25 C78, I82 I26, C34 C79, C61 C79, C50 C79"),
        (2.2, "C34 D70, C50 D70, C18 D70, C78 D70, C34 F17, C50 C78"),
    )
    for pair in pairs.split(", ")
}
"""Log-odds that the one adds to the other, whichever is drawn later."""

RIVALS: tuple[frozenset[str], ...] = tuple(
    frozenset(group.split())
    for group in (
        "D50 D64",
        "D62 D64",
        "J44 J45",
        "E66 E43",
        "C34 C18 C25 C50",
        "C34 C61",
        "K70 K74",
    )
)
"""Conditions that no stay has together: the coding rules, or sense, forbid it."""

KIN: tuple[frozenset[str], ...] = tuple(
    frozenset(group.split())
    for group in (
        "D50 D62 D64 K92",
        "J18 J69 A41 J96",
        "I21 I25",
        "I26 I82",
        "N17 N18 E86",
        "K70 K74 F10 B18",
        "F03 F05 G20",
        "J44 J45 J84",
        "C34 C50 C61 C18 C25 C78 C79",
        "E86 E87 I95",
        "I70 I63",
        "F32 F41",
        "E66 G47",
        "A41 N39 L03",
        "K80 K85",
        "I50 J90",
        "D69 D70",
        "M81 S72",
        "N39 N20 N40",
        "A04 K57 K56",
        "I10 E78",
    )
)
"""Conditions so near that a note would not deny the one beside the other."""

_TILTS: dict[Mix, tuple[tuple[float, str], ...]] = {
    "general": (),
    "cardiac": (
        (4.0, "I35 I70 I26"),
        (3.0, "I50 I25 I48 I21"),
        (1.8, "E78 I95 I63"),
        (0.45, "C34 K92 F10 M17 K80 L03"),
    ),
    "renal": (
        (4.0, "N18 N17 E87 N20"),
        (2.4, "E11 D64 M10 N39 I70"),
        (0.45, "J44 S72 F10 C34"),
    ),
    "respiratory": (
        (4.0, "J18 J44 J96 J45 J84 J69 J90"),
        (2.5, "F17 C34 G47 I26"),
        (0.5, "I25 N18 K80 M17"),
    ),
    "oncology": (
        (9.0, "C34 C50 C61 C18 C25"),
        (6.0, "C78 C79"),
        (3.5, "D70 D69 E43 D64 I82 I26"),
        (0.45, "I21 I50 J44 I25"),
    ),
    "rural": (
        (4.0, "F10 K70 K85 L03 S72 B18 A04"),
        (2.6, "F17 E66 G40 K92 F32 J45 L89"),
        (0.4, "I35 J84 D70 C25 N18 I48 I82"),
    ),
}

MIXES: dict[Mix, dict[str, float]] = {
    mix: {category: times for times, group in tilts for category in group.split()}
    for mix, tilts in _TILTS.items()
}
"""For each specialty, what multiplies the odds of a condition."""
