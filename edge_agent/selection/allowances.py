"""What the ledger does not count: fires of a day, cellular bytes of a trigger, clips of a drive.

Guarantees: what is charged is on disk before the fire is admitted, so a crash never gives an
allowance back; a restart on the same drive goes on where it was, another drive begins anew, and so
does another day for what is of a day. Nothing is written while nobody has such a limit. A file that
cannot be read is told and begins anew; the ledger's budgets hold all the same.

A clip of several causes is charged in full to each of its triggers, and once to the drive.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock

import structlog

from contracts.errors import LongtailError
from edge_agent.disk import Disk, RealDisk, replace_file
from edge_agent.ledger import Pool, Spent
from edge_agent.ledger.spending import POOLS

Fire = tuple[str, int]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a decision for one trigger reads: its fires of today, its clips of this drive, and the
    whole drive's by pool.
    """

    fires: int = 0
    drive: Spent = field(default_factory=Spent)
    drive_pools: dict[Pool, Spent] = field(default_factory=dict)


NO_ALLOWANCE = Allowance(drive_pools={pool: Spent() for pool in POOLS})


class Allowances:
    """One vehicle's counts. Safe to share between threads.

    What charges or gives back raises `LongtailError` when that cannot be written.

    Args:
        path: where they are durable; None counts for this process only.
        drive: names this drive.
        disk: where durable steps go.
    """

    def __init__(self, path: Path | None = None, drive: str = "", disk: Disk | None = None) -> None:
        self._path = path
        self._disk = disk or RealDisk()
        self._lock = RLock()
        self._drive = drive
        self._day = -1
        self._fires: dict[str, int] = {}
        self._cellular: dict[str, int] = {}
        self._triggers: dict[str, list[int]] = {}
        self._pools: dict[str, list[int]] = {}
        self._open: dict[str, list[str | int]] = {}
        if path is not None and path.is_file():
            self._load(path)

    def of(self, trigger_id: str, day: int) -> Allowance:
        with self._lock:
            self._begin(day)
            return Allowance(
                self._fires.get(trigger_id, 0),
                Spent(*self._triggers.get(trigger_id, (0, 0))),
                {pool: Spent(*self._pools.get(pool, (0, 0))) for pool in POOLS},
            )

    def note_fire(self, trigger_id: str, day: int, *, durable: bool) -> None:
        """Count a fire that lies outside of its cooldown, kept or not."""
        with self._lock:
            self._begin(day)
            self._fires[trigger_id] = self._fires.get(trigger_id, 0) + 1
            self._save(durable)

    def reserve(self, fire: Fire, pool: Pool, size_bytes: int, *, durable: bool) -> None:
        """Charge a clip that is to come. The same fire is charged once."""
        with self._lock:
            if _name(fire) not in self._open:
                self._open[_name(fire)] = [pool, size_bytes]
                self._charge([fire[0]], pool, 1, size_bytes)
                self._save(durable)

    def settle(self, fires: Sequence[Fire], pool: Pool, size_bytes: int) -> None:
        """A clip came of these fires: what it took stands in place of what was reserved."""
        with self._lock:
            if self._undo(fires):
                self._charge(dict.fromkeys(fire[0] for fire in fires), pool, 1, size_bytes)
                self._save(self._is_kept)

    def release(self, fires: Sequence[Fire]) -> None:
        """The clip will not come."""
        with self._lock:
            if self._undo(fires):
                self._save(self._is_kept)

    def charge_cellular(
        self, limits: Iterable[tuple[str, int | None]], day: int, size_bytes: int
    ) -> bool:
        """Whether a clip may go over a link that costs: at least one of its triggers (`limits`: id
        and cap of a day, None without) has room, and those that have are charged.
        """
        with self._lock:
            self._begin(day)
            room = [
                (trigger, cap) for trigger, cap in limits
                if cap is None or self._cellular.get(trigger, 0) + size_bytes <= cap
            ]  # fmt: skip
            for trigger, _ in room:
                self._cellular[trigger] = self._cellular.get(trigger, 0) + size_bytes
            self._save(any(cap is not None for _, cap in room))
            return bool(room)

    @property
    def _is_kept(self) -> bool:
        return self._path is not None and self._path.is_file()

    def _begin(self, day: int) -> None:
        if day != self._day:
            self._day, self._fires, self._cellular = day, {}, {}

    def _charge(self, triggers: Iterable[str], pool: str, clips: int, size_bytes: int) -> None:
        for trigger in triggers:
            _add(self._triggers, trigger, clips, size_bytes)
        _add(self._pools, pool, clips, size_bytes)

    def _undo(self, fires: Sequence[Fire]) -> bool:
        found = False
        for fire in fires:
            held = self._open.pop(_name(fire), None)
            if held is not None:
                self._charge([fire[0]], str(held[0]), -1, -int(held[1]))
                found = True
        return found

    def _save(self, durable: bool) -> None:
        if self._path is None or not (durable or self._is_kept):
            return
        content = json.dumps({
            "drive": self._drive, "day": self._day, "fires": self._fires,
            "cellular": self._cellular, "triggers": self._triggers, "pools": self._pools,
            "open": self._open,
        }).encode()  # fmt: skip
        try:
            replace_file(self._disk, self._path, content)
        except LongtailError as error:
            # A disk that fails once must not cost a clip.
            log.warning("allowances are written again", reason=str(error))
            replace_file(self._disk, self._path, content)

    def _load(self, path: Path) -> None:
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            self._day = int(held["day"])
            self._fires = {str(name): int(count) for name, count in held["fires"].items()}
            self._cellular = {str(name): int(count) for name, count in held["cellular"].items()}
            if held["drive"] == self._drive:
                self._triggers = {
                    str(n): [int(c), int(b)] for n, (c, b) in held["triggers"].items()
                }
                self._pools = {str(n): [int(c), int(b)] for n, (c, b) in held["pools"].items()}
                self._open = {str(n): [str(p), int(b)] for n, (p, b) in held["open"].items()}
        except (
            OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError,
            OverflowError,
        ) as error:  # fmt: skip
            log.warning("allowances begin anew", path=str(path), reason=str(error))


def _name(fire: Fire) -> str:
    return f"{fire[0]}@{fire[1]}"


def _add(table: dict[str, list[int]], name: str, clips: int, size_bytes: int) -> None:
    held = table.setdefault(name, [0, 0])
    held[0] += clips
    held[1] += size_bytes
