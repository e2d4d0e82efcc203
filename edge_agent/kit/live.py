"""A live source that is fed by callbacks, as middleware and planners give them.

Guarantees: whoever feeds it never waits; when the agent is behind, what does not fit is left out
and counted. Samples come out in the order of time: one that is older than the newest is left out
and counted too, so feed each source from one clock.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator

from contracts.samples import Sample
from edge_agent.ports import SourceDescription

WAITING = 4096


class LiveFeed:
    """`LiveSource` over what `put` is given. Any thread may feed it.

    Attributes: `counts`: samples left out, by reason.
    """

    def __init__(self, description: SourceDescription, waiting: int = WAITING) -> None:
        self._description = description
        self._bound = waiting
        self._waiting: deque[Sample] = deque()
        self._change = threading.Condition()
        self._over = False
        self.counts: Counter[str] = Counter()

    def describe(self) -> SourceDescription:
        return self._description

    def put(self, sample: Sample) -> bool:
        """Hand over a sample; False when it was left out. Never blocks."""
        with self._change:
            if self._over or len(self._waiting) >= self._bound:
                self.counts["over" if self._over else "agent is behind"] += 1
                return False
            self._waiting.append(sample)
            self._change.notify()
            return True

    def stop(self) -> None:
        """Nothing more comes: `samples()` ends when what waits is taken."""
        with self._change:
            self._over = True
            self._change.notify_all()

    def samples(self) -> Iterator[Sample]:
        """Samples as they come; once only."""
        newest_ns: int | None = None
        while True:
            with self._change:
                while not self._waiting and not self._over:
                    self._change.wait()
                if not self._waiting:
                    return
                sample = self._waiting.popleft()
            if newest_ns is not None and sample.mono_ns < newest_ns:
                self.counts["older than the newest"] += 1
                continue
            newest_ns = sample.mono_ns
            yield sample
