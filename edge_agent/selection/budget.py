"""May this fire become a clip? A pure decision, and the book that remembers the answers.

Guarantees: clips kept in a day never exceed a trigger's `clips_per_day` or the vehicle's
total, those of a drive never the trigger's or the vehicle's of a drive; safety kinds and the
random stream each have a reserve of either that nobody else can use up.
Bytes are known only once a clip is packed, so a fire is admitted while what was spent plus
the size of the trigger's last clip fits: the overshoot is at most the clips in flight.
Every fire that is not kept is counted with its reason.

A fire starts the trigger's cooldown when it lies outside the one before, kept or not, so
that which fires count does not depend on budgets and a backtest finds the same ones. A spec in
shadow has its cooldown too, apart from that of the active spec of the same id: it is known as
`<id>@shadow` here and in the ledger. Its count is that of the clips it would have asked for.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import structlog

from contracts.clip import Cause
from contracts.errors import ExhaustedError, InputError, LongtailError
from contracts.ids import EventKey
from contracts.trigger_spec import LoadedSpec, OperatorBookmarkSpec
from edge_agent.ledger import DaySpending, Ledger, Pool
from edge_agent.selection.allowances import NO_ALLOWANCE, Allowance, Allowances

Reason = Literal[
    "cooldown", "budget_clips", "budget_bytes", "vehicle_clips", "vehicle_bytes", "disk",
    "shadow", "expired", "duplicate", "budget_fires", "trigger_drive_clips",
    "trigger_drive_bytes", "drive_clips", "drive_bytes", "done",
]  # fmt: skip

NO_FIRE: frozenset[Reason] = frozenset({"cooldown", "expired", "done"})
"""Reasons of fires that do not count: they start no cooldown and use up nothing."""
_EPOCH = dt.date(1970, 1, 1)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VehicleLimits:
    """What one vehicle may keep in one day and on one drive (None: no limit), and which share of
    each is held for whom.
    """

    clips_per_day: int = 300
    bytes_per_day: int = 30 * 10**9
    safety_reserve_ratio: float = 0.3
    random_reserve_ratio: float = 0.1
    clips_per_drive: int | None = None
    bytes_per_drive: int | None = None

    def __post_init__(self) -> None:
        ratios = (self.safety_reserve_ratio, self.random_reserve_ratio)
        if min(ratios) < 0 or sum(ratios) > 1:
            raise InputError(f"reserve ratios {ratios} must be at least 0 and at most 1 together")
        if min(self.clips_per_day, self.bytes_per_day) < 0:
            raise InputError("a day's clips and bytes must not be negative")
        if min(self.clips_per_drive or 0, self.bytes_per_drive or 0) < 0:
            raise InputError("a drive's clips and bytes must not be negative")

    def reserve(self, pool: Pool, total: int) -> int:
        """The part of `total` that only this pool may use."""
        if pool == "safety":
            return int(total * self.safety_reserve_ratio)
        return int(total * self.random_reserve_ratio) if pool == "random" else 0


@dataclass(frozen=True, slots=True)
class Fire:
    """A trigger's fire with the rules of its spec that decide over it."""

    trigger_id: str
    pool: Pool
    fired_mono_ns: int
    cooldown_ns: int
    clips_per_day: int
    bytes_per_day: int
    shadow: bool = False
    expires_day: int | None = None
    fires_per_day: int | None = None
    clips_per_drive: int | None = None
    bytes_per_drive: int | None = None
    once_ns: int | None = None
    """Of a remote request: so long after its last fire it has been answered."""


@dataclass(frozen=True, slots=True)
class Now:
    """What a decision reads of the world, once."""

    day: int
    disk_ok: bool = True


@dataclass(frozen=True, slots=True)
class Keep:
    """The fire may become a clip; one clip of about `expected_bytes` is reserved."""

    expected_bytes: int


@dataclass(frozen=True, slots=True)
class Suppress:
    """The fire is not kept."""

    reason: Reason


Verdict = Keep | Suppress


def budget_key(loaded: LoadedSpec, *, shadow: bool = False) -> str:
    """The trigger's name in budgets and counts. A spec may ask for shadow itself."""
    return f"{loaded.spec.id}@shadow" if shadow or loaded.spec.target.shadow else loaded.spec.id


def fire_of(loaded: LoadedSpec, fired_mono_ns: int, *, shadow: bool = False) -> Fire:
    """The rules of a loaded spec, for one fire; `shadow` when it runs in a shadow slot."""
    spec = loaded.spec
    expires = spec.target.expires
    return Fire(
        trigger_id=budget_key(loaded, shadow=shadow),
        pool=pool_of(safety=loaded.is_safety, random=spec.kind == "random_baseline"),
        fired_mono_ns=fired_mono_ns,
        cooldown_ns=spec.cooldown,
        clips_per_day=spec.budget.clips_per_day,
        bytes_per_day=spec.budget.bytes_per_day,
        shadow=shadow or spec.target.shadow,
        expires_day=None if expires is None else (expires - _EPOCH).days,
        fires_per_day=spec.budget.fires_per_day,
        clips_per_drive=spec.budget.clips_per_drive,
        bytes_per_drive=spec.budget.bytes_per_drive,
        once_ns=_once_ns(loaded),
    )


def _once_ns(loaded: LoadedSpec) -> int | None:
    spec = loaded.spec
    if isinstance(spec, OperatorBookmarkSpec) and spec.when.source == "remote":
        return spec.when.lasts + spec.cooldown
    return None


def pool_of(*, safety: bool, random: bool) -> Pool:
    """Whose reserve a clip draws on; a clip of both is a safety clip."""
    if safety:
        return "safety"
    return "random" if random else "ordinary"


def _in_cooldown(fire: Fire, spent: DaySpending) -> bool:
    if spent.last_fire_mono_ns is None:
        return False
    # A fire from before the last one belongs to another run of the same recording.
    return 0 < fire.fired_mono_ns - spent.last_fire_mono_ns < fire.cooldown_ns


def _room(total: int, limits: VehicleLimits, pool: Pool, used: dict[Pool, int]) -> int:
    """What this pool may still take: the total less use and others' untouched reserves."""
    held = sum(
        max(0, limits.reserve(other, total) - used[other]) for other in used if other != pool
    )
    return total - sum(used.values()) - held


def _answered(fire: Fire, spent: DaySpending) -> bool:
    """Whether a remote request has had its clips, on this boot or one before."""
    if fire.once_ns is None or spent.clip_bytes == 0:
        return False
    last_ns = spent.last_fire_mono_ns
    return last_ns is None or fire.fired_mono_ns - last_ns > fire.once_ns


def _drive_reason(
    fire: Fire, limits: VehicleLimits, had: Allowance, expected_bytes: int
) -> Reason | None:
    """Why this drive has had enough, None when it has not."""
    if fire.clips_per_drive is not None and had.drive.clips >= fire.clips_per_drive:
        return "trigger_drive_clips"
    used_bytes = had.drive.size_bytes + expected_bytes
    if fire.bytes_per_drive is not None and used_bytes > fire.bytes_per_drive:
        return "trigger_drive_bytes"
    clips = {pool: used.clips for pool, used in had.drive_pools.items()}
    most = limits.clips_per_drive
    if most is not None and _room(most, limits, fire.pool, clips) < 1:
        return "drive_clips"
    size_bytes = {pool: used.size_bytes for pool, used in had.drive_pools.items()}
    most = limits.bytes_per_drive
    if most is not None and _room(most, limits, fire.pool, size_bytes) < expected_bytes:
        return "drive_bytes"
    return None


def decide(
    fire: Fire,
    spent: DaySpending,
    limits: VehicleLimits,
    now: Now,
    had: Allowance = NO_ALLOWANCE,
) -> Verdict:
    """Keep the fire, or the first reason not to: what is not asked for at all, then the disk, then
    the trigger's own budget, the drive's, the vehicle's day.
    """
    if fire.expires_day is not None and now.day >= fire.expires_day:
        return Suppress("expired")
    if _in_cooldown(fire, spent):
        return Suppress("cooldown")
    if _answered(fire, spent):
        return Suppress("done")
    if fire.shadow:
        return Suppress("shadow")
    if not now.disk_ok:
        return Suppress("disk")
    if fire.fires_per_day is not None and had.fires >= fire.fires_per_day:
        return Suppress("budget_fires")
    if spent.trigger.clips >= fire.clips_per_day:
        return Suppress("budget_clips")
    expected_bytes = max(1, spent.clip_bytes)
    if spent.trigger.size_bytes + expected_bytes > fire.bytes_per_day:
        return Suppress("budget_bytes")
    of_drive = _drive_reason(fire, limits, had, expected_bytes)
    if of_drive is not None:
        return Suppress(of_drive)
    clips = {pool: used.clips for pool, used in spent.pools.items()}
    if _room(limits.clips_per_day, limits, fire.pool, clips) < 1:
        return Suppress("vehicle_clips")
    size_bytes = {pool: used.size_bytes for pool, used in spent.pools.items()}
    if _room(limits.bytes_per_day, limits, fire.pool, size_bytes) < expected_bytes:
        return Suppress("vehicle_bytes")
    return Keep(expected_bytes)


class BudgetBook:
    """Admits fires against the ledger and settles the clips that came of them.

    Args:
        ledger: where spending is durable; its boot id is the one that fires are timed on.
        limits: the vehicle's day.
        has_room: False while the disk has no room for a clip of this pool.
        allowances: what is counted beside the ledger, durably where somebody has such a limit.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: VehicleLimits,
        has_room: Callable[[Pool], bool] = lambda _: True,
        allowances: Allowances | None = None,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._has_room = has_room
        self._allowances = allowances or Allowances()

    def admit(self, loaded: LoadedSpec, fire_mono_ns: int, *, shadow: bool = False) -> Verdict:
        """Decide on a fire; on `Keep` one clip is reserved durably, otherwise it is counted.

        The same fire asked again after a `Keep` is kept again and reserved once. One in shadow
        is never kept.
        """
        fire = fire_of(loaded, fire_mono_ns, shadow=shadow)
        key = (fire.trigger_id, fire.fired_mono_ns)
        spent = self._ledger.spending.of(fire.trigger_id)
        if self._ledger.spending.is_reserved(key):
            # A recording played again after a crash: its cooldowns run again from here too.
            self._ledger.spending.note_fire(key)
            return Keep(max(1, spent.clip_bytes))
        had = self._allowances.of(fire.trigger_id, spent.day)
        verdict = decide(fire, spent, self._limits, Now(spent.day), had)
        if isinstance(verdict, Keep) and not self._has_room(fire.pool):
            # Asked only for a fire that would be kept: it reads the disk.
            verdict = decide(fire, spent, self._limits, Now(spent.day, disk_ok=False), had)
        if isinstance(verdict, Keep):
            verdict = self._reserve(fire, spent.day, verdict)
            if isinstance(verdict, Keep):
                return verdict
        elif verdict.reason not in NO_FIRE:
            self._count(fire, spent.day)
        if verdict.reason not in NO_FIRE:
            self._ledger.spending.note_fire(key)
        self._ledger.suppressions.count(fire.trigger_id, verdict.reason)
        return verdict

    def _count(self, fire: Fire, day: int) -> bool:
        """Count a fire of today. False when a limit of it cannot be kept on this disk."""
        durable = fire.fires_per_day is not None
        try:
            self._allowances.note_fire(fire.trigger_id, day, durable=durable)
        except LongtailError as error:
            log.error("allowances not kept", reason=str(error))
            return False
        return True

    def _reserve(self, fire: Fire, day: int, verdict: Keep) -> Verdict:
        """Charge a fire that is kept, the allowances first: a crash in between spends too much."""
        key = (fire.trigger_id, fire.fired_mono_ns)
        limits = (
            fire.clips_per_drive, fire.bytes_per_drive, self._limits.clips_per_drive,
            self._limits.bytes_per_drive,
        )  # fmt: skip
        durable = any(limit is not None for limit in limits)
        if not self._count(fire, day):
            return Suppress("disk")
        try:
            self._allowances.reserve(key, fire.pool, verdict.expected_bytes, durable=durable)
        except LongtailError as error:
            log.error("allowances not kept", reason=str(error))
            self._give_back(key)
            return Suppress("disk")
        try:
            self._ledger.spending.reserve(key, fire.pool, verdict.expected_bytes)
        except LongtailError as error:
            self._give_back(key)
            if isinstance(error, ExhaustedError):
                return Suppress("disk")
            raise
        return verdict

    def _give_back(self, key: tuple[str, int]) -> None:
        with suppress(LongtailError):  # on a disk that fails it stands: too much is spent then
            self._allowances.release([key])

    def may_use_cellular(self, specs: Sequence[LoadedSpec], size_bytes: int) -> bool:
        """Whether a clip of these specs may go over a link that costs, by what the triggers that
        ask for it may still send today; those that have room are charged.
        """
        asking = [s.spec for s in specs if s.spec.upload.cellular == "allowed"]
        limits = [(spec.id, spec.budget.cellular_bytes_per_day) for spec in asking]
        try:
            return self._allowances.charge_cellular(limits, self._ledger.budget_day(), size_bytes)
        except LongtailError as error:
            log.error("allowances not kept", reason=str(error))
            return False

    def settle(
        self, event: EventKey, causes: Sequence[Cause], random: bool, size_bytes: int
    ) -> bool:
        """Charge a packed clip in place of its fires' reservations, once for each event.

        `causes` are all the fires that went into the clip, `random` whether it belongs to the
        random stream. Returns False when the event was settled before.
        """
        pool = pool_of(safety=any(cause.safety for cause in causes), random=random)
        fires = [(cause.trigger_id, cause.fired_mono_ns) for cause in causes]
        settled = self._ledger.spending.settle(event, fires, pool, size_bytes)
        if settled:
            with suppress(LongtailError):  # what was reserved stands then
                self._allowances.settle(fires, pool, size_bytes)
        return settled

    def release(self, causes: Sequence[Cause], reason: Reason) -> None:
        """Give back admitted fires whose clip will not come, and count them with the reason."""
        fires = [(cause.trigger_id, cause.fired_mono_ns) for cause in causes]
        with suppress(LongtailError):
            self._allowances.release(fires)
        if self._ledger.spending.release(fires):
            for trigger_id, _ in fires:
                self._ledger.suppressions.count(trigger_id, reason)
