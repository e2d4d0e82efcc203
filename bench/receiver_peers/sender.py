"""One client for all servers: requests on a kept connection, bodies by `sendfile`."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from contracts.errors import TransientError

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Sender:
    """A connection to `127.0.0.1:port`. Not thread-safe."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """A request with a small body. Raises `TransientError` for an answer above 299."""
        self._socket.sendall(_head(method, path, headers, len(body)) + body)
        return self._answer(method, path)

    def send(
        self, method: str, path: str, headers: Mapping[str, str], file: IO[bytes],
        offset: int, length: int,
    ) -> Answer:  # fmt: skip
        """A request whose body is a range of a file."""
        self._socket.sendall(_head(method, path, headers, length))
        self._socket.sendfile(file, offset, length)
        return self._answer(method, path)

    def _answer(self, method: str, path: str) -> Answer:
        received = bytearray()
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = bytes(received).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        while len(body) < int(headers.get("content-length", "0")):
            body += self._more()
        status = int(first.split(" ", 2)[1])
        if status > 299:
            raise TransientError(f"{method} {path}: {status} {body[:200]!r}")
        return Answer(status, headers, body)

    def _more(self) -> bytes:
        chunk = self._socket.recv(65_536)
        if not chunk:
            raise TransientError("the server has closed the connection")
        return chunk


def _head(method: str, path: str, headers: Mapping[str, str], length: int) -> bytes:
    fields = {"Host": "127.0.0.1", "Content-Length": str(length)} | dict(headers)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def synced(path: Path) -> None:
    """Make durable what a server that does not do so itself has written."""
    import os

    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
