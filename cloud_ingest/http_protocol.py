"""uvicorn's HTTP protocol, but a large body goes from the socket into slabs, past the parser.

uvicorn copies each byte of a body four times, into fresh memory: out of the socket, out of the
parser, onto what waits, and out of that. Here the parser reads heads, small bodies and chunked
ones, as it does in uvicorn. After the head of a body with a `Content-Length` from `LARGE_BYTES`
on, exactly so many bytes are read by `recv_into` where the application will see them, and a fresh
parser reads the next head. Parsing, keep-alive, pipelining, `Expect: 100-continue` and answers
stay uvicorn's.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import httptools
import numpy as np
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cloud_ingest.large_body import LargeBody
from cloud_ingest.slabs import Slabs

READ_BYTES = 64 * 1024
"""Most bytes of one read of what the parser parses."""
LARGE_BYTES = 256 * 1024
"""More than one such read, so that a large body never ends in the read of its head."""


class LargeBodiesProtocol(HttpToolsProtocol, asyncio.BufferedProtocol):
    """One connection. For `uvicorn.Config(http=…)`."""

    slabs: ClassVar[Slabs] = Slabs()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._read = np.empty(READ_BYTES, np.uint8).data
        self._body: LargeBody | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        body = self._body
        if body is None:
            return self._read
        return self._read[: body.left_bytes] if body.is_unwanted else body.room()

    def buffer_updated(self, nbytes: int) -> None:
        body = self._body
        if body is None:
            self.data_received(bytes(self._read[:nbytes]))
            if self._body is not None:
                # The old one waits for a body that it will not see.
                self.parser = _fresh_parser(self)
            return
        if body.is_unwanted:
            self._unset_keepalive_if_required()
            body.dropped(nbytes)
        else:
            body.filled(nbytes)
        if not body.left_bytes:
            self._body = None
            self.on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._body is not None:
            self._body.broke_off()
        super().connection_lost(exc)

    # Called by the parser ---------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        length = self._large_length()
        if length is None:
            super().on_headers_complete()
            return
        body = LargeBody(length, self.flow, self.slabs)
        # What uvicorn starts now, or later for a pipelined request, is what it finds here.
        self.app, whole_app = body.before(self.app), self.app
        try:
            super().on_headers_complete()
        finally:
            self.app = whole_app
        body.belongs_to(self.cycle)
        self._body = body

    def on_body(self, body: bytes) -> None:
        """Of a large body only what came in one read with its head."""
        if self._body is None:
            super().on_body(body)
            return
        self._body.room()[: len(body)] = body
        self._body.filled(len(body))

    def _large_length(self) -> int | None:
        """The length of a body that is read past the parser; None for any other."""
        lengths = [value for name, value in self.headers if name == b"content-length"]
        is_chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        # The parser has turned away what is no number, and two of them that differ.
        if len(lengths) != 1 or is_chunked or self.parser.should_upgrade():
            return None
        length = int(lengths[0])
        return length if length >= LARGE_BYTES else None


def _fresh_parser(protocol: LargeBodiesProtocol) -> httptools.HttpRequestParser:
    """As uvicorn makes it."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
