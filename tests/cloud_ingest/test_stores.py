"""The stores: appends are a compare-and-swap, objects appear whole, whatever was there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.ports import ObjectStore
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from cloud_ingest.stores.obstore_objects import ObstoreObjects
from contracts.errors import (
    ConflictError,
    CorruptError,
    ExhaustedError,
    InputError,
    TransientError,
)
from tests.cloud_ingest.support import clip_id_of_bytes

CONTENT = bytes(range(256)) * 9000
CLIP_ID = clip_id_of_bytes(CONTENT)


@pytest.fixture(params=["local", "memory"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    makers: dict[str, Callable[[], ObjectStore]] = {
        "local": lambda: LocalObjects(tmp_path / "objects"),
        "memory": lambda: ObstoreObjects("memory:///"),
    }
    return makers[request.param]()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def test_an_object_is_read_back(objects: ObjectStore, source: Path) -> None:
    async def steps() -> None:
        assert await objects.size_bytes(CLIP_ID) is None
        await objects.publish(CLIP_ID, source)
        await objects.publish(CLIP_ID, source)
        assert await objects.size_bytes(CLIP_ID) == len(CONTENT)
        for start, length in ((0, len(CONTENT)), (1000, 1), (len(CONTENT) - 1, 1), (5, 0)):
            found = b"".join([piece async for piece in objects.read(CLIP_ID, start, length)])
            assert found == CONTENT[start : start + length]

    asyncio.run(steps())
    with objects.open(CLIP_ID) as stream:
        stream.seek(-10, 2)
        assert stream.read() == CONTENT[-10:]
        stream.seek(3)
        assert stream.read(4) == CONTENT[3:7]
    source.unlink()
    with objects.open(CLIP_ID) as stream:
        assert stream.read() == CONTENT


def test_a_path_never_comes_from_a_client(objects: ObjectStore) -> None:
    for name in ("../" * 4 + "etc/passwd", "", "A" * 64):
        with pytest.raises(InputError):
            objects.open(name)


def test_a_damaged_object_is_replaced(tmp_path: Path, source: Path) -> None:
    objects = LocalObjects(tmp_path / "objects")
    path = tmp_path / "objects" / CLIP_ID[:2] / f"{CLIP_ID}.mcap"
    path.parent.mkdir()
    path.write_bytes(CONTENT[:-1] + b"?")
    asyncio.run(objects.publish(CLIP_ID, source))
    assert path.read_bytes() == CONTENT
    assert list((tmp_path / "objects" / "tmp").iterdir()) == []


def test_a_disk_without_links_gets_a_copy(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import os

    link = os.link

    def only_within(first: Path, second: Path) -> None:
        if Path(first) == source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(first, second)

    monkeypatch.setattr(os, "link", only_within)
    objects = LocalObjects(tmp_path / "objects")
    asyncio.run(objects.publish(CLIP_ID, source))
    with objects.open(CLIP_ID) as stream:
        assert stream.read() == CONTENT


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.lists(st.binary(max_size=40), max_size=5)), max_size=12
    )
)
def test_appends_are_a_compare_and_swap(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, list[bytes]]]
) -> None:
    parts = LocalParts(tmp_path_factory.mktemp("parts"))
    model = b""
    for shift, chunks in steps:
        at_bytes = max(0, len(model) + shift)
        if at_bytes == len(model):
            model += b"".join(chunks)
            assert parts.append("a1", at_bytes, chunks) == len(model)
        else:
            with pytest.raises(ConflictError):
                parts.append("a1", at_bytes, chunks)
        assert parts.size_bytes("a1") == len(model)
    found = b"".join(bytes(view) for view in parts.read("a1", 0, len(model)))
    assert found == model
    with pytest.raises((CorruptError, TransientError)):
        list(parts.read("a1", 0, len(model) + 1))


def test_many_small_pieces_are_written(tmp_path: Path) -> None:
    parts = LocalParts(tmp_path / "parts")
    pieces = [bytes([index % 256]) for index in range(5000)]
    assert parts.append("a1", 0, pieces) == 5000
    assert b"".join(bytes(view) for view in parts.read("a1", 0, 5000)) == b"".join(pieces)
    parts.truncate("a1", 17)
    assert parts.size_bytes("a1") == 17
    assert parts.upload_ids() == ["a1"]
    parts.remove("a1")
    parts.remove("a1")
    assert parts.size_bytes("a1") == 0
    with pytest.raises(InputError):
        parts.path("../a1")


def test_the_reserve_is_kept(tmp_path: Path) -> None:
    parts = LocalParts(tmp_path / "parts", free_bytes_kept=2**60)
    with pytest.raises(ExhaustedError):
        parts.append("a1", 0, [b"x"])
