"""Large bodies that are no clips: nobody waits for a sender, and the event loop for no disk."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from contracts.errors import CorruptError
from contracts.ids import PartHasher, digest_file
from contracts.ota import MAX_MODEL_BYTES
from tests.cloud_ingest.ota_support import put_file
from tests.cloud_ingest.support import RunningServer, Vehicle
from tests.cloud_ingest.test_signal_logs import write_log

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
_OPEN = """
    SELECT count(*) FROM pg_stat_activity
    WHERE state = 'idle in transaction' AND strpos(query, 'ota_files') > 0
"""


def test_no_transaction_waits_for_a_sender(
    cloud: RunningServer, tables: sa.Engine, tmp_path: Path
) -> None:
    files = cloud.app.state.service.ota.files

    def seen() -> int:
        """Transactions that stand still; and the same file, put by somebody quicker."""
        with tables.connect() as connection:
            found: int = connection.execute(sa.text(_OPEN)).scalar_one()
        with httpx.Client(base_url=cloud.url, timeout=10) as http:
            assert put_file(http, CONTENT) == SHA256
        return found

    async def slow() -> AsyncIterator[bytes]:
        yield CONTENT[:-1]
        assert await asyncio.to_thread(seen) == 0
        yield CONTENT[-1:]

    stored = cloud.run(files.put(SHA256, slow(), MAX_MODEL_BYTES))
    assert (stored.sha256, stored.size_bytes) == (SHA256, len(CONTENT))

    async def read() -> bytes:
        pieces = [piece async for piece in files.read(SHA256, 5, len(CONTENT) - 5)]
        return b"".join(pieces)

    assert cloud.run(read()) == CONTENT[5:]
    assert list((tmp_path / "cloud" / "incoming").iterdir()) == []


def test_what_breaks_off_leaves_nothing(
    cloud: RunningServer, tables: sa.Engine, tmp_path: Path
) -> None:
    files = cloud.app.state.service.ota.files

    async def cut() -> AsyncIterator[bytes]:
        yield CONTENT
        raise ConnectionError("cut")

    async def other() -> AsyncIterator[bytes]:
        yield CONTENT[1:]

    with pytest.raises(ConnectionError):
        cloud.run(files.put(SHA256, cut(), MAX_MODEL_BYTES))
    with pytest.raises(CorruptError):
        cloud.run(files.put(SHA256, other(), MAX_MODEL_BYTES))
    with tables.connect() as connection:
        for table in ("ota_files", "ota_pieces"):
            count = connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
            assert count == 0
    assert list((tmp_path / "cloud" / "incoming").iterdir()) == []


def test_hashing_and_syncing_are_off_the_event_loop(
    cloud: RunningServer, http: httpx.Client, vehicle: Vehicle, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    by: dict[str, set[int]] = {"hash": set(), "sync": set()}
    update, fsync = PartHasher.update, os.fsync

    def hashed(hasher: PartHasher, chunk: Any) -> None:
        by["hash"].add(threading.get_ident())
        update(hasher, chunk)

    def synced(file: int) -> None:
        by["sync"].add(threading.get_ident())
        fsync(file)

    async def of_the_loop() -> int:
        return threading.get_ident()

    path = write_log(tmp_path, "drive", "car-1")
    log_id = digest_file(path).clip_id()
    monkeypatch.setattr(PartHasher, "update", hashed)
    monkeypatch.setattr(os, "fsync", synced)
    answer = http.put(
        f"/v1/signal-logs/{log_id}", content=path.read_bytes(), headers=vehicle.bearer
    )
    assert answer.status_code == 200, answer.text
    assert by["hash"] and by["sync"]
    assert cloud.run(of_the_loop()) not in by["hash"] | by["sync"]
    assert list((tmp_path / "cloud" / "incoming").iterdir()) == []
