"""One large request body on its way from the socket to the application.

Bytes are read straight into slabs and handed over a slab at a time, so that the costs of a message
(a task is woken, layers pass it on) fall once in 2 MiB, not once a read. From a slow sender what
has come is handed over twice a second. When two slabs wait for the application the socket is not
read until it has taken them and asks for more.

An application that says so (`pieces_of`) gets views of the slabs; any other gets `bytes`, as ASGI
has it.
"""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from cloud_ingest.slabs import MOST_READY, Slabs

HAND_OVER_S = 0.5
EXTENSION = "longtail.body_views"
"""Of the ASGI scope: a dictionary; who sets its "wanted" gets memoryviews as bodies."""


class LargeBody:
    """A body of known length. One event loop's.

    Args:
        length_bytes: of the body.
        flow: of its connection.
        slabs: where its memory comes from.
    """

    def __init__(self, length_bytes: int, flow: FlowControl, slabs: Slabs) -> None:
        self.left_bytes = length_bytes
        self._flow = flow
        self._slabs = slabs
        self._slab: memoryview | None = None
        self._taken = self._filled = 0
        self._ready: deque[memoryview] = deque()
        self._cycle: RequestResponseCycle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._options = {"wanted": False}

    # The protocol's side ----------------------------------------------------------------------

    def belongs_to(self, cycle: RequestResponseCycle) -> None:
        """Whom the bytes are for; the socket rests until they are asked for."""
        self._cycle = cycle
        self._flow.pause_reading()

    @property
    def is_unwanted(self) -> bool:
        """The answer has been given already: what still comes of the body is nobody's."""
        return self._cycle is not None and self._cycle.response_complete

    def room(self) -> memoryview:
        """Where the next bytes go; never more than the body still has."""
        if self._slab is None:
            self._slab = self._slabs.take()
            self._taken = self._filled = 0
        return self._slab[self._filled : self._filled + self.left_bytes]

    def filled(self, count: int) -> None:
        """`count` bytes have come into the room."""
        self._filled += count
        self.left_bytes -= count
        if self._slab is not None and (self._filled == len(self._slab) or not self.left_bytes):
            self._hand_over()
            self._slab = None
            if len(self._ready) >= MOST_READY:
                self._flow.pause_reading()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(HAND_OVER_S, self._hand_over)

    def dropped(self, count: int) -> None:
        """`count` bytes have come that nobody wants."""
        self.left_bytes -= count
        self._let_go()

    def broke_off(self) -> None:
        """The connection has ended; what came of the body is still handed over."""
        if self.is_unwanted:
            self._let_go()
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._slab is not None and self._taken < self._filled:
            self._ready.append(self._slab[self._taken : self._filled])
            self._taken = self._filled
        if self._cycle is not None:
            self._cycle.message_event.set()

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slab = None
        self._ready.clear()

    # The application's side -------------------------------------------------------------------

    def before(self, app: ASGIApp) -> ASGIApp:
        """`app` as it hears this body."""

        async def hearing(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), EXTENSION: self._options}

            async def received() -> Message:
                return await self._next(receive)

            await app(scope, received, send)

        return hearing

    async def _next(self, receive: Receive) -> Message:
        """The next message. `receive` is uvicorn's own, which has no bytes: it reads on, answers
        Expect: 100-continue, waits for the event, and tells when the client has gone.
        """
        while not self._ready:
            message = await receive()
            if message["type"] == "http.disconnect" and not self._ready:
                return message
        view = self._ready.popleft()
        return {
            "type": "http.request",
            "body": view if self._options["wanted"] else bytes(view),
            "more_body": bool(self.left_bytes or self._ready),
        }
