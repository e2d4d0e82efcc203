"""`MiningIndex` over a mapped matrix a space: each process keeps files of its own.

The truth is in PostgreSQL. Every process that answers searches has its own files under its own
folder (`index-0`, or the next one that no other process holds), and brings them up to date from
the database before it answers: replicas share nothing, need no order among themselves, and each
sees what was committed before the search began. A folder that is lost, damaged or of another
database is built again from SQL.

A space that has much to take in is built in the background; until then `catch_up` tells None
and the database itself compares.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from cloud_ingest.database import for_single_reads
from cloud_ingest.mining import exact, feed
from cloud_ingest.mining.ports import Int64s, Nearest
from cloud_ingest.mining.vector_file import Origin, VectorFile
from contracts.errors import ExhaustedError, LongtailError, TransientError
from contracts.samples import Float32s

AT_ONCE = 20_000
"""So many vectors a search waits for (about 0.3 s); more are taken in beside."""
_PERSIST_S = 5.0
_MOST_PROCESSES = 64

_log = structlog.get_logger(__name__)


class _Space:
    """One space's file, and who may write it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.file: VectorFile | None = None
        self.building: asyncio.Task[None] | None = None


class MatrixIndex:
    """See the module. Belongs to one event loop; `close` it there.

    Args:
        folder: for the files of all processes on it.
        at_once: so many new vectors a search waits for.
    """

    def __init__(self, engine: AsyncEngine, folder: Path, at_once: int = AT_ONCE) -> None:
        self._engine = engine
        self._folder, self._lock = _own_folder(folder)
        self._at_once = at_once
        self._spaces: dict[str, _Space] = {}
        self._database: str | None = None
        self._is_closing = False

    async def catch_up(self, space: str) -> int | None:
        """See `MiningIndex`."""
        held = self._spaces.setdefault(space, _Space())
        if held.building is not None and not held.building.done():
            return None
        async with held.lock:
            try:
                if held.file is None and not await self._open(space, held):
                    return None
                return await self._take_in(space, held)
            except OSError as error:  # a full disk must not keep the database from answering
                _log.warning("a space cannot be kept", space=space[:12], error=str(error))
                return None

    async def nearest(
        self, space: str, query: Float32s, k: int, rows: Int64s | None = None,
        not_above: float | None = None,
    ) -> Nearest:  # fmt: skip
        """See `MiningIndex`; of a space that `catch_up` has found ready."""
        file = self._spaces[space].file
        if file is None:
            raise TransientError("the index of this space is being made anew", retry_after_s=1)
        return await asyncio.to_thread(exact.nearest, file.view(), query, k, rows, not_above)

    async def built(self, space: str) -> None:
        """Return when a build in the background has ended."""
        held = self._spaces.get(space)
        if held is not None and held.building is not None:
            await asyncio.wait([held.building])

    async def run(self) -> None:
        """`refresh` every few seconds, for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(_PERSIST_S)

    async def refresh(self) -> None:
        """Bring all files up to date and make them durable; what is erased goes from them, too."""
        for space in {path.parent.name for path in self._folder.glob("*/state.json")}:
            try:
                await self.catch_up(space)
            except (LongtailError, SQLAlchemyError) as error:
                _log.warning("a space waits", space=space[:12], error=str(error))
            held = self._spaces[space]
            async with held.lock:
                if held.file is not None:
                    await self._persist(space, held.file)

    async def close(self) -> None:
        """End builds, make the files durable and give the folder free."""
        self._is_closing = True
        for space, held in self._spaces.items():
            if held.building is not None:
                await held.building
            async with held.lock:
                if held.file is not None:
                    await self._persist(space, held.file)
                    held.file.close()
                    held.file = None
        os.close(self._lock)

    async def _persist(self, space: str, file: VectorFile) -> None:
        """What cannot be made durable is read from the database again after a restart."""
        try:
            await asyncio.to_thread(file.persist)
        except OSError as error:
            _log.warning("a space cannot be kept", space=space[:12], error=str(error))

    async def _open(self, space: str, held: _Space) -> bool:
        """Open a space's file; False when the space is empty, and then none is left."""
        async with self._engine.connect() as connection:
            if self._database is None:
                self._database = await feed.database_name(connection)
            dimensions = await feed.dimensions_of(connection, space)
        if dimensions is None:
            await asyncio.to_thread(shutil.rmtree, self._folder / space, ignore_errors=True)
            return False
        origin = Origin(self._database, space, dimensions)
        file = await asyncio.to_thread(VectorFile, self._folder / space, origin)
        if file.dead > file.live:  # more holes than vectors: made anew, without them
            file.close()
            (self._folder / space / "state.json").unlink()
            file = await asyncio.to_thread(VectorFile, self._folder / space, origin)
        held.file = file
        return True

    async def _take_in(self, space: str, held: _Space) -> int | None:
        file = held.file
        if file is None:
            return None
        async with for_single_reads(self._engine).connect() as connection:
            pending = await feed.look(connection, space, file.cursor, self._at_once + 1)
        if not pending.added and not pending.has_deletions:
            file.cursor = pending.snapshot
            return file.live
        if pending.added > self._at_once:
            held.building = asyncio.create_task(self._build(space, held))
            return None
        before = file.live
        await self._read(space, file)
        if file.live == before and await self._is_of_other_length(space, file):
            file.close()
            held.file = None
            return await self._take_in(space, held) if await self._open(space, held) else None
        return file.live

    async def _is_of_other_length(self, space: str, file: VectorFile) -> bool:
        """The first vectors of a space may have been of a length that no others have."""
        async with for_single_reads(self._engine).connect() as connection:
            return await feed.dimensions_of(connection, space) != file.dimensions

    async def _build(self, space: str, held: _Space) -> None:
        async with held.lock:
            if held.file is None:
                return
            _log.info("taking in many vectors", space=space[:12])
            try:
                await self._read(space, held.file)
                await asyncio.to_thread(held.file.persist)
            except (LongtailError, OSError, SQLAlchemyError) as error:
                _log.warning("a space could not be built", space=space[:12], error=str(error))
            else:
                _log.info("a space is built", space=space[:12], vectors=held.file.live)

    async def _read(self, space: str, file: VectorFile) -> None:
        """Take in all that one snapshot shows behind the file's cursor."""
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            snapshot = (await feed.look(connection, space, file.cursor, 0)).snapshot
            if file.cursor is not None:
                file.remove(await feed.deletions(connection, space, file.cursor))
            async for arrived in feed.vectors(connection, space, file.dimensions, file.cursor):
                await asyncio.to_thread(file.add, arrived)
                if self._is_closing:  # what is there is told again: the cursor stays
                    return
        file.cursor = snapshot


def _own_folder(folder: Path) -> tuple[Path, int]:
    """A folder under `folder` that no other process holds, and the lock on it.

    What ended processes have left in the others is cleared: nobody would erase from it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own: tuple[Path, int] | None = None
    for number in range(_MOST_PROCESSES):
        path = folder / f"index-{number}"
        if own is not None and not path.exists():
            break
        path.mkdir(exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        if own is None:
            own = path, lock
            continue
        for left in path.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
        os.close(lock)
    if own is None:
        raise ExhaustedError(f"{_MOST_PROCESSES} processes hold folders", str(folder))
    return own
