"""A large request body as it comes: in pieces, bounded in how long it may stand still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request

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
