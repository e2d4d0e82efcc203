"""A planner tap: what the planner intends, and whether it drives, from JSON lines.

Each line is one cycle of the planner: its monotonic time in seconds, whether it is engaged, and
its trajectory as [t_s, x_m, y_m] in the ego frame (rear axle, x forward, y left):

    {"time_s": 12.3, "engaged": true, "points": [[0, 0, 0], [0.1, 1.2, 0.0]]}

Copy this file, then replace what reads the lines. A planner in the same process or on a
middleware calls back instead: build `edge_agent.kit.live.LiveFeed(description)` and call its
`put(sample)` with the same samples.

    [project.entry-points."longtail.sources"]
    myplanner = "my_package.planner_tap:open_planner_log"

The tap is one source of several: name it in a sources file beside the others (`all:`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.samples import PlanSample, Sample, SignalSample
from edge_agent.ports import SourceDescription


class PlannerLogSource:
    """`SensorSource` of plans and of `autonomy.engaged`."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError("no such file; give myplanner:JSON_LINES", str(path))
        self._path = path

    def describe(self) -> SourceDescription:
        digest = hashlib.sha256(self._path.read_bytes()).hexdigest()[:12]
        return SourceDescription(
            drive_id=self._path.stem,
            boot_id=f"planner-{digest}",
            utc_minus_mono_ns=0,
            clock=ClockQuality(synchronised=False, source="none"),
            signals=frozenset({"autonomy.engaged"}),
            has_plan=True,
        )

    def samples(self) -> Iterator[Sample]:
        newest_ns = 0
        with self._path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                place = f"{self._path}:{number}"
                for sample in _cycle(line, place):
                    if sample.mono_ns < newest_ns:
                        raise CorruptError("time goes back", place)
                    newest_ns = sample.mono_ns
                    yield sample


def _cycle(line: str, place: str) -> tuple[Sample, ...]:
    try:
        cycle: dict[str, Any] = json.loads(line)
        at_ns = round(cycle["time_s"] * NS_PER_S)
        engaged = float(bool(cycle["engaged"]))
        points = np.array(cycle["points"], dtype=np.float64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"not a planner's cycle: {line[:80]!r}", place) from error
    state = SignalSample("autonomy.engaged", at_ns, engaged)
    if len(points) < 2:
        return (state,)  # a planner that does not plan says so by its state alone
    return state, PlanSample(at_ns, points[:, 0] - points[0, 0], points[:, 1:].copy())


def open_planner_log(rest: str) -> PlannerLogSource:
    """The entry point: `rest` is what follows `myplanner:`."""
    return PlannerLogSource(Path(rest))
