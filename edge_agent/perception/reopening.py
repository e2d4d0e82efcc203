"""A network whose session is opened again when it keeps failing.

An accelerator that was reset, or memory that ran out for a moment, breaks a session for good
while its file is whole. Guarantees: each failure is the caller's, as it was; after some in a row
the session is opened anew before the next run, with longer waits each time; a file that does not
open any more is told like a run that fails. It never ends the daemon: without perception the
vehicle still records what its signals ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from contracts.clock import NS_PER_S, Clock
from edge_agent.ports import Session, SessionOpener

FAILURES_IN_A_ROW = 3
FIRST_WAIT_NS = NS_PER_S
LONGEST_WAIT_NS = 60 * NS_PER_S

log = structlog.get_logger(__name__)


class ReopeningSession:
    """One network's session, replaced when it has failed too often in a row.

    Args:
        open_it: opens the network anew.
        clock: the machine's, for the waits between tries.
        on_reopened: told of each try.
    """

    def __init__(
        self,
        open_it: Callable[[], Session],
        clock: Clock,
        on_reopened: Callable[[], object] = lambda: None,
    ) -> None:
        self._open = open_it
        self._clock = clock
        self._on_reopened = on_reopened
        self._session = open_it()
        self._failures = 0
        self._wait_ns = FIRST_WAIT_NS
        self._not_before_ns = 0

    def get_inputs(self) -> Sequence[Any]:
        return self._session.get_inputs()

    def get_outputs(self) -> Sequence[Any]:
        return self._session.get_outputs()

    def run(
        self, output_names: list[str], feed: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]:
        """As the session's own."""
        if self._failures >= FAILURES_IN_A_ROW and self._clock.mono_ns() >= self._not_before_ns:
            self._reopen()
        try:
            outputs = self._session.run(output_names, feed)
        except Exception:
            self._failures += 1
            raise
        self._failures, self._wait_ns = 0, FIRST_WAIT_NS
        return outputs

    def _reopen(self) -> None:
        self._not_before_ns = self._clock.mono_ns() + self._wait_ns
        self._wait_ns = min(LONGEST_WAIT_NS, 2 * self._wait_ns)
        log.warning("model session is opened again", failures=self._failures)
        self._on_reopened()
        self._session = self._open()


def reopening(
    opener: SessionOpener | None,
    clock: Clock,
    on_reopened: Callable[[], object] = lambda: None,
    threads: int = 1,
) -> SessionOpener:
    """An opener whose sessions reopen themselves through `opener`, None for the usual one, whose
    runs take so many threads.
    """

    def opened(content: bytes, place: str) -> Session:
        # Late: an agent without a model needs no runtime for one.
        from edge_agent.perception.sessions import open_session

        usual = opener or partial(open_session, threads=threads)
        return ReopeningSession(lambda: usual(content, place), clock, on_reopened)

    return opened
