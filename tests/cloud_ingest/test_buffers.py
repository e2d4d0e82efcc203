"""Folders of unfinished uploads: apart from what is kept, one service's, and swept of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.app import create_app
from cloud_ingest.ports import Place, Remains
from cloud_ingest.settings import Settings
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from cloud_ingest.stores.opening import open_objects, open_parts
from cloud_ingest.stores.s3_parts import S3Parts
from contracts.errors import ConflictError, InputError
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.s3_fake import FakeS3
from tests.cloud_ingest.s3_support import bucket_at, s3
from tests.cloud_ingest.test_commit import enrolled

__all__ = ["s3"]
UPLOAD = "a1" * 16


def opened(tmp_path: Path, **urls: str) -> LocalParts:
    """The part store for URLs under the test's folder."""
    named = {name: (tmp_path / path).as_uri() for name, path in urls.items()}
    settings = Settings.model_validate({"folder": tmp_path / "service", **named})
    parts = open_parts(settings, open_objects(settings))
    assert isinstance(parts, LocalParts)
    return parts


@pytest.mark.parametrize(
    "urls",
    [
        {"object_store_url": "clips", "buffer_url": "clips"},
        {"object_store_url": "clips", "buffer_url": "clips/near"},
        {"object_store_url": "near/clips", "buffer_url": "near"},
        {"object_store_url": "clips", "buffer_url": "linked"},
        {"object_store_url": "clips", "buffer_url": "clips/../clips"},
        {"object_store_url": "service/parts"},
        {"object_store_url": "service/parts/clips"},
        {"buffer_url": "service"},
        {"buffer_url": "service/objects"},
        {"buffer_url": "service/views/near"},
    ],
)
def test_a_buffer_lies_apart_from_what_is_kept(tmp_path: Path, urls: dict[str, str]) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "clips")
    with pytest.raises(InputError, match="within each other"):
        opened(tmp_path, **urls)


@pytest.mark.parametrize(
    "urls",
    [
        {},
        {"object_store_url": "clips"},
        {"object_store_url": "service"},
        {"object_store_url": "near", "buffer_url": "nearer"},
        {"buffer_url": "service/parts"},
        {"buffer_url": "service/near"},
    ],
)
def test_folders_that_lie_apart_are_taken(tmp_path: Path, urls: dict[str, str]) -> None:
    opened(tmp_path, **urls)


def test_only_the_store_s_own_names_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    parts = LocalParts(folder, LocalObjects(tmp_path / "objects"))
    parts.begin(UPLOAD, None)
    for name in ("lost+found", "ab", "b" * 31, "B" * 32, ".snapshot"):
        (folder / name).mkdir()
    for name in ("readme.txt", "c" * 32):
        (folder / name).write_text("another's")
    (folder / ("d" * 32)).symlink_to(tmp_path / "objects")
    assert parts.remains() == [Remains("upload", UPLOAD, UPLOAD)]
    for remains in parts.remains():
        parts.clear(remains)
    assert len(list(folder.iterdir())) == 8
    with pytest.raises(InputError):
        parts.clear(Remains("upload", "lost+found", "lost+found"))
    assert (folder / "lost+found").is_dir()


def test_only_the_store_s_own_keys_are_swept(s3: FakeS3) -> None:
    parts = S3Parts(bucket_at(s3, "s3://clips"), bucket_at(s3, "s3://near"))
    clip_id = "e" * 64
    own = [f"near/parts/{UPLOAD}/whole", f"clips/raw/ee/{clip_id}.mcap"]
    for key in (
        *own,
        "near/parts/of-a-car/whole",
        f"near/parts/{UPLOAD}/another",
        f"near/raw/ee/{clip_id}.mcap",
        "clips/raw/ee/notes.mcap",
        f"clips/raw/ff/{clip_id}.mcap",
    ):
        s3.create(key)
    s3.put("near/parts/spare/door", b"another's", {})
    found = parts.remains()
    assert {remains.name.partition(" ")[0] for remains in found} == {
        key.partition("/")[2] for key in own
    }
    for remains in found:
        parts.clear(remains)
    assert len(s3.multiparts) == 5
    assert s3.names() == ["near/parts/spare/door"]


def test_a_buffer_is_one_service_s(tmp_path: Path) -> None:
    first, second = (opened(tmp_path, buffer_url="near") for _ in range(2))
    first.own("one")
    first.own("one")
    second.own("one")  # a replica
    with pytest.raises(ConflictError, match="another database"):
        second.own("two")
    first.begin(UPLOAD, None)
    assert [remains.owner for remains in first.remains()] == [UPLOAD]
    first.own("one")
    # Where the first one is no more.
    (tmp_path / "near" / ".owned-by-one").unlink()
    second.own("two")
    with pytest.raises(ConflictError, match=r"\.owned-by-two"):
        first.own("one")


@pytest.mark.parametrize("buffer", [None, "s3://near"])
def test_a_bucket_is_one_service_s(s3: FakeS3, buffer: str | None) -> None:
    near = bucket_at(s3, buffer) if buffer else None
    parts = S3Parts(bucket_at(s3, "s3://clips/a"), near)
    parts.own("one")
    parts.own("one")
    with pytest.raises(ConflictError, match=r"another database.*\.owned-by-one"):
        parts.own("two")
    # Neither does the store take another one's unfinished copies, whatever its buffer is.
    with pytest.raises(ConflictError, match="s3://clips/a/"):
        S3Parts(bucket_at(s3, "s3://clips/a"), bucket_at(s3, "s3://far")).own("two")
    S3Parts(bucket_at(s3, "s3://clips/b"), bucket_at(s3, "s3://far")).own("two")
    place = Place(UPLOAD, parts.begin(UPLOAD, None))
    assert [remains.owner for remains in parts.remains()] == [UPLOAD]
    parts.abort(place)
    marks = {
        "clips/a/parts/.owned-by-one",
        "clips/b/parts/.owned-by-two",
        "far/parts/.owned-by-two",
    }
    assert set(s3.objects) == marks | ({"near/parts/.owned-by-one"} if buffer else set())


def test_a_service_with_another_database_does_not_start_on_a_buffer(
    start_cloud: StartCloud, tables: sa.Engine, tmp_path: Path, database_url: str
) -> None:
    buffer = {"buffer_url": (tmp_path / "near").as_uri()}
    first = start_cloud(folder=tmp_path / "a", **buffer)
    start_cloud(folder=tmp_path / "b", **buffer)  # a replica
    with httpx.Client(base_url=first.url) as http:
        vehicle = enrolled(http)
        url = vehicle.create(1000).headers["Location"]
        assert vehicle.patch(url, 0, bytes(100)).status_code == 204
    with tables.begin() as connection:
        connection.execute(sa.text("TRUNCATE server_keys"))  # as in a database of its own
    settings = Settings.model_validate({"folder": tmp_path / "c", **buffer})
    app = create_app(settings, database_url)

    async def start() -> None:
        async with app.router.lifespan_context(app):
            pytest.fail("it has started")

    with pytest.raises(ConflictError, match="another database"):
        asyncio.run(start())
    assert isinstance(app.state.start_error, ConflictError)
    assert (tmp_path / "near" / url.rsplit("/", 1)[1]).is_dir()


def test_the_service_s_own_folder_is_nobody_else_s_anyway(tmp_path: Path) -> None:
    parts = opened(tmp_path)
    parts.own("one")
    parts.own("two")
    assert list((tmp_path / "service" / "parts").iterdir()) == []
