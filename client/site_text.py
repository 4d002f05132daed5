"""The text of a new site.toml: what was asked, and all else as a comment with its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

HEAD = """\
# One hospital. Private: never sent, and of what is in it only the name and the declared patients
# are told to the coordinator. Relative paths start where this file stands. A line that begins with
# `# ` and a key shows that key's default: take the `# ` away to change it.

# As the coordinator and the other sites see it.
"""
DECLARED = """
# Training patients, rounded by hand. It is public, and stands in for the true number, which stays
# here.
"""
DATASET = """
# Names the patients in the ledger. Two sources with the same patients must share it.
# dataset = "patients"

# How far ledger and audit log have come. Keep it on another disk than theirs, one that is not
# restored together with it: a ledger that was rolled back is found by it.
"""
FILES = """
# CPU threads that training uses.
# threads = 1

# Most that the embeddings may take on the disk, in GB; no limit unless it is set.
# quota_gb = 50.0

# Files of the site. Back up site.key, ledger.sqlite, parts.txt and withdrawn.txt.
# secret = "site.key"
# store_key = "store.key"
# ledger = "ledger.sqlite"
# audit_log = "audit.jsonl"
# releases = "releases.sqlite"
# studies = "studies"
# vectors = "vectors.sqlite"
# cohorts = "cohorts"
# heads = "heads"
# withdrawn = "withdrawn.txt"
# parts = "parts.txt"
"""
DATA = """
# Where relative paths of the source start.
"""
SOURCE = """
# Where the patients come from; opened to read, never written.
"""
COORDINATOR = """
# The one host and port that this site connects to. It takes no connection from outside.
[coordinator]
"""
COORDINATOR_REST = """
# The only CA that is trusted, as the coordinator handed it over.
# ca = "coordinator-ca.crt"

# Who this site is to the coordinator. Never hand it out; node.key.pub is for the coordinator.
# node_key = "node.key"

# "daemon": `fedward site run` embeds the notes of studies, and new notes as they come. "manual":
# somebody runs or schedules `fedward site embed`; until then a study waits.
# embed = "daemon"

# A message of the coordinator that takes longer is given up. Raise it where one round takes hours.
# longest_message_minutes = 60.0

# Of 127.0.0.1, for the site's own processes; each node on a machine needs another.
"""
MONITOR = """
# Of 127.0.0.1, where `fedward site run` serves /healthz and /metrics, for monitoring on this
# machine; each site on a machine needs another. 0 serves neither.
"""
POLICY = """
# What this site allows, whoever asks. No study and no coordinator can loosen it.
[policy]

# What all studies together may cost a training patient, for ever. It is the most that this site
# will ever be able to claim; it can be made larger later, but what was spent stays spent.
"""
POLICY_REST = """
# "approved": only studies that `fedward site approve` let in. "any": whatever the other rules
# allow.
# studies = "approved"

# Kinds of task, encoder, head and privacy mechanism that a study may ask for. Training without
# privacy needs "off" among the mechanisms.
# tasks = ["icd-coding"]
# encoders = ["sentence-transformer", "hashing"]
# heads = ["linear", "mlp", "random-features", "label-attention", "code-query", "ridge"]
# mechanisms = ["dp-sgd"]

# Least noise of a training step, as a multiple of the clip; largest clip of a patient's gradient.
# least_noise = 0.3
# largest_clip = 10.0

# Rounds that a study may be charged for beyond its own, where some were broken off.
# spare_rounds = 2

# Rounds that any 24 hours may see; no limit unless it is set.
# rounds_per_day = 50

# With fewer declared patients than this the site trains nothing.
# smallest_cohort = 0

# Counts below this are hidden where tallies leave "exact".
# smallest_count = 10

# How tallies of tune and held-out patients leave: "noised", "withheld", or "exact", which protects
# nobody from a coordinator that means harm.
# metrics = "noised"

# What noised tallies together may cost a tune or held-out patient, for ever; and the noise of each.
# heldout = {epsilon = 2.0, delta = 1e-5}
# tally_noise = 20.0

# Largest model, in numbers that are trained; most pieces of text of one patient; longest piece, in
# tokens.
# most_numbers = 20000000
# most_chunks = 4096
# longest_chunk = 8192
"""
SPLIT = """
# Shares of patients that choose the threshold, and that score a study; the others are trained on.
# Instead of by a keyed hash of the id, patients may be divided by a CSV file with the columns id
# and part (`file`), or held out from a day on (`before`), by the first or last stay (`by`).
# Change it only before the first study.
[split]
# tune = 0.15
# heldout = 0.15
# file = "parts.csv"
# before = 2024-01-01
# by = "first"
"""
ENCODERS = """
# How this machine runs encoders. `hub` lets it download models from the Hugging Face hub.
[encoders]
# paths = {}
# folders = false
# hub = false
# device = "auto"
# precision = "auto"
# batch = 16
"""


def site_text(table: Mapping[str, Any]) -> str:
    """The text of site.toml.

    Args:
        table: Keys `name`, `declared_patients`, `mark`, `data`, and the tables `source`,
            `coordinator` (`superlink`, `port`, `monitor`) and `policy` (`lifetime`).
    """
    coordinator, lifetime = table["coordinator"], table["policy"]["lifetime"]
    inline = ", ".join(_lines(lifetime).splitlines())
    return "".join(
        [
            HEAD + _lines(table, "name"),
            DECLARED + _lines(table, "declared_patients"),
            DATASET + _lines(table, "mark"),
            FILES,
            DATA + _lines(table, "data"),
            SOURCE + tomli_w.dumps({"source": table["source"]}),
            COORDINATOR + _lines(coordinator, "superlink"),
            COORDINATOR_REST + _lines(coordinator, "port"),
            MONITOR + _lines(coordinator, "monitor"),
            POLICY + f"lifetime = {{{inline}}}\n",
            POLICY_REST,
            SPLIT,
            ENCODERS,
        ]
    )


def _lines(table: Mapping[str, Any], *keys: str) -> str:
    """These keys, or all, as lines of TOML."""
    return tomli_w.dumps({key: table[key] for key in keys or table})
