"""The thin bundle: what a coordinator submits to Flower, and all that a site's gate lets in.

It holds no code: the two apps come from each side's own installation. What it holds follows
from that installation alone, byte for byte, so each side builds it for itself and nobody needs
to send a hash. Version and code fingerprint are in it: a site that runs other code has another
bundle, and refuses (`client.supernode`).

The format is Flower's, built here with the standard library, since `privacy` stands below every
network library; a test holds it equal to what `flwr build` makes of the same folder. Nothing is
compressed in it, so no version of zlib can change a byte.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import tomli_w

from privacy.fingerprint import code_fingerprint

NOTE = "FEDWARD.md"
RUN_CONFIG: dict[str, str | int] = {
    "study": "experiments/studies/quick.toml",
    "data": "",
    "home": "",
    "run": "",
    "nodes": 0,
    "wait": 0,
    "again": 15,
    "tracking": "",
}
"""The keys of a run configuration and their defaults; `server.app` says what each means."""

_DATE = (2024, 10, 1, 0, 0, 0)  # Flower's, in every bundle


def bundle() -> bytes:
    """The thin bundle of this installation, as Flower packs it."""
    files = bundle_files()
    manifest = "\n".join(
        f"{name},{hashlib.sha256(content).hexdigest()},{len(content) * 8}"
        for name, content in files.items()
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in (files | {".info/CONTENT": manifest.encode()}).items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return packed.getvalue()


def bundle_hash() -> str:
    """SHA-256 of the thin bundle of this installation, in hex: what its gate lets in."""
    return hashlib.sha256(bundle()).hexdigest()


def write_bundle(folder: Path) -> Path:
    """Writes the thin bundle's files to a new or empty folder, for `flwr run FOLDER`.

    Raises:
        ValueError: Something is in the folder: `flwr build` could take it in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder")
    for name, content in bundle_files().items():
        (folder / name).write_bytes(content)
    return folder


def bundle_files() -> dict[str, bytes]:
    """The two files of the thin bundle by name, in the order in which Flower packs them."""
    version = metadata.version("fedward")
    note = (
        "# fedward\n\n"
        "This bundle holds no code. Coordinator and sites run what they have installed, and a\n"
        "site lets in this bundle only if its own installation builds the same bytes.\n\n"
        f"- version: {version}\n"
        f"- code: {code_fingerprint()}\n"
    )
    return {
        "pyproject.toml": tomli_w.dumps(_project(version)).encode(),
        NOTE: note.encode(),
    }


def _project(version: str) -> dict[str, Any]:
    """The bundle's pyproject.toml as a table."""
    return {
        "project": {
            "name": "fedward",
            "version": version,
            "description": "fedward's apps, from each side's own installation",
            "license": "Apache-2.0",
            "dependencies": [],
        },
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "fedward",
                    "fab-include": [NOTE],
                    "components": {
                        "serverapp": "server.app:app",
                        "clientapp": "client.app:app",
                    },
                    "config": RUN_CONFIG,
                }
            }
        },
    }
