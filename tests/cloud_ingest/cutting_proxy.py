"""A TCP proxy that cuts connections where a script says: faults as data."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class CuttingProxy:
    """Forwards to `target_url`; connection k is cut after `budgets[k]` bytes of the client.

    Connections after the last budget are left alone. `cuts` counts the cut ones, `accepted` all,
    `sent_bytes` what clients have sent over them.
    """

    target_url: str
    budgets: list[int]
    cuts: int = 0
    accepted: int = 0
    sent_bytes: int = 0
    url: str = ""
    _open: list[socket.socket] = field(default_factory=list)
    _awaited: tuple[int, Callable[[], object]] | None = None

    def call_after(self, sent_bytes: int, tell: Callable[[], object]) -> None:
        """Have `tell` called, from a thread, once clients have sent so much in all."""
        self._awaited = (sent_bytes, tell)

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                budget = self.budgets.pop(0) if self.budgets else None
                parts = urlsplit(self.target_url)
                server = socket.create_connection((parts.hostname, parts.port))
                self._open += [client, server]
                for step in ((client, server, budget, True), (server, client, None, False)):
                    threading.Thread(target=self._pump, args=step, daemon=True).start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, budget: int | None, is_up: bool
    ) -> None:
        was_cut = False
        with suppress(OSError):
            while piece := source.recv(65_536 if budget is None else max(1, min(65_536, budget))):
                sink.sendall(piece)
                self.sent_bytes += len(piece) if is_up else 0
                if self._awaited is not None and self.sent_bytes >= self._awaited[0]:
                    (_, tell), self._awaited = self._awaited, None
                    tell()
                if budget is not None:
                    budget -= len(piece)
                    if budget <= 0:
                        self.cuts += 1
                        was_cut = True
                        break
        for end in (source, sink):
            with suppress(OSError):
                if was_cut:  # a reset, as from a router that forgot the connection
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD if was_cut else socket.SHUT_RDWR)
            if was_cut:
                end.close()

    def close(self) -> None:
        for end in self._open:
            end.close()


@contextmanager
def cutting(target_url: str, budgets: Iterable[int]) -> Iterator[CuttingProxy]:
    """Run a proxy for the length of the block."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = CuttingProxy(target_url, list(budgets))
    proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=proxy._serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        proxy.close()
