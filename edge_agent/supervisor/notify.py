"""Telling the service manager: systemd's notification protocol, in its few lines.

Datagrams of `NAME=value` lines to the unix socket in `NOTIFY_SOCKET` (sd_notify(3)); a name that
starts with `@` is abstract. Guarantees: without a service manager nothing is sent, and no failure
to tell ever stops what is told about.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

import structlog

NS_PER_US = 1_000
MAX_STATUS = 400

log = structlog.get_logger(__name__)


class Notifier:
    """Speaks to the service manager.

    Args:
        address: the socket's path, `@name` for an abstract one, None where nobody listens.
        watchdog_ns: how soon the manager wants to hear again, None when it does not watch.
    """

    def __init__(self, address: str | None, watchdog_ns: int | None = None) -> None:
        self._address = address
        self._failed = False
        self.watchdog_ns = watchdog_ns if address else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Notifier:
        """As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is not None and address[0] not in "/@":
            log.warning("no notifications: not a socket's name", NOTIFY_SOCKET=address)
            address = None
        for_another = environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid())
        wanted = environment.get("WATCHDOG_USEC", "")
        watched = wanted.isascii() and wanted.isdigit() and int(wanted) > 0 and not for_another
        return cls(address, int(wanted) * NS_PER_US if watched else None)

    @property
    def is_heard(self) -> bool:
        """Whether there is a service manager."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Starting is over."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        """One line for people, as `systemctl status` shows it."""
        self._send(_status(status))

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """The daemon ends in order."""
        self._send("STOPPING=1", _status(status))

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        name = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)  # a manager that does not read must not hold the loop
                out.sendto("\n".join(lines).encode(), name)
        except OSError as error:
            if not self._failed:
                log.warning("service manager cannot be told", reason=str(error))
            self._failed = True
        else:
            self._failed = False


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:MAX_STATUS]
