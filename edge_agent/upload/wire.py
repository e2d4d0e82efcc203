"""Counting what really goes over the wire, at the socket.

Guarantees: what the kernel sent and received on a counted socket, retransmissions, TLS records
and packet headers included, is in its meter's total (Linux `TCP_INFO`; elsewhere bytes are
counted as they pass the socket object, headers are estimated and retransmissions unknown).
Once a meter's allowance is reached its sockets refuse to send. Totals never fall.

asyncio's own event loop sends through the socket object, which is what lets it refuse; a loop
that works on file descriptors alone would pass it by.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from typing import Any

HEADER_BYTES = 72
"""IPv6, TCP and its timestamp option; IPv4 takes 20 less."""
SEGMENT_BYTES = 1200
LOW_PRIORITY_TOS = 0x04
"""DSCP 1 (LE, RFC 8622): yields to everything else on the way."""
_TCP_INFO_BYTES = 216
_TCP_INFO = struct.Struct("=128xQIII52xQ8x")
"""`struct tcp_info`: bytes_received, segs_out, segs_in, notsent_bytes, bytes_sent."""


KERNEL_COUNTS = sys.platform == "linux" and hasattr(socket, "TCP_INFO")
"""Whether bytes that never pass the socket object are counted too."""


class AllowanceError(OSError):
    """The meter's allowance is spent: the socket sends no more."""

    def __init__(self) -> None:
        super().__init__(errno.EDQUOT, "the allowance of wire bytes is spent")


class WireMeter:
    """Total of wire bytes of all its sockets, and how many there may be.

    `allowance_bytes` is a bound on `total_bytes()`, None on a free link; `is_spent` tells
    that something was refused for it.
    """

    def __init__(self) -> None:
        self.allowance_bytes: int | None = None
        self.is_spent = False
        self._closed_bytes = 0
        self._open: set[CountingSocket] = set()

    def allow(self, more_bytes: int | None) -> None:
        """Let this much more through from now on, or everything."""
        self.is_spent = False
        total_bytes = self.total_bytes()
        self.allowance_bytes = None if more_bytes is None else total_bytes + more_bytes

    def total_bytes(self) -> int:
        """Wire bytes so far, both directions."""
        # A copy: sockets come and go on the event loop, and others ask too.
        return self._closed_bytes + sum(opened.wire_bytes() for opened in list(self._open))

    def may_send(self, payload_bytes: int) -> bool:
        """Whether this much more fits under the allowance."""
        if self.allowance_bytes is None:
            return True
        wanted_bytes = self.total_bytes() + with_headers(payload_bytes)
        self.is_spent = self.is_spent or wanted_bytes > self.allowance_bytes
        return not self.is_spent

    @property
    def is_free(self) -> bool:
        """Whether nothing bounds what may be sent, and the kernel counts for itself."""
        return self.allowance_bytes is None and KERNEL_COUNTS

    def cut(self) -> None:
        """Break all connections at once: what the kernel still holds is dropped, not sent."""
        for opened in self._open:
            opened.is_cut = True
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def socket_of(self, address: tuple[Any, ...]) -> socket.socket:
        """A counted socket, as `aiohttp.TCPConnector(socket_factory=)` wants it."""
        family, kind, protocol = address[:3]
        made = CountingSocket(family, kind, protocol)
        made.meter = self
        made.setblocking(False)
        mark_low_priority(made)
        self._open.add(made)
        return made

    def closed(self, ended: CountingSocket) -> None:
        """Fold a socket's last reading into the total."""
        if ended in self._open:
            self._closed_bytes += ended.wire_bytes()
            self._open.discard(ended)


def with_headers(payload_bytes: int) -> int:
    """Payload and the packets that carry it, with an acknowledgement for every second one."""
    segments = payload_bytes // SEGMENT_BYTES + 1
    return payload_bytes + HEADER_BYTES * (segments + segments // 2 + 1)


def mark_low_priority(made: socket.socket) -> None:
    """Ask the network to let other traffic pass; a kernel that cannot is no error."""
    option = (
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        if made.family == socket.AF_INET6
        else (socket.IPPROTO_IP, socket.IP_TOS)
    )
    try:
        made.setsockopt(*option, LOW_PRIORITY_TOS)
    except OSError:
        return


class CountingSocket(socket.socket):
    """A socket that counts, and that stops sending at its meter's allowance."""

    meter: WireMeter | None = None
    is_cut = False
    _sent_bytes = 0
    _received_bytes = 0

    def wire_bytes(self) -> int:
        """Bytes of this connection on the wire so far."""
        found = self._tcp_info()
        if found is None:
            return with_headers(self._sent_bytes + self._received_bytes)
        received, segments_out, segments_in, unsent, sent = found
        # What is still in the kernel's buffer will need packets of its own.
        segments = segments_out + segments_in + 2 * (unsent // SEGMENT_BYTES + 1)
        return received + sent + unsent + HEADER_BYTES * segments

    def _tcp_info(self) -> tuple[int, int, int, int, int] | None:
        try:
            found = self.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        except (OSError, AttributeError):
            return None
        if len(found) < _TCP_INFO_BYTES:
            return None
        received, segments_out, segments_in, unsent, sent = _TCP_INFO.unpack(found)
        return received, segments_out, segments_in, unsent, sent

    def send(self, payload: Any, flags: int = 0, /) -> int:
        self._check(memoryview(payload).nbytes)
        sent = super().send(payload, flags)
        self._sent_bytes += sent
        return sent

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        held = list(buffers)
        self._check(sum(memoryview(buffer).nbytes for buffer in held))
        sent = super().sendmsg(held, *rest)
        self._sent_bytes += sent
        return sent

    def _check(self, payload_bytes: int) -> None:
        if self.is_cut:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the connection was cut")
        if self.meter is not None and not self.meter.may_send(payload_bytes):
            raise AllowanceError

    def recv(self, most: int, flags: int = 0, /) -> bytes:
        received = super().recv(most, flags)
        self._received_bytes += len(received)
        return received

    def recv_into(self, buffer: Any, *rest: int) -> int:
        received = super().recv_into(buffer, *rest)
        self._received_bytes += received
        return received

    def close(self) -> None:
        if self.meter is not None:
            self.meter.closed(self)
        super().close()
