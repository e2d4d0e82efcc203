"""Run specs over logged drives: where they would have fired.

Guarantees: fires at the ticks, with the scores and evidence, at which the vehicle's own engine
did or would have: the engine is the same and so are its inputs. Cooldowns are those of the
vehicle too: one for each trigger and boot, started by the fire before, kept or not. A shadow
spec is replayed as if it were live, a retired one too.

A spec that the vehicle took up during a drive is replayed over all of it. From the tick on at
which the vehicle began to run it, it runs as there: without state from before, with the
cooldown that the vehicle's own fires had left.

Budgets are not replayed: which clips a day could still pay for depends on all that the vehicle
did that day. `figures` compares demand with budget instead.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.clip import Cause
from contracts.clock import NS_PER_DAY, NS_PER_S
from contracts.signal_log import LoggedFire, SignalLogHeader
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from contracts.trigger_spec import LoadedSpec, NoveltySpec, SimilarToSpec, TriggerSpec
from kernels.backtest.drives import LoggedDrive
from kernels.signal_log import SignalChunk
from kernels.triggers.adapt import Threshold
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine, absent_values
from kernels.triggers.table import required_signals, unknown_classes

MAX_TICK_GAP_NS = 2 * NS_PER_S
"""Longer gaps between ticks are silences, and no driving."""

Outcome = Literal["fire", "cooldown", "expired"]

NO_COOLDOWN = frozenset({"cooldown", "expired", "ledger", "done"})
"""Outcomes of the vehicle's own fires that start no cooldown."""


@dataclass(frozen=True, slots=True)
class ReplayedFire:
    """A fire and whether it would have asked for a clip."""

    vehicle_id: str
    boot_id: str
    utc_ns: int
    cause: Cause
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Stretch:
    """Ticks from `start_mono_ns` on, up to the next stretch, for which `header` holds."""

    start_mono_ns: int
    header: SignalLogHeader


@dataclass(frozen=True, slots=True)
class ReplayedDrive:
    """One drive: what ran over it, and what the vehicle itself had done.

    `header` is the first stretch's; the vehicle's specs may differ between stretches.
    """

    header: SignalLogHeader
    ticks: int
    driven_s: float
    fires: tuple[ReplayedFire, ...]
    recorded: tuple[LoggedFire, ...]
    notes: tuple[str, ...]
    stretches: tuple[Stretch, ...] = ()

    def ran(self, digest: str, mono_ns: int) -> bool:
        """Whether the vehicle itself evaluated this spec at a time, in shadow or not."""
        holds = [stretch for stretch in self.stretches if stretch.start_mono_ns <= mono_ns]
        return bool(holds) and digest in {name for name, _ in running_in(holds[-1].header)}


def running_in(header: SignalLogHeader) -> frozenset[tuple[str, bool]]:
    """Digests that ran, each with whether in shadow."""
    return frozenset((s.digest, s.shadow) for s in header.specs if s.inactive is None)


def thresholds_of(header: SignalLogHeader) -> dict[str, Threshold]:
    """Where adaptive specs stood on the vehicle as the file began."""
    return {
        known.digest: Threshold(known.log_factor, known.known_s, known.fires, known.reference_fires)
        for known in header.thresholds
    }


@dataclass(slots=True)
class Cooldowns:
    """The last fire of each spec on each boot, as the vehicle's ledger keeps it.

    The ledger knows triggers, of whatever version; `recorded` are the vehicle's own fires.
    """

    _last_ns: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    _recorded_ns: dict[tuple[str, str, str, bool], int] = field(default_factory=dict)
    _running: dict[tuple[str, str], frozenset[tuple[str, bool]]] = field(default_factory=dict)

    def outcome(
        self, spec: TriggerSpec, vehicle: str, boot: str, mono_ns: int, day: int
    ) -> Outcome:
        """Judge one fire and remember it."""
        expires = spec.target.expires
        if expires is not None and day >= (expires - dt.date(1970, 1, 1)).days:
            return "expired"
        key = (vehicle, boot, spec.id, spec.version)
        last_ns = self._last_ns.get(key)
        if last_ns is not None and 0 < mono_ns - last_ns < spec.cooldown:
            return "cooldown"
        self._last_ns[key] = mono_ns
        return "fire"

    def recorded(self, header: SignalLogHeader, fires: Sequence[LoggedFire]) -> None:
        """Take what the vehicle itself did."""
        for fire in fires:
            if fire.outcome not in NO_COOLDOWN:
                cause, shadow = fire.cause, fire.outcome == "shadow"
                key = (header.vehicle_id, header.boot_id, cause.trigger_id, shadow)
                self._recorded_ns[key] = cause.fired_mono_ns

    def begin(self, specs: Sequence[LoadedSpec], header: SignalLogHeader) -> frozenset[str]:
        """A stretch begins; the digests of those specs that the vehicle took up with it.

        Their cooldowns are from here on those that the vehicle's own fires had left.
        """
        vehicle, boot = header.vehicle_id, header.boot_id
        running = running_in(header)
        taken_up = running - self._running.get((vehicle, boot), frozenset())
        self._running[vehicle, boot] = running
        for loaded in specs:
            spec = loaded.spec
            for shadow in (True, False):  # what a spec does for real counts where it does both
                if (loaded.digest, shadow) not in taken_up:
                    continue
                last_ns = self._recorded_ns.get((vehicle, boot, spec.id, shadow))
                key = (vehicle, boot, spec.id, spec.version)
                self._last_ns.pop(key, None)
                if last_ns is not None:
                    self._last_ns[key] = last_ns
        return frozenset(digest for digest, _ in taken_up)


class _Columns:
    """Brings a log's columns into the catalogue's order; what the log lacks is absent."""

    def __init__(self, header: SignalLogHeader) -> None:
        known = [(SIGNAL_INDEX[n], i) for i, n in enumerate(header.signals) if n in SIGNAL_INDEX]
        self._to = [to for to, _ in known]
        self._from = [of for _, of in known]

    def of(self, chunk: SignalChunk) -> NDArray[np.float64]:
        """Values float64 [ticks, catalogue]."""
        values = np.full((len(chunk), len(CATALOGUE)), np.nan)
        values[:, self._to] = chunk.values[:, self._from]
        return values


def replay_drive(
    specs: Sequence[LoadedSpec], drive: LoggedDrive, cooldowns: Cooldowns
) -> ReplayedDrive:
    """Run specs over one drive. Raises `InputError` for a rule that does not compile."""
    engine: TriggerEngine | None = None
    columns = _Columns(drive.header)
    stretches: list[Stretch] = []
    fires: list[ReplayedFire] = []
    recorded: list[LoggedFire] = []
    seen = np.zeros(len(CATALOGUE), bool)
    ticks, driven_ns = 0, 0
    last_ns: int | None = None
    for header, chunk in drive.chunks():
        if engine is None or not _same_set(header, stretches[-1].header):
            engine = _engine(specs, header, engine, cooldowns)
            stretches.append(Stretch(int(chunk.now_ns[0]), header))
            columns = _Columns(header)
        if last_ns is None and chunk.first_tick > 0:
            # The random baseline counts its slots from the first tick, also where that is lost.
            scores = np.zeros(max(1, len(header.class_names)))
            engine.step(TickInputs(header.drive_start_mono_ns, absent_values(), scores))
        values = columns.of(chunk)
        fires += [_judged(fire, header, cooldowns) for fire in _run(engine, chunk, values)]
        recorded += chunk.fires
        cooldowns.recorded(header, chunk.fires)
        seen |= ~np.isnan(values).all(axis=0)
        steps = np.diff(chunk.now_ns, prepend=chunk.now_ns[0] if last_ns is None else last_ns)
        driven_ns += int(steps[steps <= MAX_TICK_GAP_NS].sum())
        last_ns = int(chunk.now_ns[-1])
        ticks += len(chunk)
    class_names = {name for header in drive.headers for name in header.class_names}
    notes = (*drive.notes, *_silent(specs, tuple(class_names), seen))
    return ReplayedDrive(
        drive.header, ticks, driven_ns / NS_PER_S, tuple(fires), tuple(recorded), notes,
        tuple(stretches),
    )  # fmt: skip


def _same_set(a: SignalLogHeader, b: SignalLogHeader) -> bool:
    """Whether two files of a drive hold the same columns, and the vehicle ran the same specs."""
    return (a.specs, a.class_names, a.signals) == (b.specs, b.class_names, b.signals)


def _engine(
    specs: Sequence[LoadedSpec],
    header: SignalLogHeader,
    old: TriggerEngine | None,
    cooldowns: Cooldowns,
) -> TriggerEngine:
    """The engine for a stretch, going on where the one before is."""
    taken_up = cooldowns.begin(specs, header)
    engine = TriggerEngine(
        specs, header.drive_seed, header.class_names or ("",), thresholds_of(header)
    )
    if old is not None:
        engine.take_over(old, anew=taken_up)
    return engine


def replay(specs: Sequence[LoadedSpec], drives: Sequence[LoggedDrive]) -> list[ReplayedDrive]:
    """Run specs over drives, which are in the order of time for each vehicle."""
    cooldowns = Cooldowns()
    return [replay_drive(specs, drive, cooldowns) for drive in drives]


def _run(engine: TriggerEngine, chunk: SignalChunk, values: NDArray[np.float64]) -> list[Fire]:
    fires: list[Fire] = []
    times, frames = chunk.now_ns.tolist(), chunk.frame_number.tolist()
    horizons = chunk.horizon_s.tolist()
    for row, (now_ns, frame, horizon_s) in enumerate(zip(times, frames, horizons, strict=True)):
        fires += engine.step(
            TickInputs(now_ns, values[row], chunk.class_scores[row], frame, horizon_s)
        )
    return fires


def _judged(fire: Fire, header: SignalLogHeader, cooldowns: Cooldowns) -> ReplayedFire:
    utc_ns = fire.fired_mono_ns + header.utc_minus_mono_ns
    outcome = cooldowns.outcome(
        fire.loaded.spec, header.vehicle_id, header.boot_id, fire.fired_mono_ns,
        utc_ns // NS_PER_DAY,
    )  # fmt: skip
    return ReplayedFire(header.vehicle_id, header.boot_id, utc_ns, cause_of(fire), outcome)


def _silent(
    specs: Sequence[LoadedSpec], class_names: tuple[str, ...], seen: NDArray[np.bool_]
) -> list[str]:
    """Specs that this drive could not have fired, and why."""
    notes = []
    for loaded in specs:
        absent = [n for n in required_signals(loaded.spec) if not seen[SIGNAL_INDEX[n]]]
        unknown = unknown_classes(loaded.spec, class_names)
        if absent:
            notes.append(f"{loaded.spec.id} cannot fire: the drive has no {', '.join(absent)}")
        elif unknown and isinstance(loaded.spec, SimilarToSpec | NoveltySpec):
            what = "scene" if isinstance(loaded.spec, SimilarToSpec) else "centroids"
            notes.append(
                f"{loaded.spec.id} cannot fire: likeness to its {what} was not told on this drive"
            )
        elif unknown and len(unknown) == len(getattr(loaded.spec.when, "classes", ())):
            notes.append(f"{loaded.spec.id} cannot fire: the model knows none of its classes")
    return notes
