"""Sends signal logs home on free links, when nothing more urgent can go.

Guarantees: a log is marked as sent (`.sent` in its name, so that a look into the folder tells)
only when the cloud has answered with the id of its bytes; the file that is being written is left
alone; a metered link carries none. A broken transfer begins again, one that a clip broke off too:
logs are mostly small and never urgent. One that the cloud will never take is marked `.refused` and
kept; one that cannot be read or marked is told and left for an hour, and the others go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from contracts.clock import Clock
from contracts.ids import digest_file
from contracts.signal_log import MAX_SIGNAL_LOG_BYTES, SIGNAL_LOG_SUFFIX
from edge_agent.ports import LinkMonitor
from edge_agent.upload.calendar import Calendar
from edge_agent.upload.charge import Charger
from edge_agent.upload.payload import Gate, StoppedError, UnreadableError
from edge_agent.upload.policy import is_metered
from edge_agent.upload.protocol import Authenticated, Replied
from edge_agent.upload.receiver import Receiver

SENT = ".sent"
REFUSED = ".refused"
RETRY_S = 300.0
UNREADABLE_S = 3600.0
"""How long a file that cannot be read is left alone, a log as a clip."""
_NEVER = frozenset({400, 403, 409, 410, 413, 415, 422})

_log = structlog.get_logger(__name__)


class LogSender(Protocol):
    """Sends one log when it may; `uploader` asks it when no clip can go."""

    async def send_next(self) -> bool:
        """True when a log went, so that there may be more."""
        ...

    def waiting(self) -> int: ...

    def next_at_ns(self) -> int | None:
        """When a log may go by this link (it may have passed); None: none waits, or none may."""
        ...


class NoLogs:
    """Sends nothing."""

    async def send_next(self) -> bool:
        return False

    def waiting(self) -> int:
        return 0

    def next_at_ns(self) -> int | None:
        return None


class SignalLogSender:
    """Sends the logs of `folder`, oldest first.

    Args:
        writing: the file that is being written, None when there is none.
        gate: asked while a log is sent whether that must end.
    """

    def __init__(
        self,
        folder: Path,
        writing: Callable[[], Path | None],
        receiver: Receiver,
        charger: Charger,
        calendar: Calendar,
        links: LinkMonitor,
        clock: Clock,
        gate: Gate,
    ) -> None:
        self._folder = folder
        self._writing = writing
        self._receiver = receiver
        self._charger = charger
        self._calendar = calendar
        self._links = links
        self._clock = clock
        self._gate = gate
        self._not_before_ns = 0
        self._left_until_ns: dict[Path, int] = {}
        """Files that could not be read, and when they are looked at again."""

    def _unsent(self) -> list[Path]:
        try:
            named = list(self._folder.glob(f"*{SIGNAL_LOG_SUFFIX}"))
        except OSError as error:
            self._leave(self._folder, error)
            return []
        found = []
        for path in named:
            if not path.stem.endswith((SENT, REFUSED)) and path != self._writing():
                try:
                    found.append((path.stat().st_mtime_ns, path))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    self._leave(path, error)
        return [path for _, path in sorted(found) if not self._is_left(path)]

    def waiting(self) -> int:
        """Whole logs that are still here only, but for those that cannot be read."""
        return len(self._unsent())

    async def send_next(self) -> bool:
        """Send the oldest log. False: there is none, or not now."""
        at_ns = self.next_at_ns()
        paths = self._unsent()
        if at_ns is None or self._clock.mono_ns() < at_ns or not paths:
            return False
        try:
            return await self._send(paths[0])
        except (StoppedError, FileNotFoundError):
            return False  # the link changed, or the quota took the file
        except (UnreadableError, OSError) as error:
            self._leave(paths[0], error)
            return True

    def next_at_ns(self) -> int | None:
        link = self._links.link()
        if link.kind == "none" or is_metered(link) or not self._unsent():
            return None
        return max(self._not_before_ns, self._calendar.events_at_ns())

    async def _send(self, path: Path) -> bool:
        if path.stat().st_size > MAX_SIGNAL_LOG_BYTES:
            self._mark(path, REFUSED, "larger than a log may be")
            return True
        log_id = (await asyncio.to_thread(digest_file, path)).clip_id()
        with self._charger.exchange(path.stat().st_size):
            if not isinstance(await self._receiver.authenticate(renew=False), Authenticated):
                return self._put_off("not authenticated")
            reply = await self._receiver.send_log(log_id, path, self._gate)
        match reply:
            case Replied(status=status) if 200 <= status < 300:
                self._mark(path, SENT, "")
                return True
            case Replied(status=401):
                await self._receiver.authenticate(renew=True)
                return self._put_off("the token did not hold")
            case Replied(status=status) if status in _NEVER:
                self._mark(path, REFUSED, f"{status} {reply.reason}")
                return True
        return self._put_off(reply.reason)

    def _put_off(self, reason: str) -> bool:
        self._not_before_ns = self._clock.mono_ns() + self._calendar.jittered_ns(RETRY_S)
        _log.info("signal log put off", reason=reason)
        return False

    def _mark(self, path: Path, mark: str, reason: str) -> None:
        # Not synced: after a power cut the cloud is asked again and knows it.
        try:
            path.rename(path.with_name(f"{path.stem}{mark}{SIGNAL_LOG_SUFFIX}"))
        except OSError as error:
            self._leave(path, error)
        if reason:
            _log.error("signal log refused", file=path.name, reason=reason)

    def _is_left(self, path: Path) -> bool:
        return self._clock.mono_ns() < self._left_until_ns.get(path, 0)

    def _leave(self, path: Path, error: Exception) -> None:
        """Tell of a file that cannot be worked with, and look at the others."""
        if not self._is_left(path):
            delay_ns = self._calendar.jittered_ns(UNREADABLE_S)
            self._left_until_ns[path] = self._clock.mono_ns() + delay_ns
            _log.error("signal log left", file=str(path), reason=str(error))
