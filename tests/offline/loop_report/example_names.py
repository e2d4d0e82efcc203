"""When the made-up turn begins, and digests of its names."""

from __future__ import annotations

from contracts.ids import sha256_hex

START = 1_790_000_000_000_000_000
NS = 1_000_000_000


def digest(name: str) -> str:
    return sha256_hex(name.encode())
