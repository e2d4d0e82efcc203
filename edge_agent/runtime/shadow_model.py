"""A candidate model in shadow: it sees every n-th frame after the active one, and is compared.

Guarantees: nothing of what the active model gave is touched; the candidate's time is measured
apart from the hot path's; whatever it raises is counted and never reaches the drive. After
`FAILURES_IN_A_ROW` failures it is at fault and runs no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from time import perf_counter_ns

from contracts.check_in import ShadowModel
from contracts.errors import LongtailError
from contracts.samples import Detection, SignalSample
from edge_agent.drive.drive import FrameSeen
from edge_agent.drive.timing import FrameTimer
from edge_agent.ota.ports import ModelRelease
from edge_agent.perception.views import look
from edge_agent.runtime.agreement import Agreement
from edge_agent.runtime.faults import FAILURES_IN_A_ROW

EVERY_NTH_FRAME = 5
SURE = 0.4
"""Probability from which a detection counts as an object that the other model should see."""


class ShadowModelRunner:
    """One candidate beside one active model. Used by the drive's thread; `report` by any."""

    def __init__(self, candidate: ModelRelease, active_digest: str, every: int) -> None:
        self.candidate = candidate
        self.active_digest = active_digest
        self._every = every
        self._seen: Counter[str] = Counter()
        self._agreement = Agreement()
        self._timer = FrameTimer()
        self._frames = 0
        self._failed = 0
        self._in_a_row = 0
        self.fault = ""

    def see(self, seen: FrameSeen) -> list[SignalSample]:
        """Take a frame that the active model has judged; n counts for each camera by itself.

        Gives how far both part on it, nothing where the candidate did not look.
        """
        view = seen.view
        if self.fault or seen.frame is None or view is None:
            return []
        turn = self._seen[view.channel]
        self._seen[view.channel] += 1
        if turn % self._every:
            return []
        start_ns = perf_counter_ns()
        try:
            found = look(self.candidate.model, view)
        except LongtailError as error:
            self._failed += 1
            self._in_a_row += 1
            if self._in_a_row >= FAILURES_IN_A_ROW:
                self.fault = f"{self._in_a_row} frames in a row failed: {error}"
            return []
        took_ns = perf_counter_ns() - start_ns
        self._timer.add(took_ns, took_ns)
        self._in_a_row = 0
        self._frames += 1
        self._agreement.add(seen.frame.detections, found.detections)
        share = disagreement(seen.frame.detections, found.detections)
        return [
            SignalSample("shadow.disagreement", seen.frame.mono_ns, share),
            SignalSample("shadow.frames", seen.frame.mono_ns, float(self._frames)),
        ]

    def report(self) -> ShadowModel:
        """What was found so far."""
        timing, found = self._timer.report(), self._agreement
        return ShadowModel(
            digest=self.candidate.digest, active_digest=self.active_digest,
            frames=self._frames, failed_frames=self._failed, agreed=found.agreed,
            class_differs=found.class_differs, only_active=found.only_active,
            only_candidate=found.only_candidate,
            probability_gap=round(found.probability_gap, 6),
            p50_ms=timing.p50_ms if timing is not None else 0.0,
            p99_ms=timing.p99_ms if timing is not None else 0.0,
        )  # fmt: skip


def disagreement(active: Sequence[Detection], candidate: Sequence[Detection]) -> float:
    """Share of the objects of one frame that only one model sees, or that both name differently;
    0 when neither sees any. Detections below `SURE` are no objects: there both may guess.
    """
    found = Agreement()
    found.add(*([d for d in some if d.probability >= SURE] for some in (active, candidate)))
    apart = found.class_differs + found.only_active + found.only_candidate
    return apart / max(1, apart + found.agreed)
