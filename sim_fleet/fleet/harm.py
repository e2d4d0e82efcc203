"""Faults that strike in the middle of something: a part under way, a clip being written."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from edge_agent.spool.folder import ACTIVE_SUFFIX
from sim_fleet.fleet.faults import PlannedFault
from sim_fleet.fleet.relay import Passage

MOST_STEPS = 8
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = frozenset({"os.rename", "os.remove", "os.truncate", "os.link"})


class Tell(Protocol):
    def __call__(self, what: str, **more: Any) -> None: ...


class Saboteur:
    """Watches the relay's requests and strikes in the body of a part, each fault once.

    A fault that found no part on the trip it was meant for takes a signal log's body too: those
    go up from every drive.
    """

    def __init__(
        self, trip: int, faults: Sequence[PlannedFault], cut_power: Callable[[str], object],
        server_pid: Callable[[], int | None], tell: Tell,
    ) -> None:  # fmt: skip
        self._trip = trip
        self._waiting = [fault for fault in faults if fault.waits_for_upload]
        self._struck: PlannedFault | None = None
        self._cut_power = cut_power
        self._server_pid = server_pid
        self._tell = tell

    def harm(self, passage: Passage) -> None:
        """Called with each piece of a request's body before it goes on."""
        if not self._waiting:
            return
        fault = self._waiting[0]
        verbs = (
            ("PATCH /v1/tus/", "PUT /v1/signal-logs/") if fault.trip < self._trip else ("PATCH ",)
        )
        if not passage.start_line.startswith(verbs) or passage.share < fault.share:
            return
        self._waiting.pop(0)
        match fault.spec.kind:
            case "power_cut":
                self._cut_power(fault.name)
            case "corrupted_part":
                middle = len(passage.data) // 2
                passage.data[middle] ^= 0x10
                self._tell("fault", fault=fault.name, note=f"bit 4 of byte "
                           f"{passage.passed_bytes + middle} of a body is turned")  # fmt: skip
                self._struck = fault
            case "server_restart":
                process_id = self._server_pid()
                if process_id is not None:
                    note = f"SIGKILL of the receiver, {passage.share:.0%} into a body"
                    self._tell("fault", fault=fault.name, note=note)
                    os.kill(process_id, signal.SIGKILL)

    def answered(self, status_line: str, request_line: str) -> None:
        """Called with each answer: what the receiver said to a part that was harmed."""
        if self._struck is not None and request_line.startswith(("PATCH ", "PUT ")):
            words = status_line.split(" ", 2)
            if words[1] == "100":
                return
            self._tell("followed", fault=self._struck.name,
                       note=f"the receiver answered {' '.join(words[1:])}")  # fmt: skip
            self._struck = None


class ClipWriting:
    """An audit hook that cuts the power while a clip is being written.

    It counts the interpreter's changes of files under the state folder from the moment that a
    clip is begun, and strikes at the one that the fault's `share` picks.
    """

    def __init__(
        self, state: Path, fault: PlannedFault, cut_power: Callable[[str], object]
    ) -> None:
        self._state = os.fspath(state)
        self._fault = fault
        self._cut_power = cut_power
        self._left: int | None = None

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not (isinstance(arguments[2], int) and arguments[2] & _WRITING):
                return
        elif event not in _CHANGES:
            return
        path = arguments[0]
        if not isinstance(path, str | Path) or not os.fspath(path).startswith(self._state):
            return
        if self._left is None and os.fspath(path).endswith(ACTIVE_SUFFIX):
            self._left = round(self._fault.share * MOST_STEPS)
        if self._left is None:
            return
        if self._left == 0:
            self._cut_power(self._fault.name)
        self._left -= 1
