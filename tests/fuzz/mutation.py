"""Structure-aware mutation of inputs: bytes, text of a grammar, and JSON trees.

Nothing here knows of coverage; it knows where formats break. Lengths and counts get the values at
which arithmetic turns over, pieces are cut, doubled and moved, seeds are crossed, text is changed
by the word, JSON by the value.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

MOST_BYTES = 1 << 20
"""Mutants grow no longer than this."""

_INTERESTING = (
    0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 1000, 1024, 4095, 4096,
    0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF,
    2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
_ODD_TEXT = (
    "", " ", "\x00", "'", '"', "\\", "\n", "-0", "1e400", "-1e400", "nan", "inf", "0x10", "1_000",
    "٣", "\u202e", "\ud7ff", "𝕏", "9" * 400, "9" * 5000, "a" * 3000, "-", "--", "/*", "..", "../..",
    "%00", "null", "true", "~", "!!python/object:os.system", "&a *a", "<<: *a", "{{", "[" * 300,
    "(" * 300, "not " * 300, "{" * 300,
)  # fmt: skip
_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308,
    float("inf"), float("nan"), "", "x", "0" * 64, "g" * 64, "a" * 5000, "\u0000", [], {}, [[]],
    {"": None}, [None] * 50,
)  # fmt: skip
_WORDS = re.compile(rb"[A-Za-z0-9_.]+|\s+|[^A-Za-z0-9_.\s]")

Change = Callable[[random.Random, bytearray, Sequence[bytes]], None]


def _place(rng: random.Random, made: bytearray) -> int:
    """Half of the time near the head, where counts and tables are."""
    end = len(made) if rng.random() < 0.5 else min(len(made), 256)
    return rng.randrange(end) if end else 0


def _flip(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    for _n in range(rng.choice((1, 1, 2, 8))):
        if made:
            made[_place(rng, made)] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    if made:
        made[_place(rng, made)] = rng.randrange(256)


def _integer(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    if len(made) >= size:
        at = min(_place(rng, made), len(made) - size)
        if rng.random() < 0.6:
            at -= at % size
        value = rng.choice(_INTERESTING) % (1 << (8 * size))
        if rng.random() < 0.3:
            before = int.from_bytes(made[at : at + size], "little")
            value = (before + rng.choice((-2, -1, 1, 2))) % (1 << (8 * size))
        made[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _truncate(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    del made[_place(rng, made) :]


def _delete(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, made)
    del made[at : at + rng.choice((1, 2, 4, 16, 100))]


def _repeat(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, made)
    piece = bytes(made[at : at + rng.choice((1, 4, 16, 200))])
    copies = rng.choice((1, 1, 2, 50)) if len(made) < MOST_BYTES // 64 else 1
    made[at:at] = piece * copies


def _insert(rng: random.Random, made: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, made)
    made[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))


def _cross(rng: random.Random, made: bytearray, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    if other:
        begin = rng.randrange(len(other))
        made[_place(rng, made) :] = other[begin:]


_CHANGES: tuple[Change, ...] = (
    _flip, _flip, _overwrite, _integer, _integer, _integer, _truncate, _delete, _repeat, _insert,
    _cross,
)  # fmt: skip


def mutate_bytes(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A mutant of one of the seeds."""
    made = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_CHANGES)(rng, made, seeds)
    return bytes(made[:MOST_BYTES])


def mutate_text(rng: random.Random, seeds: Sequence[bytes], words: Sequence[str]) -> bytes:
    """A mutant by the word; `words` are those of the grammar."""
    pieces = _WORDS.findall(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4, 10))):
        at = rng.randrange(len(pieces) + 1)
        match rng.randrange(7):
            case 0 if pieces:
                del pieces[at : at + rng.choice((1, 2, 5))]
            case 1 if pieces:
                pieces[at:at] = pieces[at : at + rng.choice((1, 3, 10))] * rng.choice((1, 2, 30))
            case 2:
                pieces.insert(at, rng.choice(_ODD_TEXT).encode("utf-8", "surrogatepass"))
            case 3:
                pieces.insert(at, str(rng.choice(_INTERESTING)).encode())
            case 4 if words:
                pieces.insert(at, b" " + rng.choice(words).encode() + b" ")
            case 5 if len(pieces) > 1:
                other = rng.randrange(len(pieces))
                at = min(at, len(pieces) - 1)
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case _:
                if at < len(pieces):
                    pieces[at] = rng.choice(words).encode() if words else b""
    return b"".join(pieces)[:MOST_BYTES]


def mutate_json(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A mutant by the value: replaced, taken away, doubled, or put somewhere else in the tree."""
    tree = json.loads(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 5))):
        holders: list[Any] = []
        _gather(tree, holders)
        if not holders:
            break
        _change(rng, rng.choice(holders), holders)
    if rng.random() < 0.02:
        depth = rng.choice((50, 1000, 100_000))
        return b"[" * depth + b"]" * depth
    try:
        text = json.dumps(tree)
    except ValueError:  # a branch was put below itself
        return b"{}"
    return text.encode("utf-8", "surrogatepass")[:MOST_BYTES]


def _gather(tree: Any, holders: list[Any], depth: int = 0) -> None:
    if isinstance(tree, dict | list) and depth < 40:
        holders.append(tree)
        for below in tree.values() if isinstance(tree, dict) else tree:
            _gather(below, holders, depth + 1)


def _change(rng: random.Random, holder: Any, holders: list[Any]) -> None:
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if not keys:
        return
    key = rng.choice(keys)
    match rng.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(_ODD_TEXT)] = holder[key]
        case 1:
            holder.append(holder[key])
        case 2:
            holder[key] = json.loads(json.dumps(rng.choice(holders), default=str))
        case 3 if isinstance(holder[key], str):
            holder[key] = holder[key][: rng.randrange(len(holder[key]) + 1)] + rng.choice(_ODD_TEXT)
        case 4 if isinstance(holder[key], int | float):
            holder[key] = rng.choice(_INTERESTING) * rng.choice((1, -1, 0.5))
        case _:
            holder[key] = copy.deepcopy(rng.choice(_ODD_VALUES))
