"""A large request body as it comes: in pieces, bounded in how long it may stand still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

from cloud_ingest.large_body import EXTENSION
from cloud_ingest.problems import TimedOutError

STALL_S = 60.0


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `TimedOutError` when it stalls."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STALL_S) as deadline:
            async for chunk in request.stream():
                if chunk:
                    # The store's time is not the sender's: the clock stops while we write.
                    deadline.reschedule(None)
                    yield chunk
                    deadline.reschedule(loop.time() + STALL_S)
    except TimeoutError as error:
        raise TimedOutError(f"no byte came for {STALL_S:g} s") from error


def pieces_of(request: Request) -> AsyncIterator[bytes | memoryview]:
    """The same for who takes views: then a large body stays where the socket has put it."""
    options = request.scope.get("extensions", {}).get(EXTENSION)
    if options is not None:
        options["wanted"] = True
    return body_of(request)
