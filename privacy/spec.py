"""Spec, the base of every value that is written or sent, and Registry, which finds one by kind."""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema

MOST_COMPLAINTS = 100
LONGEST_COMPLAINT = 1500


class Spec(BaseModel):
    """A frozen, closed and silent value.

    Frozen: it never changes, so its hash names it for good. Closed: an unknown field is an
    error, so a typo never becomes a default. Silent: a validation error names the field and
    never the value, because a value may be a patient's.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=True
    )

    def canonical(self) -> str:
        """The one JSON text of this value: sorted keys, no spaces, ASCII."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), allow_nan=False
        )

    def content_hash(self) -> str:
        """SHA-256 of `canonical()`, in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads the value from a TOML file.

        Raises:
            ValueError: The file is missing, is not TOML or does not fit; the text is one line
                that names the file and the key.
        """
        return cls.parse_table(read_toml(path), where=str(path))

    @classmethod
    def parse_table(cls, table: dict[str, Any], *, where: str) -> Self:
        """Validates a table, with `where` in front of every complaint.

        Raises:
            ValueError: In one line, what does not fit and where.
        """
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise ValueError(f"{where}: {one_line(error)}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        ValueError: The file is missing or is not TOML; the text is one line.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from None


def one_line(error: ValidationError) -> str:
    """A validation error in one line: each key and what is wrong with it, never its value.

    Keys may come from anybody, so the line is printable and not long.
    """
    if error.error_count() > MOST_COMPLAINTS:
        return f"{error.error_count():,} keys do not fit"
    said = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        key = ".".join(str(step) for step in item["loc"]) or "the table"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "no such key; check its spelling"
        said.append(f"{printable(key, 100)}: {message}")
    return printable("; ".join(said), LONGEST_COMPLAINT)


def printable(text: str, most: int) -> str:
    """A text of somebody else's, fit for a terminal and a log: no escape sequences, not long."""
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return "".join(char if char.isprintable() else " " for char in cut)


class Kind(Spec):
    """A Spec that a configuration picks by name, with `kind = "..."`."""

    kind: ClassVar[str]


K = TypeVar("K", bound=Kind)


class Registry(Generic[K]):
    """The kinds of one seam: ours, and those of installed packages.

    A field annotated `Annotated[Task, TASKS]` takes a table such as
    `{kind = "icd-coding", level = "category"}` and holds the Task itself.

    Args:
        group: The entry-point group that other packages add kinds under.
        base: The class that every kind subclasses.
        *ours: The kinds that come with this package.
    """

    def __init__(self, group: str, base: type[K], *ours: type[K]) -> None:
        self.group = group
        self.base = base
        self._ours = {cls.kind: cls for cls in ours}

    def kinds(self) -> dict[str, type[K]]:
        """Every kind by name, ours first.

        Raises:
            ValueError: An installed package claims a name that is taken, or offers something
                that is not a subclass of `base`.
        """
        found = dict(self._ours)
        for point in entry_points(group=self.group):
            if point.name in found:
                raise ValueError(f"two packages define {self.group} {point.name!r}; uninstall one")
            cls = point.load()
            if not (isinstance(cls, type) and issubclass(cls, self.base)):
                raise ValueError(f"{point.value} is not a {self.base.__name__}")
            if cls.kind != point.name:
                raise ValueError(
                    f"{point.value} is registered as {point.name!r} but is {cls.kind!r}"
                )
            found[point.name] = cls
        return found

    def parse(self, value: object) -> K:
        """The Spec that a table describes.

        Raises:
            ValueError: `kind` is missing or not one of `kinds()`, or the rest does not fit it.
        """
        if isinstance(value, self.base):
            return value
        table = dict(cast("dict[str, Any]", value)) if isinstance(value, dict) else {}
        kind, kinds = table.pop("kind", None), self.kinds()
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(f"kind must be one of {', '.join(sorted(kinds))}")
        try:
            return kinds[kind].model_validate(table)
        except ValidationError as error:
            raise ValueError(f"{kind}: {one_line(error)}") from None

    @staticmethod
    def _table(spec: Kind) -> dict[str, Any]:
        return {"kind": spec.kind, **spec.model_dump(mode="json")}

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(self._table),
        )
