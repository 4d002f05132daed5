"""The file of a prepared study: a head, then a patient a line.

It holds keyed hashes, parts and the numbers of true outputs: no text, no id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from embeddings.store import Key
from privacy.errors import SiteError
from privacy.files import drafts, remove, replacing
from tasks.records import Part

FORMAT = 3
PARTS: tuple[Part, ...] = ("train", "tune", "heldout")


@dataclass(frozen=True, slots=True)
class Stay:
    """One labelled stay: the keys of its notes, newest first, and its true outputs."""

    notes: tuple[Key, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """One patient of a study: the keyed hash of the id, the part, the labelled stays."""

    patient: bytes
    part: Part
    stays: tuple[Stay, ...]


@dataclass(frozen=True, slots=True)
class Cohort:
    """A study's patients at one site.

    Attributes:
        identity: Of encoder and chunker; what the vectors are filed under.
        members: For each part, the patients in order, each a list of stays.
        questions: For each output the keys of its question and of its other terms.
        patients: For each part, the keyed hashes of the members, in the same order.
    """

    identity: str
    members: dict[Part, tuple[tuple[Stay, ...], ...]]
    questions: tuple[tuple[Key, ...], ...]
    patients: dict[Part, tuple[bytes, ...]]


def write_head(file: TextIO, *, identity: str, questions: Iterable[Iterable[Key]]) -> None:
    """Writes the first line."""
    keys = [[key.hex() for key in output] for output in questions]
    file.write(json.dumps({"format": FORMAT, "identity": identity, "questions": keys}) + "\n")


def write_member(file: TextIO, member: Member) -> None:
    """Writes a patient's line."""
    stays = [[[key.hex() for key in stay.notes], stay.target] for stay in member.stays]
    row = {"patient": member.patient.hex(), "part": member.part, "stays": stays}
    file.write(json.dumps(row) + "\n")


def read(path: Path) -> Cohort:
    """Reads a cohort.

    Raises:
        SiteError: It is not there, is damaged, or is of another version.
    """
    try:
        lines = path.read_text("ascii").splitlines()
    except FileNotFoundError:
        raise SiteError("this study was not prepared at the site") from None
    except ValueError:
        lines = []
    try:
        head = json.loads(lines[0])
        if head["format"] != FORMAT:
            raise SiteError("this study was prepared by another version; prepare it again")
        members: dict[Part, list[tuple[Stay, ...]]] = {part: [] for part in PARTS}
        patients: dict[Part, list[bytes]] = {part: [] for part in PARTS}
        for line in lines[1:]:
            member = _member(line)
            members[member.part].append(member.stays)
            patients[member.part].append(member.patient)
        return Cohort(
            identity=head["identity"],
            members={part: tuple(rows) for part, rows in members.items()},
            questions=tuple(tuple(map(bytes.fromhex, keys)) for keys in head["questions"]),
            patients={part: tuple(rows) for part, rows in patients.items()},
        )
    except (ValueError, LookupError, TypeError):
        raise SiteError(
            "what was prepared for this study is damaged on the site's disk; prepare it again"
        ) from None


def files(folder: Path) -> list[Path]:
    """The files of all prepared studies."""
    return sorted(folder.glob("*.jsonl"))


def cut_out(path: Path, patient: bytes) -> bool:
    """Takes a patient's line out of a cohort, at once or not at all; whether there was one.

    A file that cannot be read, or is of another version, is removed whole: nobody can tell who
    is in it, and its study must be prepared again anyway.
    """
    lines = path.read_bytes().split(b"\n")
    try:
        ours = json.loads(lines[0])["format"] == FORMAT
        texts = [line.decode("ascii") for line in lines if line]
        others = [text for text in texts[1:] if ours and _member(text).patient != patient]
    except (ValueError, LookupError, TypeError):
        ours = False
    if not ours:
        return bool(remove(path))
    if len(others) == len(texts) - 1:
        return False
    with replacing(path) as file:
        file.writelines(f"{text}\n" for text in [texts[0], *others])
    return True


def remove_drafts(folder: Path, name: str = "*") -> int:
    """Removes what killed processes left; only where nobody else can be writing one."""
    return remove(*drafts(folder, name))


def _member(line: str) -> Member:
    """Raises one of ValueError, LookupError and TypeError where the line is none of ours."""
    row = json.loads(line)
    if row["part"] not in PARTS:
        raise ValueError
    stays = (
        Stay(tuple(map(bytes.fromhex, notes)), tuple(map(int, target)))
        for notes, target in row["stays"]
    )
    return Member(bytes.fromhex(row["patient"]), row["part"], tuple(stays))
