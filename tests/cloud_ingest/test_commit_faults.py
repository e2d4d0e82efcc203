"""A store that fails while a clip is committed is the store's fault: the clip is not set aside."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.app import clip_manifest_reader
from cloud_ingest.ports import Completion
from cloud_ingest.schema import clips
from cloud_ingest.stores.local_objects import LocalObjects
from contracts.clip import ClipManifest
from contracts.errors import CorruptError, TransientError
from tests.cloud_ingest.after.clips import picture_clip, run_steps, states, steps_of
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled, rows

MANIFEST = make_manifest()
CLIP = make_clip(MANIFEST, 1000)


class FailingReads:
    """An object store whose objects fail by `errors`, one at a time: when opened, or when read."""

    def __init__(self, inner: LocalObjects, errors: list[Exception], *, when_opened: bool) -> None:
        self._inner = inner
        self._errors = errors
        self._when_opened = when_opened

    async def size_bytes(self, clip_id: str) -> int | None:
        return await self._inner.size_bytes(clip_id)

    async def publish(self, clip_id: str, source: Path) -> Completion:
        return await self._inner.publish(clip_id, source)

    def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        return self._inner.read(clip_id, start, length)

    def open(self, clip_id: str) -> IO[bytes]:
        if self._when_opened and self._errors:
            raise self._errors.pop(0)
        stream: Any = self._inner.open(clip_id)
        if not self._errors:
            return stream  # type: ignore[no-any-return]
        return _Failing(stream, self._errors.pop(0))  # type: ignore[return-value]


class _Failing:
    """A stream of which the first read fails."""

    def __init__(self, stream: Any, error: Exception) -> None:
        self._stream, self._error = stream, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, _: int = -1) -> bytes:
        raise self._error


@pytest.mark.parametrize("when_opened", [True, False])
@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "I/O error"), FileNotFoundError("gone"), TransientError("away")]
)
def test_a_store_that_fails_at_the_reading_sets_no_clip_aside(
    start_cloud: StartCloud, tables: sa.Engine, tmp_path: Path, error: Exception, when_opened: bool
) -> None:
    inner = LocalObjects(tmp_path / "cloud" / "objects")
    server = start_cloud({"objects": FailingReads(inner, [error], when_opened=when_opened)})
    with httpx.Client(base_url=server.url) as http:
        vehicle = enrolled(http)
        url = vehicle.declare(CLIP, MANIFEST).json()["upload_url"]
        assert vehicle.patch(url, 0, CLIP).status_code == 503
        assert rows(tables, clips) == []
        server.run(server.app.state.collector.sweep())
        assert [row.state for row in rows(tables, clips)] == ["ready"]
        assert vehicle.offset(url) == len(CLIP)


def test_what_was_set_aside_is_read_again_when_asked(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    """As by an older version, or by a reader that was wrong."""
    real, is_wrong = clip_manifest_reader(), True

    def reader(source: Path | IO[bytes]) -> ClipManifest:
        if is_wrong:
            raise CorruptError("a record of another kind")
        return real(source)

    server = start_cloud({"reader": reader})
    clip, manifest = picture_clip()
    with httpx.Client(base_url=server.url, timeout=30) as http:
        clip_id = enrolled(http).upload(clip, manifest)
        run_steps(server)
        (before,) = rows(tables, clips)
        assert (before.state, before.manifest) == ("quarantined", None)
        assert http.post(f"/v1/clips/{clip_id}/steps/redo").status_code == 200
        run_steps(server)
        assert [row.state for row in rows(tables, clips)] == ["quarantined"]
        is_wrong = False
        assert http.post(f"/v1/clips/{clip_id}/steps/redo").status_code == 200
        run_steps(server)
        (after,) = rows(tables, clips)
        assert (after.state, after.state_reason) == ("ready", None)
        assert after.manifest == manifest.model_dump(mode="json")
        assert after.received_utc == before.received_utc
        assert states(steps_of(http, clip_id))["frames"] == "done"


def test_what_is_being_erased_does_not_come_back_by_a_reading(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    server = start_cloud()
    with httpx.Client(base_url=server.url, timeout=30) as http:
        clip_id = enrolled(http).upload(CLIP, MANIFEST)
        body = {"request_id": "r1", "kind": "clip", "subject": clip_id, "actor": "a", "reason": "b"}
        assert http.post("/v1/erasures", json=body).status_code == 200
        http.post(f"/v1/clips/{clip_id}/steps/redo")
    (row,) = rows(tables, clips)
    assert (row.state, row.state_reason) == ("quarantined", "is being erased")
