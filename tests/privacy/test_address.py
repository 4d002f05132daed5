"""HOST:PORT, read and written."""

from __future__ import annotations

import pytest

from privacy.address import is_loopback, join_address, split_address


@pytest.mark.parametrize("text", ["a.example:1", "127.0.0.1:9443", "[::1]:65535", "localhost:80"])
def test_what_is_read_is_written_again(text):
    assert join_address(*split_address(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "a.example", "a.example:", "a.example:0", "a.example:65536", "a:9:9", "::1:9", "[a]:9",
     "https://a.example:9", "a/b:9", "a b:9", "-a:9", "a..b:9", "\n:9", "a.example:٣"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"must be HOST:PORT|neither an IP|in brackets"):
        split_address(text)


def test_loopback_is_known():
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "::1", "localhost"]))
    assert not any(map(is_loopback, ["10.0.0.1", "::", "a.example"]))
