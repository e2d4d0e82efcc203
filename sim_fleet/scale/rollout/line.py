"""One kept connection to the service: small requests, one after the other, little CPU."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from contracts.errors import TransientError


class Line:
    """HTTP/1.1 with `Content-Length` both ways. For one task at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, body: bytes = b"", bearer: str = ""
    ) -> tuple[int, bytes]:
        """Status and body. Raises `TransientError` when the connection ends."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
        if bearer:
            head += f"Authorization: Bearer {bearer}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            writer.write(head.encode("ascii") + b"\r\n" + body)
            return await _answer(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise TransientError(f"the service is away: {error}", path) from error

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    status, length = int(head.split(" ", 2)[1]), 0
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name == "content-length":
            length = int(value)
    return status, await reader.readexactly(length)
