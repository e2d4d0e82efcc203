"""One trip as the agent's `SensorSource`: a simulated drive at its place in the fleet's time.

It keeps the drive in step with the vehicle's virtual loop, leaves out what a sensor that failed
would have sent, begins where a power cut ended (`skip_s`), and tells the instant at which the
power is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from contracts.channels import signal_channel
from contracts.clock import NS_PER_S, ClockQuality
from contracts.labels import labels_bytes
from contracts.samples import Sample, SignalSample
from edge_agent.ports import SourceDescription
from sim_fleet.drive import Tick
from sim_fleet.fleet.job import TruthSettings
from sim_fleet.labelling import TruthLabeller
from sim_fleet.source import START_NS, DriveOptions, SimFleetSource
from sim_fleet.world.world import STEP_S

LABEL_FOLDER = "labels"
STEP_NS = 100_000_000
"""How far drive and network may be apart."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Channels that match `patterns` send nothing from `start_s` to `end_s` of the drive."""

    patterns: tuple[str, ...]
    start_s: float
    end_s: float

    def covers(self, sample: Sample, t_s: float) -> bool:
        if not self.start_s <= t_s < self.end_s:
            return False
        if isinstance(sample, SignalSample):
            channel = signal_channel(sample.name)
        else:
            channel = str(getattr(sample, "channel", _CHANNELS.get(type(sample).__name__, "")))
        return any(fnmatchcase(channel, pattern) for pattern in self.patterns)


_CHANNELS = {"PlanSample": "/planner/trajectory", "PoseSample": "/pose", "FixSample": "/gnss/fix"}


@dataclass(slots=True)
class Odometer:
    """What the drive came to, counted where it is simulated."""

    driven_s: float = 0.0
    driven_m: float = 0.0
    disengagements: int = 0
    silenced: int = 0
    _engaged: bool = False

    def see(self, tick: Tick) -> None:
        self.driven_s += STEP_S
        self.driven_m += tick.ego.speed_mps * STEP_S
        self.disengagements += self._engaged and not tick.wheel.engaged
        self._engaged = tick.wheel.engaged


@dataclass(frozen=True, slots=True)
class TripOrder:
    """What is special about this start of the vehicle.

    `utc_ns` is the wall time of the trip's first instant, as the vehicle believes it.
    """

    boot_id: str
    utc_ns: int
    is_synchronised: bool = True
    skip_s: float = 0.0
    silences: tuple[Silence, ...] = ()
    cut_at_s: float | None = None


class TripSource(SimFleetSource):
    """`SensorSource` over a trip.

    Args:
        reach: blocks until the vehicle's other time has come as far (monotonic ns).
        ended: called once the last sample was taken.
        cut: cuts the power; it does not return.
        truth: where labels of what is driven go, if anywhere.
    """

    def __init__(
        self,
        options: DriveOptions,
        order: TripOrder,
        reach: Callable[[int], None],
        ended: Callable[[], None],
        cut: Callable[[], None],
        truth: TruthSettings | None = None,
    ) -> None:
        self.odometer = Odometer()
        super().__init__(options, self._see)
        self._order = order
        self._truth = None if truth is None else TripTruth(truth, self)
        self._reach = reach
        self._ended = ended
        self._cut = cut
        self._skip_ns = START_NS + round(order.skip_s * NS_PER_S)

    def _see(self, tick: Tick) -> None:
        if tick.t_s >= self._order.skip_s:
            self.odometer.see(tick)
            if self._truth is not None:
                self._truth.see(tick)

    def describe(self) -> SourceDescription:
        order = self._order
        quality = ClockQuality(
            synchronised=order.is_synchronised, offset_ns=0 if order.is_synchronised else None,
            source="simulated",
        )  # fmt: skip
        return replace(
            super().describe(), drive_id=order.boot_id, boot_id=order.boot_id,
            utc_minus_mono_ns=order.utc_ns - START_NS, clock=quality,
        )  # fmt: skip

    def samples(self) -> Iterator[Sample]:
        try:
            yield from self._in_step()
        finally:
            self._ended()

    def _in_step(self) -> Iterator[Sample]:
        due_ns = self._skip_ns + STEP_NS
        for sample in super().samples():
            if self._truth is not None:
                self._truth.labeller.watch(sample)
            if sample.mono_ns < self._skip_ns:
                if sample.mono_ns > START_NS or isinstance(sample, SignalSample):
                    continue
                # Calibrations and mounts are told anew at every start.
                sample = replace(sample, mono_ns=self._skip_ns)  # noqa: PLW2901
            if sample.mono_ns >= due_ns:
                self._reach(due_ns)
                due_ns += STEP_NS
            t_s = (sample.mono_ns - START_NS) / NS_PER_S
            if self._order.cut_at_s is not None and t_s >= self._order.cut_at_s:
                self._cut()
            if any(silence.covers(sample, t_s) for silence in self._order.silences):
                self.odometer.silenced += 1
                continue
            yield sample


class TripTruth:
    """Writes what is true of a trip while it is driven; each file is there whole or not at all."""

    def __init__(self, settings: TruthSettings, source: TripSource) -> None:
        described = source.describe()
        self.labeller = TruthLabeller(described, source.staged.world, settings.every_s)
        self._folder = settings.folder / described.drive_id / LABEL_FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)

    def see(self, tick: Tick) -> None:
        labels = self.labeller.see(tick)
        if labels is None:
            return
        path = self._folder / f"{labels.record.mono_ns}.npz"
        partial = path.with_name(f".{path.name}")
        partial.write_bytes(labels_bytes(labels))
        partial.replace(path)


class WakeSource:
    """A start without a drive: the vehicle stands, and says so, for as long as it is awake."""

    def __init__(
        self, order: TripOrder, reach: Callable[[int], None], ended: Callable[[], None],
        awake_s: float = 0.0,
    ) -> None:  # fmt: skip
        self._order = order
        self._reach = reach
        self._ended = ended
        self._steps = round(awake_s * NS_PER_S / STEP_NS)
        self.odometer = Odometer()

    def describe(self) -> SourceDescription:
        return SourceDescription(
            drive_id=self._order.boot_id, boot_id=self._order.boot_id,
            utc_minus_mono_ns=self._order.utc_ns - START_NS,
            clock=ClockQuality(synchronised=True, offset_ns=0, source="simulated"),
            signals=frozenset({"ego.speed_mps"}),
        )  # fmt: skip

    def samples(self) -> Iterator[Sample]:
        yield SignalSample("ego.speed_mps", START_NS, 0.0)
        for step in range(1, self._steps + 1):
            self._reach(START_NS + step * STEP_NS)
            yield SignalSample("ego.speed_mps", START_NS + step * STEP_NS, 0.0)
        self._ended()
