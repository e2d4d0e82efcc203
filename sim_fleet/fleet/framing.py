"""Where HTTP/1.1 messages begin and end in a stream of bytes. Pure.

Enough of RFC 9112 to tell whether a party still owes something: start line, length of the body
by `Content-Length` or chunks, interim answers. It changes nothing, and says nothing of what the
messages mean.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MOST_HEAD_BYTES = 256 * 1024
_NO_BODY = frozenset({204, 304})


@dataclass(slots=True)
class Framing:
    """One direction of a connection. Feed it what passes.

    Attributes:
        finished: whole messages so far (interim answers not counted).
        start_line: of the newest message.
        body_bytes: of the newest message's body so far.
        expects_continue: the newest request waits for leave to send its body.
    """

    is_request: bool
    finished: int = 0
    start_line: str = ""
    expects_continue: bool = False
    body_bytes: int = 0
    heads: int = 0
    asked_heads: deque[bool] = field(default_factory=deque)
    """For answers: whether each request that is still to be answered was a HEAD."""
    _head: bytearray = field(default_factory=bytearray)
    _left: int = 0
    _chunked: bool = False
    _line: bytes = b""
    _is_last: bool = False
    _in_body: bool = False

    @property
    def is_in_body(self) -> bool:
        return self._in_body

    @property
    def body_left_bytes(self) -> int:
        """Of a body whose length was told; 0 for one in chunks."""
        return 0 if self._chunked else self._left

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        at = 0
        while at < len(data):
            if not self._in_body:
                at = self._feed_head(data, at)
            elif self._chunked:
                at = self._feed_chunked(data, at)
            else:
                taken = min(self._left, len(data) - at)
                self.body_bytes += taken
                self._left -= taken
                at += taken
                if self._left == 0:
                    self._end()

    def _feed_head(self, data: bytes, at: int) -> int:
        seen = max(0, len(self._head) - 3)
        self._head += data[at:]
        end = self._head.find(b"\r\n\r\n", seen)
        if end < 0:
            if len(self._head) > MOST_HEAD_BYTES:
                raise ValueError("the head of a message does not end")
            return len(data)
        rest = len(self._head) - end - 4
        lines = self._head[:end].decode("latin-1").split("\r\n")
        self._head.clear()
        self._begin(lines)
        return len(data) - rest

    def _begin(self, lines: list[str]) -> None:
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip().lower()
        self.start_line, self.body_bytes = lines[0], 0
        self.heads += 1
        self.expects_continue = fields.get("expect") == "100-continue"
        status = 0 if self.is_request else int(lines[0].split(" ", 2)[1])
        if 100 <= status < 200:
            return
        bare = status in _NO_BODY
        if not self.is_request and self.asked_heads:
            bare = self.asked_heads.popleft() or bare
        self._chunked = "chunked" in fields.get("transfer-encoding", "") and not bare
        self._left = 0 if bare or self._chunked else int(fields.get("content-length", "0"))
        self._line, self._is_last = b"", False
        self._in_body = self._chunked or self._left > 0
        if not self._in_body:
            self._end()

    def _feed_chunked(self, data: bytes, at: int) -> int:
        """Lines that give sizes, and between them as many bytes with a line's end; trailers."""
        if self._left:
            taken = min(self._left, len(data) - at)
            self.body_bytes += taken
            self._left -= taken
            return at + taken
        end = data.find(b"\n", at)
        self._line += data[at : end + 1 if end >= 0 else len(data)]
        if end < 0:
            return len(data)
        line, self._line = self._line.strip(), b""
        if self._is_last:
            if not line:
                self._end()
        elif line:
            size = int(line.split(b";")[0], 16)
            self._is_last = size == 0
            self._left = size + 2 if size else 0
        return end + 1

    def _end(self) -> None:
        self.finished += 1
        self._in_body = False
        self.expects_continue = False
