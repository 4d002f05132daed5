"""Chunker: a note cut into overlapping windows of tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Self

from pydantic import Field, model_validator

from privacy.spec import Spec


class Chunker(Spec):
    """Windows of `tokens` tokens of the encoder, each starting `stride` after the last.

    Attributes:
        tokens: Length of a window.
        stride: Step between windows; at most `tokens`, so that no word is left out.
    """

    tokens: Annotated[int, Field(ge=1)] = 96
    stride: Annotated[int, Field(ge=1)] = 72

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if self.stride > self.tokens:
            raise ValueError("stride must be at most tokens, or words are left out")
        return self

    def chunks(self, text: str, spans_of: Callable[[str], list[tuple[int, int]]]) -> list[str]:
        """The windows of a text, as pieces of the text itself; none of a text without tokens.

        Args:
            text: A note.
            spans_of: Start and end character of each token (`Encoder.spans`).

        The last window ends with the text, and no window holds only what the one before held.
        """
        spans = spans_of(text)
        chunks = []
        for start in range(0, len(spans), self.stride):
            window = spans[start : start + self.tokens]
            chunks.append(text[window[0][0] : window[-1][1]])
            if start + self.tokens >= len(spans):
                break
        return chunks
