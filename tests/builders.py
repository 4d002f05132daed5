"""Small values that tests are built from."""

from __future__ import annotations

from typing import Any

CODES = ("I10", "E11", "I50", "N17", "J18", "J44", "I48", "N18")

Tables = dict[str, Any]


def study_table(**changes: Any) -> Tables:
    """A tiny private study as a TOML table; keyword arguments replace whole keys."""
    table: Tables = {
        "name": "tiny",
        "rounds": 2,
        "steps": 3,
        "sample_rate": 0.2,
        "seed": 3,
        "task": {"kind": "icd-coding", "codes": list(CODES)},
        "encoder": {"kind": "hashing", "dim": 64},
        "chunker": {"tokens": 40, "stride": 30},
        "bag": {"stays": 2, "chunks": 6},
        "head": {"kind": "linear", "scale": 4.0},
        "optimizer": {"kind": "sgd", "learning_rate": 0.5},
        "privacy": {"kind": "dp-sgd", "epsilon": 8.0, "clip": 0.5},
        "strategy": {"kind": "fedavg", "minimum_sites": 1},
    }
    return table | changes


def policy_table(**changes: Any) -> Tables:
    """A policy that lets any study run that spends no more than 8 in a lifetime."""
    table: Tables = {
        "lifetime": {"epsilon": 8.0},
        "metrics": "exact",
        "smallest_count": 0,
        "studies": "any",
    }
    return table | changes


def site_table(name: str, **changes: Any) -> Tables:
    """A simulated site as a TOML table."""
    source = {"kind": "synthetic", "hospital": name, "patient_count": 60}
    return {"name": name, "declared_patients": 40, "source": source} | changes


def deployed_site_table(name: str, **changes: Any) -> Tables:
    """A real site's site.toml as a TOML table; its patients stand in notes.jsonl beside it."""
    return {
        "name": name,
        "declared_patients": 40,
        "source": {"kind": "jsonl", "paths": ["notes.jsonl"]},
        "policy": policy_table(lifetime={"epsilon": 20.0}),
    } | changes


def simulation_table(*sites: Tables, **changes: Any) -> Tables:
    """A simulation of these sites; by default two, with an epsilon of 8 for a lifetime."""
    table: Tables = {
        "seed": 5,
        "policy": policy_table(),
        "sites": list(sites) or [site_table("ash"), site_table("birch")],
    }
    return table | changes


def patient(number: int, **changes: Any) -> Tables:
    """A patient's line: one stay, one discharge note."""
    return {
        "id": f"p{number}",
        "stays": [
            {
                "id": f"s{number}",
                "admitted": "2024-01-01T08:00:00Z",
                "discharged": "2024-01-05T12:00:00Z",
                "codes": ["I10", "E11.9"],
            }
        ],
        "notes": [
            {
                "at": "2024-01-05T11:00:00Z",
                "kind": "discharge",
                "text": f"Essential hypertension and type 2 diabetes, course number {number}.",
            }
        ],
    } | changes
