"""The updater's state in memory and on the disk, and the one way to change it.

Guarantees: what is in memory was decided by `edge_agent.ota.step` alone; what brings something
new is durable before anybody acts on it (`required`). What only takes away (a kill, a revert, a
removal) acts even when the disk cannot be written, is told in `problem`, and is written again
with the next change. Soak progress alone is written every `PROGRESS_NS` at most.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from contracts.clock import NS_PER_S, Clock
from contracts.errors import CorruptError, LongtailError
from edge_agent.disk import Disk
from edge_agent.ota.events import Collect, Event, Fetch, Offer
from edge_agent.ota.state import OtaState, read_state, set_aside, write_state
from edge_agent.ota.step import SoakRules, files_of, step

PROGRESS_NS = 30 * NS_PER_S

log = structlog.get_logger(__name__)


class OtaBook:
    """Not thread-safe. `offer_due`, `fetch_due` and `collect_due` wait for whoever acts on them.

    A damaged file is set aside and told; the state begins empty then, so built-in parts run.
    """

    def __init__(self, path: Path, disk: Disk, clock: Clock, rules: SoakRules) -> None:
        self._path = path
        self._disk = disk
        self._clock = clock
        self._rules = rules
        self.problem = ""
        self.offer_due = self.fetch_due = self.collect_due = True
        self.state = self._durable = self._read()
        self._is_behind = False
        self._written_mono_ns = clock.mono_ns()

    def _read(self) -> OtaState:
        try:
            return read_state(self._path)
        except CorruptError as error:
            self.problem = f"{error}; it was set aside and built-in parts run"
            log.error("ota_state_damaged", reason=str(error))
        try:
            set_aside(self._disk, self._path)
        except LongtailError as error:
            self.problem += f"; {error}"
        return OtaState()

    @property
    def is_behind(self) -> bool:
        """Whether the disk still holds an older state, because it could not be written."""
        return self._is_behind

    def apply(self, event: Event, *, required: bool = False) -> None:
        """Take in what happened. With `required` an error of the disk is raised, and nothing
        has changed then."""
        after, commands = step(self.state, event, self._rules)
        if self._is_due(after):
            try:
                write_state(self._disk, self._path, after)
            except LongtailError as error:
                if required:
                    raise
                self.problem = f"the state cannot be kept: {error}"
                self._is_behind = True
            else:
                if self._is_behind:
                    self.problem = ""
                self._durable, self._is_behind = after, False
                self._written_mono_ns = self._clock.mono_ns()
        self.state = after
        for command in commands:
            self.offer_due |= isinstance(command, Offer)
            self.fetch_due |= isinstance(command, Fetch)
            self.collect_due |= isinstance(command, Collect)

    def _is_due(self, after: OtaState) -> bool:
        if self._is_behind or _without_progress(after) != _without_progress(self._durable):
            return True
        waited_ns = self._clock.mono_ns() - self._written_mono_ns
        return after != self._durable and waited_ns >= PROGRESS_NS

    def needed_files(self) -> frozenset[str]:
        """Digests of files that the disk's state or memory's still names."""
        return files_of(self.state) | files_of(self._durable)


def _without_progress(state: OtaState) -> OtaState:
    slots = tuple(held.model_copy(update={"soaked_ns": 0}) for held in state.slots)
    return state.model_copy(update={"slots": slots})
