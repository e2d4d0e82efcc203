"""The two CAN sources: a log that is replayed, a bus that is listened to.

A live bus that falls silent or goes down makes a gap: its signals grow stale, the source tells
so once, goes on asking and opens the bus anew with growing pauses. So does one that is down at the
start: what other sensors see, and clips that wait, must not depend on one cable. After `give_up`
without a frame the source ends, as a vehicle's bus does at key-off. `stop()` ends it within a poll.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from contracts.clock import NS_PER_S, Clock, ClockQuality, SystemClock
from contracts.errors import InputError, TransientError
from contracts.samples import Sample, SignalSample
from edge_agent.ports import SourceDescription
from edge_agent.sources.address import (
    as_name,
    fingerprint,
    machine_boot_id,
    machine_clock_quality,
    parse_address,
)
from edge_agent.sources.can.binding import BoundMap, bind_map, load_dbc
from edge_agent.sources.can.frames import BusPort, bus_port, is_log, read_log, stamped
from edge_agent.sources.can.mapping import LoadedMap, load_map
from edge_agent.sources.device_time import LiveTime, RecordedTime, recorded_base_ns
from edge_agent.sources.patience import Backoff

if TYPE_CHECKING:
    from can import Message

POLL_S = 0.2
SILENT_NS = 2 * NS_PER_S
"""A bus without frames for so long is silent: some message of every bus is cyclic."""
GIVE_UP_NS = 600 * NS_PER_S
OPTIONS = ("dbc", "map", "bitrate", "fd", "give_up")

log = structlog.get_logger(__name__)


class CanLogSource:
    """`SensorSource` over one log file. Attributes: `counts`: what was left out, by reason.

    Monotonic time starts at 1 s where the log has wall time, else it is the log's own.
    """

    def __init__(self, path: Path, loaded: LoadedMap, dbc: Path) -> None:
        self._path = path
        self._loaded = loaded
        self._database = load_dbc(dbc, loaded.rules.frame_id_mask)
        bind_map(loaded, self._database)
        first = self._first_stamp_ns()
        self._base_ns, self._has_wall_time = recorded_base_ns(first)
        self.counts: Counter[str] = Counter()

    def _first_stamp_ns(self) -> int:
        for stamp_ns, _ in read_log(self._path, Counter()):
            return stamp_ns
        raise InputError("the log holds no frame", str(self._path))

    def describe(self) -> SourceDescription:
        name = as_name(self._path.stem, "can")
        return SourceDescription(
            drive_id=name,
            boot_id=f"can-{name[:80]}-{fingerprint([self._path])}",
            utc_minus_mono_ns=self._base_ns,
            clock=ClockQuality(
                synchronised=False, source="recording" if self._has_wall_time else "none"
            ),
            signals=frozenset(self._loaded.rules.signals),
        )

    def samples(self) -> Iterator[Sample]:
        """Each call reads the log anew; `counts` are those of the newest."""
        bound = bind_map(self._loaded, self._database)
        self.counts = bound.counts
        time = RecordedTime()
        unseen = set(self._loaded.rules.signals)
        for stamp_ns, frame in read_log(self._path, self.counts):
            at_ns = time.mono_ns(stamp_ns - self._base_ns)
            for name, value in bound.decode(frame):
                unseen.discard(name)
                yield SignalSample(name, at_ns, value)
        self.counts["clock set while recording"] += time.jumps
        self.counts["frames out of order"] += time.disordered
        _tell(self._path.name, bound, unseen)


class CanBusSource:
    """`LiveSource` over one interface. Attributes: `counts`; `gaps`: silences so far.

    Args:
        bus: opened here; one that is down is waited for, as it would be later.
        wait: waits for seconds, True as soon as the source is stopped.
    """

    def __init__(
        self,
        bus: BusPort,
        loaded: LoadedMap,
        dbc: Path,
        *,
        give_up_ns: int = GIVE_UP_NS,
        clock: Clock | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._bus = bus
        self._loaded = loaded
        self._bound = bind_map(loaded, load_dbc(dbc, loaded.rules.frame_id_mask))
        self._give_up_ns = give_up_ns
        self._clock = clock or SystemClock()
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._description = SourceDescription(
            drive_id=as_name(f"can-{self._clock.utc_ns() // NS_PER_S}"),
            boot_id=machine_boot_id(),
            utc_minus_mono_ns=self._clock.utc_ns() - self._clock.mono_ns(),
            clock=machine_clock_quality(),
            signals=frozenset(loaded.rules.signals),
        )
        self.gaps = 0
        try:
            bus.open()
        except TransientError as error:
            self.counts["bus down"] += 1
            log.error("bus is down at the start", reason=error.message, bus=bus.place)

    @property
    def counts(self) -> Counter[str]:
        return self._bound.counts

    def describe(self) -> SourceDescription:
        return self._description

    def stop(self) -> None:
        """End `samples()` at its next poll. Any thread."""
        self._stopped.set()

    def samples(self) -> Iterator[Sample]:
        """Frames as they come; called again after its end, it opens the bus anew."""
        time, backoff = LiveTime(), Backoff()
        unseen = set(self._loaded.rules.signals)
        heard_ns = self._clock.mono_ns()
        silent = False
        try:
            while not self._stopped.is_set():
                message = self._next(time, backoff)
                now_ns = self._clock.mono_ns()
                found = stamped(message, self.counts) if message is not None else None
                if found is None:  # error frames alone are no sign of life
                    if now_ns - heard_ns >= self._give_up_ns:
                        log.warning("bus given up", bus=self._bus.place)
                        return
                    if not silent and now_ns - heard_ns >= SILENT_NS:
                        silent = True
                        self.gaps += 1
                        log.warning("bus silent", bus=self._bus.place)
                    continue
                if silent:
                    silent = False
                    gap_s = (now_ns - heard_ns) / NS_PER_S
                    log.info("bus heard again", bus=self._bus.place, gap_s=round(gap_s, 3))
                heard_ns = now_ns
                backoff.reset()
                at_ns = time.mono_ns(found[0], now_ns)
                for name, value in self._bound.decode(found[1]):
                    unseen.discard(name)
                    yield SignalSample(name, at_ns, value)
        finally:
            self._bus.close()
            self.counts["clock set"] += time.jumps
            _tell(self._bus.place, self._bound, unseen)

    def _next(self, time: LiveTime, backoff: Backoff) -> Message | None:
        """The next frame; None after a poll without one, or while the bus is down."""
        try:
            if not self._bus.is_open:
                self._bus.open()
                time.restart()
                log.info("bus opened again", bus=self._bus.place)
            return self._bus.recv(POLL_S)
        except TransientError as error:
            self._bus.close()
            self.counts["bus down"] += 1
            pause_s = backoff.next_s()
            log.warning("bus down", reason=error.message, bus=self._bus.place, pause_s=pause_s)
            self._wait(pause_s)
            return None


def _tell(name: str, bound: BoundMap, unseen: set[str]) -> None:
    """Say at the end what the mapping hoped for in vain, and what was left out."""
    for signal in sorted(unseen):
        bound.counts[f"{signal}: never seen"] += 1
    counts = {reason: count for reason, count in sorted(bound.counts.items()) if count}
    log.info("can source ended", source=name, counts=counts)


def open_can(rest: str) -> CanLogSource | CanBusSource:
    """`LOG_FILE,map=MAP[,dbc=DBC]` or `INTERFACE/CHANNEL,map=MAP[,dbc=DBC][,bitrate=500000]`.

    Raises `InputError` saying what would be right.
    """
    address = parse_address("can", rest, OPTIONS)
    map_text = address.required("map", "vehicle.can.yaml")
    loaded = load_map(address.path("map") or Path(map_text))
    dbc = address.path("dbc")
    if dbc is None:
        if loaded.rules.dbc is None:
            raise InputError("no DBC: give dbc=FILE, or dbc: in the mapping", address.place)
        dbc = Path(map_text).parent / loaded.rules.dbc
        if not dbc.is_file():
            raise InputError(f"no such DBC: {dbc}", loaded.place("dbc"))
    target = Path(address.target)
    if is_log(target):
        for option in ("bitrate", "fd", "give_up"):
            if option in address.options:
                raise InputError(f"{option} is for a live bus, not for a log", address.place)
        return CanLogSource(target, loaded, dbc)
    give_up_ns = address.duration_ns("give_up", GIVE_UP_NS)
    return CanBusSource(bus_port(address), loaded, dbc, give_up_ns=give_up_ns)
