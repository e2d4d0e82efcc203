"""The stores of whole objects: they appear whole, whatever was there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_ingest.ports import ObjectStore
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.obstore_objects import ObstoreObjects
from contracts.errors import InputError
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
