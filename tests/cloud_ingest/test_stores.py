"""The stores of whole objects: they appear whole, whatever was there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from cloud_ingest.ports import ObjectStore
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.obstore_objects import MOST_AT_ONCE_BYTES, ObstoreObjects
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


@pytest.fixture(params=["memory", "folder"])
def by_url(request: pytest.FixtureRequest, tmp_path: Path) -> ObstoreObjects:
    """Stores of obstore's own."""
    (tmp_path / "far").mkdir()
    urls = {"memory": "memory:///", "folder": (tmp_path / "far").as_uri()}
    return ObstoreObjects(urls[request.param])


def lay(objects: ObstoreObjects, content: bytes) -> None:
    obstore.put(objects._store, objects._name(CLIP_ID), content)


def held(objects: ObstoreObjects) -> bytes:
    with objects.open(CLIP_ID) as stream:
        return stream.read()


@pytest.mark.parametrize("most_at_once", [MOST_AT_ONCE_BYTES, 1000])
@pytest.mark.parametrize(
    ("present", "outcome"),
    [
        (None, "done"),
        (CONTENT, "exists"),
        (CONTENT[:-1] + b"?", "done"),  # as long, and damaged
        (CONTENT[:-1], "done"),
        (CONTENT + b"?", "done"),
        (b"", "done"),
    ],
)
def test_what_a_store_by_url_holds_is_verified(
    by_url: ObstoreObjects, source: Path, monkeypatch: pytest.MonkeyPatch, most_at_once: int,
    present: bytes | None, outcome: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("cloud_ingest.stores.obstore_objects.MOST_AT_ONCE_BYTES", most_at_once)
    if present is not None:
        lay(by_url, present)
    assert asyncio.run(by_url.publish(CLIP_ID, source)) == outcome
    assert held(by_url) == CONTENT
    assert asyncio.run(by_url.publish(CLIP_ID, source)) == "exists"


@pytest.mark.parametrize(("other", "outcome"), [(CONTENT, "exists"), (CONTENT[:-1] + b"?", "done")])
def test_who_comes_second_overwrites_nothing_that_is_whole(
    by_url: ObstoreObjects, source: Path, monkeypatch: pytest.MonkeyPatch, other: bytes,
    outcome: str,
) -> None:  # fmt: skip
    """Another replica's object appears between the look and the put."""
    puts: list[str] = []
    put = obstore.put_async

    async def overtaken(*args: Any, **kwargs: Any) -> Any:
        if not puts:
            lay(by_url, other)
        puts.append(kwargs["mode"])
        return await put(*args, **kwargs)

    monkeypatch.setattr(obstore, "put_async", overtaken)
    assert asyncio.run(by_url.publish(CLIP_ID, source)) == outcome
    assert puts == (["create"] if outcome == "exists" else ["create", "overwrite"])
    assert held(by_url) == CONTENT


def test_a_store_without_conditions_is_put_to_all_the_same(
    by_url: ObstoreObjects, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = obstore.put_async

    async def unconditional(*args: Any, **kwargs: Any) -> Any:
        if kwargs["mode"] == "create":
            raise NotImplementedError("as a store over plain HTTP says it")
        return await put(*args, **kwargs)

    monkeypatch.setattr(obstore, "put_async", unconditional)
    assert asyncio.run(by_url.publish(CLIP_ID, source)) == "done"
    assert held(by_url) == CONTENT
