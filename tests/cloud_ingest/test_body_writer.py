"""Bodies cut into parts: whole, in order, and each part's digest known when it is stored."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator

import pytest

from cloud_ingest.body_writer import HASHED_BYTES, BodyWriter, PartDigest
from cloud_ingest.ports import Chunks
from cloud_ingest.tus.protocol import Body
from contracts.errors import TransientError
from contracts.ids import PART_BYTES

CLIP = random.Random(3).randbytes(2 * PART_BYTES + 1234)


class Kept:
    """What was put: offset, bytes, digest."""

    def __init__(self) -> None:
        self.puts: list[tuple[int, bytes, bytes | None]] = []

    async def put(self, at_bytes: int, chunks: Chunks, length: int, sha256: bytes | None) -> None:
        content = b"".join(chunks)
        assert len(content) == length
        self.puts.append((at_bytes, content, sha256))

    @property
    def content(self) -> bytes:
        return b"".join(content for _, content, _ in self.puts)


async def pieces(content: bytes, cut: int, breaks_at: int | None = None) -> AsyncIterator[bytes]:
    for at in range(0, len(content), cut):
        if breaks_at is not None and at >= breaks_at:
            raise asyncio.CancelledError
        yield content[at : at + cut]


@pytest.mark.parametrize("cut", [65_536, 2**20, HASHED_BYTES + 1, 3 * PART_BYTES])
@pytest.mark.parametrize("at_bytes", [0, 5, PART_BYTES])
def test_parts_are_hashed_while_they_come(cut: int, at_bytes: int) -> None:
    kept = Kept()
    body = CLIP[at_bytes:]
    writer = BodyWriter(kept.put, len(CLIP), at_bytes)
    said = Body(at_bytes, len(body), None)
    assert asyncio.run(writer.write(pieces(body, cut), said)) == len(CLIP)
    assert kept.content == body
    for start, content, sha256 in kept.puts:
        is_whole = start % PART_BYTES == 0
        assert sha256 == (hashlib.sha256(content).digest() if is_whole else None)


def test_what_may_not_fill_a_part_is_left_to_who_fills_it() -> None:
    kept = Kept()
    unknown = Body(0, None, None)
    assert asyncio.run(
        BodyWriter(kept.put, len(CLIP), 0).write(pieces(CLIP, 2**20), unknown)
    ) == len(CLIP)
    short = Body(0, PART_BYTES - 1, None)
    asyncio.run(
        BodyWriter(kept.put, len(CLIP), 0).write(pieces(CLIP[: PART_BYTES - 1], 2**20), short)
    )
    assert [sha256 for _, _, sha256 in kept.puts] == [None] * 4


def test_a_break_keeps_what_came() -> None:
    kept = Kept()
    writer = BodyWriter(kept.put, len(CLIP), 0)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(writer.write(pieces(CLIP, 2**20, 11 * 2**20), Body(0, len(CLIP), None)))
    assert kept.content == CLIP[: 11 * 2**20]
    assert [len(content) for _, content, _ in kept.puts] == [PART_BYTES, 3 * 2**20]


def test_a_failed_put_is_told() -> None:
    async def fail(at_bytes: int, chunks: Chunks, length: int, sha256: bytes | None) -> None:
        raise TransientError("the store is away")

    with pytest.raises(TransientError, match="away"):
        asyncio.run(
            BodyWriter(fail, len(CLIP), 0).write(pieces(CLIP, 2**20), Body(0, len(CLIP), None))
        )


def test_a_digest_is_of_all_that_was_added() -> None:
    async def of(cut: int) -> bytes:
        digest = PartDigest()
        for at in range(0, len(CLIP), cut):
            digest.add(CLIP[at : at + cut])
            await asyncio.sleep(0)
        return await digest.value()

    for cut in (99_991, HASHED_BYTES, len(CLIP)):
        assert asyncio.run(of(cut)) == hashlib.sha256(CLIP).digest()
    assert asyncio.run(PartDigest().value()) == hashlib.sha256(b"").digest()
