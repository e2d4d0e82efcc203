"""The collector's rounds: any number of uploads, and what one store refuses stops nothing else."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from cloud_ingest.ports import Place, Remains
from cloud_ingest.stores.local_objects import LocalObjects
from cloud_ingest.stores.local_parts import LocalParts
from contracts.clock import NS_PER_S, VirtualClock
from contracts.errors import TransientError
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, Vehicle, make_clip, make_manifest
from tests.cloud_ingest.test_commit import enrolled

CLIP = make_clip(make_manifest(), 50_000)
MANY = 66_000
"""More than a statement of PostgreSQL has parameters."""


class Refusing(LocalParts):
    """A real store that lets nobody list it, or does not let go of some uploads."""

    refuses_listing = False
    kept: frozenset[str] = frozenset()

    def remains(self) -> list[Remains]:
        if self.refuses_listing:
            raise TransientError("listing is not allowed", "parts")
        return super().remains()

    def clear(self, remains: Remains) -> None:
        self._check(remains.owner)
        super().clear(remains)

    def abort(self, place: Place, *, is_complete: bool = False) -> None:
        self._check(place.upload_id)
        super().abort(place, is_complete=is_complete)

    def _check(self, upload_id: str) -> None:
        if upload_id in self.kept:
            raise TransientError("not let go", "parts")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def parts(tmp_path: Path) -> Refusing:
    return Refusing(tmp_path / "parts", LocalObjects(tmp_path / "cloud" / "objects"))


@pytest.fixture
def server(start_cloud: StartCloud, clock: VirtualClock, parts: Refusing) -> RunningServer:
    return start_cloud({"clock": clock, "parts": parts}, upload_expiry_s=1000)


def half_sent(vehicle: Vehicle, count: int) -> list[str]:
    """Ids of uploads that hold some bytes."""
    found = []
    for _ in range(count):
        url = vehicle.create(len(CLIP)).headers["Location"]
        assert vehicle.patch(url, 0, CLIP[:100]).status_code == 204
        found.append(url.rsplit("/", 1)[1])
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_any_number_of_uploads_is_swept(
    server: RunningServer, parts: Refusing, tmp_path: Path, tables: sa.Engine
) -> None:
    held = """
        INSERT INTO uploads (upload_id, vehicle_id, length_bytes, created_utc, expires_utc)
        SELECT lpad(to_hex(n), 32, '0'), 'car-1', 1, now(), now() FROM generate_series(1, :many) n
    """
    with httpx.Client(base_url=server.url) as http:
        enrolled(http)
    with tables.begin() as connection:
        connection.execute(sa.text(held), {"many": MANY})
    for number in range(MANY + 1):
        (tmp_path / "parts" / f"{number:032x}").mkdir()
    server.run(server.app.state.collector.sweep())
    assert len(names(tmp_path / "parts")) == MANY
    assert not (tmp_path / "parts" / f"{0:032x}").exists()


def test_uploads_expire_where_nothing_can_be_listed(
    server: RunningServer, clock: VirtualClock, parts: Refusing, tmp_path: Path
) -> None:
    with httpx.Client(base_url=server.url) as http:
        half_sent(enrolled(http), 2)
    parts.refuses_listing = True
    clock.jump_utc_ns(1001 * NS_PER_S)
    server.run(server.app.state.collector._round())
    assert names(tmp_path / "parts") == set()


def test_an_upload_that_is_not_let_go_keeps_no_other(
    server: RunningServer, clock: VirtualClock, parts: Refusing, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, tables: sa.Engine,
) -> None:  # fmt: skip
    monkeypatch.setattr("cloud_ingest.collector._BATCH", 2)
    with httpx.Client(base_url=server.url) as http:
        uploads = half_sent(enrolled(http), 5)
    orphans = ["0" * 32, "f" * 32]
    for name in orphans:
        (tmp_path / "parts" / name).mkdir()
    # The first batch of two consists of such uploads only.
    parts.kept = frozenset([*uploads[:2], orphans[0]])
    clock.jump_utc_ns(1001 * NS_PER_S)
    server.run(server.app.state.collector._round())
    assert names(tmp_path / "parts") == parts.kept
    with tables.connect() as connection:
        left = connection.execute(sa.text("SELECT upload_id FROM uploads")).scalars()
        assert set(left) == set(uploads[:2])
    parts.kept = frozenset()
    server.run(server.app.state.collector._round())
    assert names(tmp_path / "parts") == set()
