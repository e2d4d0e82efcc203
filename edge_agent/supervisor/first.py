"""The first sample of a source, which a silent one does not give.

Sensors of now may be silent when the agent starts: a bus that sleeps, a cable that is off. Clips of
other days wait to be sent all the same, so the agent must come up without it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait

from contracts.samples import Sample


class FirstSample:
    """The first of `samples`, asked for at once, in a thread of its own.

    Nobody else may read `samples` before `result` has returned.
    """

    def __init__(self, samples: Iterator[Sample]) -> None:
        self._samples = samples
        self._first: Future[Sample | None] = Future()
        # No thread that the process waits for: a source that cannot be stopped must not hold it.
        threading.Thread(target=self._ask, name="first-sample", daemon=True).start()

    def _ask(self) -> None:
        try:
            self._first.set_result(next(self._samples, None))
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._first.set_exception(error)

    def is_known(self, within_s: float) -> bool:
        """Whether the source speaks, ended or failed, which is waited for so long. Any thread."""
        return bool(wait([self._first], within_s).done)

    def result(self) -> Sample | None:
        """The sample, None of a source that ended. Blocks; raises what the source raised."""
        return self._first.result()
