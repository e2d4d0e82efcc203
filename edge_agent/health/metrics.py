"""The agent's metrics: what there is (`METRICS`), and how it is read when somebody asks.

Nothing is counted for the metrics alone: each value is one that the agent keeps anyway, read at
the time of the scrape, in any thread. Names and units follow Prometheus' conventions. The
dashboard in `deploy/grafana` uses these names; a test holds both together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from contracts import SOFTWARE_VERSION
from contracts.clock import NS_PER_S
from edge_agent.cloud_side import CloudSide
from edge_agent.config import AgentConfig
from edge_agent.drive.timing import DurationHistogram
from edge_agent.drive_side import DriveSide
from edge_agent.power.step import Phase
from edge_agent.power.task import PowerTask
from edge_agent.spool import PRIORITIES
from edge_agent.supervisor.supervisor import Restarts
from edge_agent.upload.links_gate import GatedLinks

PREFIX = "longtail_agent_"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family. Counters' names go out with `_total` behind them."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("info", "gauge", "What runs; always 1.",
               ("vehicle_id", "drive_id", "software_version", "model")),
        Metric("drive_seconds", "counter", "Drive time so far."),
        Metric("recording", "gauge", "1 while samples are recorded, 0 with the reason's why.",
               ("reason",)),
        Metric("samples", "counter", "Samples taken, by type.", ("type",)),
        Metric("samples_rejected", "counter", "Samples that the door turned away.",
               ("channel", "reason")),
        Metric("samples_not_recorded", "counter",
               "Samples left out whole: a failure, a parked vehicle, a no-record zone.",
               ("reason",)),
        Metric("source_gaps", "counter", "Silences of the source over 2 s."),
        Metric("source_gap_seconds", "counter", "How long they were together."),
        Metric("frame_seconds", "histogram", "A frame from sample to triggers."),
        Metric("model_seconds", "histogram", "The model alone."),
        Metric("frames_blind", "counter", "Frames that no model could be asked about.",
               ("reason",)),
        Metric("trigger_fires", "counter", "Fires of active triggers.", ("trigger", "kind")),
        Metric("trigger_suppressed", "counter", "Fires that were not kept, by reason.",
               ("trigger", "kind", "reason")),
        Metric("triggers", "gauge", "Triggers loaded, by state.", ("state",)),
        Metric("clips", "counter", "Clips made, by what became of them.", ("result",)),
        Metric("images_redacted", "counter", "Images of clips, by what redaction did.",
               ("result",)),
        Metric("signal_log_lost_ticks", "counter", "Evaluations that the signal log lost."),
        Metric("ring_bytes", "gauge", "Payload held in the ring."),
        Metric("ring_capacity_bytes", "gauge", "What the ring can hold."),
        Metric("ring_reach_seconds", "gauge", "How far back the ring reaches."),
        Metric("ring_evicted", "counter", "Messages that made room for newer ones."),
        Metric("spool_bytes", "gauge", "Bytes of clips on the disk."),
        Metric("spool_quota_bytes", "gauge", "What they may take."),
        Metric("spool_evicted", "counter", "Clips given up, since the state was made.",
               ("reason", "uploaded", "safety")),
        Metric("queue_clips", "gauge", "Clips that wait to be sent.", ("priority",)),
        Metric("queue_bytes", "gauge", "Their bytes.", ("priority",)),
        Metric("queue_events", "gauge", "Event records that wait to be sent."),
        Metric("wire_bytes", "counter", "Bytes on the wire, by the link's class.", ("link",)),
        Metric("link", "gauge", "1 for the class of the link now.", ("link",)),
        Metric("upload_shut", "gauge", "1 while power or heat forbids sending.", ("reason",)),
        Metric("cellular_bytes", "gauge", "Metered bytes used.", ("period",)),
        Metric("cellular_left_bytes", "gauge", "Metered bytes that the caps leave.", ("period",)),
        Metric("restarts", "counter", "Failures that were mended, by task.", ("task",)),
        Metric("clock_synchronised", "gauge", "1 when the system's clock is disciplined."),
        Metric("clock_offset_seconds", "gauge", "How far ahead the drive's UTC is, where known."),
        Metric("ota_releases", "gauge", "Releases held by order, by state.", ("state",)),
        Metric("ota_rejected", "gauge", "Releases that this vehicle refused or took back."),
        Metric("ota_check_ins", "counter", "Check-ins that were answered."),
        Metric("power_phase", "gauge", "1 for the power phase now.", ("phase",)),
        Metric("power_supply_volts", "gauge", "The vehicle's supply, where it is known."),
        Metric("power_temperature_celsius", "gauge", "Temperature, where it is known."),
    )
}  # fmt: skip

LINK_CLASSES = ("ethernet", "wifi", "cellular", "metered_ethernet", "metered_wifi", "none")


@dataclass(frozen=True, slots=True)
class Row:
    """One value of a metric, with its labels' values in the metric's order."""

    name: str
    labels: tuple[str, ...]
    value: float | DurationHistogram


@dataclass(slots=True)
class Readings:
    """Reads one agent. `rows` may be asked in any thread, one at a time."""

    config: AgentConfig
    drive: DriveSide
    links: GatedLinks
    restarts: Restarts
    power: PowerTask | None
    cloud: Callable[[], CloudSide | None]
    vehicle_id: str
    _evicted: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _last_tombstone: int = 0

    def rows(self) -> Iterator[Row]:
        """Every value as of now."""
        yield from self._drive()
        yield from self._frames()
        yield from self._triggers()
        yield from self._stores()
        yield from self._network()
        yield from self._upkeep()

    def _drive(self) -> Iterator[Row]:
        side = self.drive
        model = side.drive.model
        labels = (self.vehicle_id, side.description.drive_id, SOFTWARE_VERSION,
                  model.digest[:12] if model is not None else "none")  # fmt: skip
        yield Row("info", labels, 1)
        yield Row("drive_seconds", (), side.driven_s)
        reason = side.not_recording
        yield Row("recording", (reason,), 0.0 if reason else 1.0)
        yield from _counted("samples", side.drive.counts)
        for (channel, why), count in list(side.drive.door.rejections.items()):
            yield Row("samples_rejected", (channel, why), count)
        yield from _counted("samples_not_recorded", side.not_recorded)
        yield Row("source_gaps", (), side.gaps.count)
        yield Row("source_gap_seconds", (), side.gaps.total_ns / NS_PER_S)
        clock = side.source.drive_clock()
        yield Row("clock_synchronised", (), clock.synchronised)
        if clock.offset_ns is not None:
            yield Row("clock_offset_seconds", (), clock.offset_ns / NS_PER_S)

    def _frames(self) -> Iterator[Row]:
        timer = self.drive.drive.timer
        yield Row("frame_seconds", (), timer.frames)
        yield Row("model_seconds", (), timer.models)
        yield from _counted("frames_blind", self.drive.drive.blind)

    def _triggers(self) -> Iterator[Row]:
        fired: Counter[tuple[str, str]] = Counter()
        for (trigger, outcome), count in list(self.drive.fires.items()):
            kind = self.drive.kinds.get(trigger, "")
            fired[trigger, kind] += count
            if outcome != "kept":
                yield Row("trigger_suppressed", (trigger, kind, outcome), count)
        for labels, count in fired.items():
            yield Row("trigger_fires", labels, count)
        states = Counter(t.state for t in self.drive.runtime.report().triggers)
        for state in ("active", "shadow", "inactive", "killed"):
            yield Row("triggers", (state,), states[state])

    def _stores(self) -> Iterator[Row]:
        side = self.drive
        yield from _counted("clips", side.packer.counts)
        if side.redaction is not None:
            yield from _counted("images_redacted", side.redaction.counts)
        yield Row("signal_log_lost_ticks", (), side.signal_log.lost_ticks)
        ring, lost_ns = side.ring, side.ring.lost_until_ns
        yield Row("ring_bytes", (), ring.used_bytes)
        yield Row("ring_capacity_bytes", (), ring.capacity_bytes)
        reach_s = side.driven_s if lost_ns is None else (side.drive.now_ns - lost_ns) / NS_PER_S
        yield Row("ring_reach_seconds", (), max(0.0, reach_s))
        yield Row("ring_evicted", (), ring.pushed_out)
        yield Row("spool_bytes", (), side.spool.used_bytes())
        yield Row("spool_quota_bytes", (), self.config.spool.quota)
        self._read_tombstones()
        for labels, count in self._evicted.items():
            yield Row("spool_evicted", labels, count)
        queue = side.spool.queue()
        for priority in PRIORITIES:
            sizes = [entry.size_bytes for entry in queue if entry.priority == priority]
            yield Row("queue_clips", (priority,), len(sizes))
            yield Row("queue_bytes", (priority,), sum(sizes))
        yield Row("queue_events", (), side.ledger.outbox.count())

    def _read_tombstones(self) -> None:
        while found := self.drive.ledger.tombstones.after(self._last_tombstone):
            for number, stone in found:
                uploaded, safety = str(stone.uploaded).lower(), str(stone.safety).lower()
                self._evicted[stone.reason, uploaded, safety] += 1
                self._last_tombstone = number

    def _network(self) -> Iterator[Row]:
        now_class = self.links.class_now()
        sent = self.links.bytes_by_class()
        for name in LINK_CLASSES:
            yield Row("link", (name,), name == now_class)
            yield Row("wire_bytes", (name,), sent.get(name, 0))
        if self.links.shut:
            yield Row("upload_shut", (self.links.shut,), 1)
        spent = self.drive.ledger.cellular.spent()
        caps = self.config.upload
        for period, used, cap in (
            ("day", spent.day_bytes, caps.cellular_bytes_per_day),
            ("month", spent.month_bytes, caps.cellular_bytes_per_month),
        ):
            yield Row("cellular_bytes", (period,), used)
            yield Row("cellular_left_bytes", (period,), max(0, cap - used))

    def _upkeep(self) -> Iterator[Row]:
        yield from _counted("restarts", self.restarts.counts)
        cloud = self.cloud()
        if cloud is not None:
            ota = cloud.updater.status()
            held = Counter(release.state for release in ota.held)
            for state in ("waiting", "soaking", "committed"):
                yield Row("ota_releases", (state,), held[state])
            yield Row("ota_rejected", (), len(ota.rejected))
            yield Row("ota_check_ins", (), ota.check_ins)
        if self.power is not None:
            for phase in get_args(Phase):
                yield Row("power_phase", (phase,), phase == self.power.state.phase)
            reading = self.power.reading
            if reading.supply_v is not None:
                yield Row("power_supply_volts", (), reading.supply_v)
            if reading.temperature_c is not None:
                yield Row("power_temperature_celsius", (), reading.temperature_c)


def _counted(name: str, counts: Counter[str]) -> Iterator[Row]:
    for label, count in list(counts.items()):
        yield Row(name, (label,), count)
