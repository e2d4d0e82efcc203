"""Run specs over logged drives: where they would have fired.

Guarantees: fires at the ticks, with the scores and evidence, at which the vehicle's own engine
did or would have: the engine is the same and so are its inputs. Cooldowns are those of the
vehicle too: one for each trigger and boot, started by the fire before, kept or not. A shadow
spec is replayed as if it were live, a retired one too.

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
from contracts.trigger_spec import LoadedSpec, TriggerSpec
from kernels.backtest.drives import LoggedDrive
from kernels.signal_log import SignalChunk
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import Fire, TickInputs, TriggerEngine, absent_values
from kernels.triggers.table import required_signals, unknown_classes

MAX_TICK_GAP_NS = 2 * NS_PER_S
"""Longer gaps between ticks are silences, and no driving."""

Outcome = Literal["fire", "cooldown", "expired"]


@dataclass(frozen=True, slots=True)
class ReplayedFire:
    """A fire and whether it would have asked for a clip."""

    vehicle_id: str
    boot_id: str
    utc_ns: int
    cause: Cause
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ReplayedDrive:
    """One drive: what ran over it, and what the vehicle itself had done."""

    header: SignalLogHeader
    ticks: int
    driven_s: float
    fires: tuple[ReplayedFire, ...]
    recorded: tuple[LoggedFire, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class Cooldowns:
    """The last fire of each trigger on each boot, as the vehicle's ledger keeps it."""

    _last_ns: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def outcome(
        self, spec: TriggerSpec, vehicle: str, boot: str, mono_ns: int, day: int
    ) -> Outcome:
        """Judge one fire and remember it."""
        expires = spec.target.expires
        if expires is not None and day >= (expires - dt.date(1970, 1, 1)).days:
            return "expired"
        key = (vehicle, boot, spec.id)
        last_ns = self._last_ns.get(key)
        if last_ns is not None and 0 < mono_ns - last_ns < spec.cooldown:
            return "cooldown"
        self._last_ns[key] = mono_ns
        return "fire"


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
    header = drive.header
    engine = TriggerEngine(specs, header.drive_seed, header.class_names or ("",))
    columns = _Columns(header)
    fires: list[ReplayedFire] = []
    recorded: list[LoggedFire] = []
    seen = np.zeros(len(CATALOGUE), bool)
    ticks, driven_ns = 0, 0
    last_ns: int | None = None
    for chunk in drive.chunks():
        if last_ns is None and chunk.first_tick > 0:
            # The random baseline counts its slots from the first tick, also where that is lost.
            scores = np.zeros(max(1, len(header.class_names)))
            engine.step(TickInputs(header.drive_start_mono_ns, absent_values(), scores))
        values = columns.of(chunk)
        fires += [_judged(fire, header, cooldowns) for fire in _run(engine, chunk, values)]
        recorded += chunk.fires
        seen |= ~np.isnan(values).all(axis=0)
        steps = np.diff(chunk.now_ns, prepend=chunk.now_ns[0] if last_ns is None else last_ns)
        driven_ns += int(steps[steps <= MAX_TICK_GAP_NS].sum())
        last_ns = int(chunk.now_ns[-1])
        ticks += len(chunk)
    notes = (*drive.notes, *_silent(specs, header, seen))
    return ReplayedDrive(header, ticks, driven_ns / NS_PER_S, tuple(fires), tuple(recorded), notes)


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
    specs: Sequence[LoadedSpec], header: SignalLogHeader, seen: NDArray[np.bool_]
) -> list[str]:
    """Specs that this drive could not have fired, and why."""
    notes = []
    for loaded in specs:
        absent = [n for n in required_signals(loaded.spec) if not seen[SIGNAL_INDEX[n]]]
        unknown = unknown_classes(loaded.spec, header.class_names)
        if absent:
            notes.append(f"{loaded.spec.id} cannot fire: the drive has no {', '.join(absent)}")
        elif unknown and len(unknown) == len(getattr(loaded.spec.when, "classes", ())):
            notes.append(f"{loaded.spec.id} cannot fire: the model knows none of its classes")
    return notes
