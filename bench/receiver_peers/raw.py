"""The least that a receiver can do in Python: read into one buffer, hash or not, write, sync.

`python -m bench.receiver_peers.raw FOLDER hash|plain` prints its port and serves until it is ended.
A PUT of `/name/offset` writes its body there; no tokens, no database, no other check.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
from pathlib import Path

from contracts.ids import PART_BYTES

_PIECE_BYTES = 1024 * 1024


def serve(folder: Path, *, is_hashing: bool) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            threading.Thread(
                target=_serve_one, args=(connection, folder, is_hashing), daemon=True
            ).start()


def _serve_one(connection: socket.socket, folder: Path, is_hashing: bool) -> None:
    buffer = memoryview(bytearray(PART_BYTES))
    with connection:
        while (head := _read_head(connection)) is not None:
            text, rest = head
            line, *fields = text.split("\r\n")
            name, _, offset = line.split(" ")[1].strip("/").partition("/")
            known = dict(each.lower().split(": ", 1) for each in fields)
            length = int(known["content-length"])
            buffer[: len(rest)] = rest
            at = len(rest)
            digest = hashlib.sha256()
            hashed = 0
            while at < length:
                at += connection.recv_into(buffer[at:length], min(_PIECE_BYTES, length - at))
                if is_hashing:  # while it is warm
                    digest.update(buffer[hashed:at])
                    hashed = at
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                for start in range(0, length, _PIECE_BYTES):  # larger writes cost more in VMs
                    piece = buffer[start : min(start + _PIECE_BYTES, length)]
                    os.pwrite(descriptor, piece, int(offset) + start)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


def _read_head(connection: socket.socket) -> tuple[str, bytes] | None:
    head = bytearray()
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(65_536)
        if not chunk:
            return None
        head += chunk
    text, _, rest = bytes(head).partition(b"\r\n\r\n")
    return text.decode("latin-1"), rest


if __name__ == "__main__":
    serve(Path(sys.argv[1]), is_hashing=sys.argv[2] == "hash")
