"""Key files: 32 random bytes that only their owner may read.

Guarantees:
    - A key file appears whole or not at all, with mode 0600, and is on disk (file and folder)
      before its key is used.
    - A file that others may read, or of another size, is refused and never replaced.
Not guaranteed:
    Access lists beyond the mode bits are not looked at. A destroyed key may live on in backups,
    and in what the disk itself has copied.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from privacy.errors import KeyBroken
from privacy.files import drafts, sync_folder

KEY_BYTES = 32


def make_key(path: Path, content: bytes | None = None) -> None:
    """Makes a key file, where there is none; of several processes one wins.

    Args:
        path: The file; its folder is made too.
        content: The key; random if None. Simulations give theirs.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.draft")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(KEY_BYTES) if content is None else content)
        os.fsync(descriptor)
        with suppress(FileExistsError):
            # A link never replaces what is there, as a rename would.
            os.link(draft, path)
    finally:
        os.close(descriptor)
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_key(path: Path) -> bytes:
    """The key in a file.

    Raises:
        KeyBroken: The file is missing, may be read by others, or is not of 32 bytes.
    """
    try:
        with path.open("rb") as file:
            # Of what was opened: the name may mean another file by now.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(KEY_BYTES + 1)
    except FileNotFoundError:
        raise KeyBroken(f"{path.name} is missing at the site; restore it from a backup") from None
    except PermissionError:
        raise KeyBroken(
            f"{path.name} cannot be read by the user that runs the site; it must belong to that "
            "user, with mode 0600"
        ) from None
    if mode & 0o077:
        raise KeyBroken(
            f"{path.name} is open to its group or to others (mode {mode:04o}); find out who has "
            f"read it, then run: chmod 600 {path.name}"
        )
    if len(content) != KEY_BYTES:
        raise KeyBroken(
            f"{path.name} must hold {KEY_BYTES} bytes; restore it from a backup, nothing "
            "replaces it by itself"
        )
    return content


def derive(key: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose."""
    return hmac.digest(key, purpose.encode(), "sha256")


def destroy_key(path: Path) -> bool:
    """Overwrites a key file and its drafts and removes them, durably; whether there was any.

    Killed half way it leaves a file of random bytes, which opens nothing, or the file itself.
    """
    found = [file for file in (path, *drafts(path.parent, path.name)) if file.exists()]
    for file in found:
        file.chmod(0o600)  # an owner may have taken their own right to write away
        with file.open("r+b", buffering=0) as opened:
            opened.write(secrets.token_bytes(max(KEY_BYTES, file.stat().st_size)))
            os.fsync(opened.fileno())
        file.unlink()
        sync_folder(file.parent)
    return bool(found)
