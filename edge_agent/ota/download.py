"""Fetches a release's file in pieces, and goes on where it was.

Guarantees: what arrived is kept over broken connections and restarts, and is asked for once; the
file appears under its digest only when all of it is here and has that digest. An answer that is
longer than asked for, of another file's length, or wrong in the end is refused, and what was
fetched is removed. A file for which there is no room is not begun.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from contracts.errors import CorruptError, ExhaustedError, RefusedError, TransientError
from edge_agent.disk import translated
from edge_agent.ota.fetcher import OtaHttp
from edge_agent.ota.files import FileStore
from edge_agent.ota.state import HeldFile
from edge_agent.upload.policy import is_metered
from edge_agent.upload.transport import Streamed

PIECE_BYTES = 1024 * 1024
METERED_PIECE_BYTES = 128 * 1024
"""What is asked for at once: a check-in waits no longer than for one piece."""
TARGETS_PATH = "/v1/ota/image/targets/"
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def target_url(file: HeldFile) -> str:
    """Where the image repository keeps a file: its digest before its name."""
    folder, slash, name = file.path.rpartition("/")
    return TARGETS_PATH + quote(f"{folder}{slash}{file.sha256}.{name}")


@dataclass(frozen=True, slots=True)
class Downloader:
    """`floor_free_bytes` is disk that is never touched."""

    http: OtaHttp
    files: FileStore
    floor_free_bytes: int

    async def fetch(self, file: HeldFile, gate: Callable[[], None] = lambda: None) -> None:
        """Have the file whole. Nothing happens when it is here.

        `gate` is called before each piece, and raises what shall stop the download.

        Raises:
            CorruptError: what the server sent is not what was signed.
            ExhaustedError: there is no room.
            RefusedError: the server does not give it.
            StoppedError, TransientError: not now; what arrived is kept.
        """
        if self.files.has(file):
            return
        self._check_room(file)
        if self.files.partial_bytes(file) > file.size_bytes:
            self.files.drop_partial(file)
        while self.files.partial_bytes(file) < file.size_bytes:
            gate()
            await self.http.repeat(lambda: self._fetch_piece(file))
        await asyncio.to_thread(self.files.adopt, file)

    def _check_room(self, file: HeldFile) -> None:
        missing_bytes = file.size_bytes - self.files.partial_bytes(file)
        if self.files.free_bytes() - missing_bytes < self.floor_free_bytes:
            raise ExhaustedError(f"no room for {missing_bytes} bytes", file.path)

    async def _fetch_piece(self, file: HeldFile) -> None:
        before = begin = self.files.partial_bytes(file)
        metered = is_metered(self.http.links.link())
        most_bytes = METERED_PIECE_BYTES if metered else PIECE_BYTES
        wanted_bytes = min(most_bytes, file.size_bytes - begin)
        if wanted_bytes <= 0:
            return
        headers = {"Range": f"bytes={begin}-{begin + wanted_bytes - 1}"}
        async with self.http.open(target_url(file), wanted_bytes, headers) as answer:
            begin, wanted_bytes = self._expect(file, answer, begin, wanted_bytes)
            await self._take(file, answer, begin, wanted_bytes)
        if self.files.partial_bytes(file) <= before:
            raise TransientError("the answer held nothing more", file.path)

    def _expect(
        self, file: HeldFile, answer: Streamed, begin: int, wanted_bytes: int
    ) -> tuple[int, int]:
        """Where the answer's body belongs, and how long it may be."""
        if answer.status == 200:  # a server without ranges: all of it, from the start
            return 0, file.size_bytes
        if answer.status != 206:
            raise RefusedError(f"HTTP {answer.status}", file.path)
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None or int(found[1]) != begin:
            raise TransientError("the answer is not the range that was asked for", file.path)
        if int(found[3]) != file.size_bytes:
            self.files.drop_partial(file)
            raise CorruptError(
                f"the server's file has {found[3]} bytes, {file.size_bytes} were signed", file.path
            )
        return begin, wanted_bytes

    async def _take(self, file: HeldFile, answer: Streamed, begin: int, wanted_bytes: int) -> None:
        path = self.files.partial_path(file)
        taken_bytes = 0
        with translated(path):
            partial = path.open("r+b" if path.exists() else "wb", buffering=0)
        with partial:
            partial.truncate(begin)
            partial.seek(begin)
            async for chunk in answer.chunks:
                taken_bytes += len(chunk)
                if taken_bytes > wanted_bytes:
                    self.files.drop_partial(file)
                    raise CorruptError("the answer is longer than what was signed", file.path)
                with translated(path):
                    partial.write(chunk)
