"""One store of clips made of two: a hot one, and a cold one that costs less to keep.

Guarantees: a clip is read from wherever it lies, and to its end when it is moved meanwhile. The
last copy is never removed by `keep_only`. What is read is remembered as used.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO

from cloud_ingest.ports import Completion, ObjectStore
from contracts.errors import CorruptError, TransientError
from contracts.ids import PartHasher
from contracts.storage import Tier


class TieredObjects:
    """Clips of both tiers.

    Args:
        on_use: told of each clip that somebody opens; must be quick.
    """

    def __init__(
        self, hot: ObjectStore, cold: ObjectStore, on_use: Callable[[str], None] = lambda _: None
    ) -> None:
        self._shelves: dict[Tier, ObjectStore] = {"hot": hot, "cold": cold}
        self.on_use = on_use

    async def size_bytes(self, clip_id: str) -> int | None:
        found = await self._shelves["hot"].size_bytes(clip_id)
        return await self._shelves["cold"].size_bytes(clip_id) if found is None else found

    async def publish(self, clip_id: str, source: Path) -> Completion:
        return await self._shelves["hot"].publish(clip_id, source)

    async def read(self, clip_id: str, start: int, length: int) -> AsyncIterator[bytes]:
        self.on_use(clip_id)
        at, end = start, start + length
        tier: Tier = "hot"
        while at < end:
            try:
                async for piece in self._shelves[tier].read(clip_id, at, end - at):
                    at += len(piece)
                    yield piece
            except (TransientError, CorruptError, FileNotFoundError):
                # It was moved, or lies on the other shelf: go on there, or say what is wrong here.
                other: Tier = "cold" if tier == "hot" else "hot"
                if await self._shelves[other].size_bytes(clip_id) is None:
                    raise
                tier = other

    def open(self, clip_id: str) -> IO[bytes]:
        self.on_use(clip_id)
        try:
            return self._shelves["hot"].open(clip_id)
        except (TransientError, FileNotFoundError):
            return self._shelves["cold"].open(clip_id)

    async def remove(self, clip_id: str) -> None:
        """Forget the clip in both tiers."""
        for shelf in self._shelves.values():
            await shelf.remove(clip_id)

    async def copy_to(self, tier: Tier, clip_id: str) -> None:
        """Have the clip in a tier, verified. Raises `CorruptError` for a damaged one."""
        source = self._shelves["cold" if tier == "hot" else "hot"]
        size = await source.size_bytes(clip_id)
        if size is None:
            if await self._shelves[tier].size_bytes(clip_id) is None:
                raise CorruptError("the object is gone", clip_id)
            return  # it was moved before a crash
        hasher = PartHasher()
        with tempfile.TemporaryDirectory(prefix="longtail-tier-") as folder:
            path = Path(folder) / "clip"
            with path.open("wb") as file:
                async for piece in source.read(clip_id, 0, size):
                    hasher.update(piece)
                    file.write(piece)
            if hasher.clip_id() != clip_id:
                raise CorruptError("the stored object is damaged, and stays where it is", clip_id)
            await self._shelves[tier].publish(clip_id, path)

    async def keep_only(self, tier: Tier, clip_id: str) -> None:
        """Forget the copy in the other tier. Raises `CorruptError` rather than the last one."""
        if await self._shelves[tier].size_bytes(clip_id) is None:
            raise CorruptError(f"the {tier} tier does not hold it", clip_id)
        await self._shelves["cold" if tier == "hot" else "hot"].remove(clip_id)
