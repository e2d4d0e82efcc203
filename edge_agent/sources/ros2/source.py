"""A ROS 2 bag as one drive, in the order in which its sensors measured.

A message counts at its header's stamp; where that is empty or more than 10 s from the time of
recording (a sensor with a clock of its own), at the time of recording, and this is counted.
Static transforms and the first camera_info of each camera are read ahead and latched at the
start. A message that cannot be read or used is counted by topic and reason, and the next one is
tried; where reading breaks off, all before the break is given, then `CorruptError` says so. An
MCAP file that lost its end cannot be opened by rosbags at all: `mcap recover` mends it.

Does not do: dynamic transforms, calibrations that change under way, radar, services.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import CorruptError, InputError, LongtailError
from contracts.samples import CalibrationSample, MountSample, Sample
from edge_agent.ports import SourceDescription
from edge_agent.sources.address import as_name, fingerprint, parse_address
from edge_agent.sources.ros2 import images, motion
from edge_agent.sources.ros2.bag import Bag, of_its_type
from edge_agent.sources.ros2.clouds import CloudReader
from edge_agent.sources.ros2.fields import FieldReader, field_readers
from edge_agent.sources.ros2.frames import StaticFrames, clean
from edge_agent.sources.ros2.mapping import LoadedMap, load_map, no_map
from edge_agent.sources.ros2.reorder import Reorder
from edge_agent.sources.ros2.wiring import COMPRESSED, TF, TF_STATIC, Wiring, wire

START_NS = 100 * NS_PER_S
"""Monotonic time of the bag's first message; stamps may lie a little before it."""
MAX_STAMP_AWAY_NS = 10 * NS_PER_S
_ODOMETRY_LOOKED_AT = 2000
_IMU_SIGNALS = frozenset(
    f"imu.{what}_{axis}_{unit}"
    for what, unit in (("accel", "mps2"), ("gyro", "radps"))
    for axis in "xyz"
)

Take = Callable[[Any, int, int], Iterator[Sample]]
"""Message, its stamp on the bag's clock, the same instant as `mono_ns`."""

log = structlog.get_logger(__name__)


class Ros2Source:
    """`SensorSource` over one bag. Attributes: `counts`: what was left out, by reason."""

    def __init__(self, path: Path, loaded: LoadedMap) -> None:
        self._path = path
        self._loaded = loaded
        self._ego = loaded.rules.ego_frame
        self._frames = StaticFrames(self._ego)
        self._latched: list[CalibrationSample | MountSample] = []
        self.counts: Counter[str] = Counter()
        with closing(Bag(path)) as bag:
            self._types = bag.types
            self._base_ns = bag.start_ns - START_NS
            self._wiring = wire(bag.types, loaded)
            self._fields = field_readers(loaded, bag.types, bag.fielddefs)
            self._read_frames(bag)
            self._odometry_signals = self._twist_signals(bag)
            self._read_ahead(bag)
        if not self._wiring.topics:
            raise InputError("the bag has no topic that is read", str(path))

    def describe(self) -> SourceDescription:
        wiring = self._wiring
        signals = set(wiring.signals) | self._odometry_signals
        if wiring.imu:
            signals |= _IMU_SIGNALS - set(wiring.signals)
        name = as_name(self._path.resolve().stem, "bag")
        return SourceDescription(
            drive_id=name,
            boot_id=f"ros2-{name[:80]}-{fingerprint(_files(self._path))}",
            utc_minus_mono_ns=self._base_ns,
            clock=ClockQuality(synchronised=False, source="recording"),
            signals=frozenset(signals),
            camera_channels=tuple(f"/camera/{name}" for name in wiring.cameras),
            lidar_channels=tuple(f"/lidar/{name}" for name in wiring.lidars),
            has_pose=wiring.pose is not None,
            has_plan=wiring.plan is not None,
        )

    def samples(self) -> Iterator[Sample]:
        """Each call reads the bag anew; `counts` are those of the newest."""
        self.counts = Counter()
        reorder = Reorder(self._loaded.rules.reorder)
        takes = self._takes()
        first = True
        with closing(Bag(self._path)) as bag:
            try:
                for sample in self._ordered(bag, takes, reorder):
                    if first:
                        first = False
                        for latched in self._latched:
                            yield replace(latched, mono_ns=sample.mono_ns)
                    yield sample
            finally:
                self.counts["recorded too late"] += reorder.late
                told = {reason: count for reason, count in sorted(self.counts.items()) if count}
                log.info("bag ended", bag=self._path.name, counts=told)

    def _ordered(
        self, bag: Bag, takes: dict[str, list[Take]], reorder: Reorder
    ) -> Iterator[Sample]:
        broken: CorruptError | None = None
        try:
            for topic, recorded_ns, message in bag.messages(self._wiring.topics, self.counts):
                yield from reorder.ready(recorded_ns - self._base_ns)
                stamp_ns = self._stamp_ns(topic, message, recorded_ns)
                for take in takes[topic]:
                    try:
                        with of_its_type(topic):
                            for sample in take(message, stamp_ns, stamp_ns - self._base_ns):
                                reorder.put(sample)
                    except LongtailError as error:
                        self._left_out(topic, error)
        except CorruptError as error:
            broken = error
        yield from reorder.ready(None)
        if broken is not None:
            raise broken

    def _left_out(self, topic: str, error: LongtailError) -> None:
        reason = f"{topic}: cannot be used"
        self.counts[reason] += 1
        if self.counts[reason] == 1:
            log.warning("message left out", topic=topic, reason=error.message)

    def _stamp_ns(self, topic: str, message: Any, recorded_ns: int) -> int:
        header = getattr(message, "header", None)
        if header is None:
            return recorded_ns
        try:
            stamp_ns = motion.time_ns(header.stamp)
        except (AttributeError, TypeError):  # the bag's own definition of a header has none
            stamp_ns = 0
        if abs(stamp_ns - recorded_ns) <= MAX_STAMP_AWAY_NS:
            return stamp_ns
        self.counts[f"{topic}: stamp empty or of another clock"] += 1
        return recorded_ns

    # What each topic becomes -------------------------------------------------------------------

    def _takes(self) -> dict[str, list[Take]]:
        wiring = self._wiring
        poses = motion.Poses(self._ego, self._frames)
        takes: dict[str, list[Take]] = {topic: [] for topic in wiring.topics}
        # Poses before plans, that are moved by them.
        if wiring.pose:
            takes[wiring.pose].append(
                lambda message, _, mono_ns: poses.take(message, mono_ns, self._odometry_signals)
            )
        for name, topic in wiring.cameras.items():
            takes[topic].append(_image(f"/camera/{name}", self._types[topic]))
        for name, rule in wiring.lidars.items():
            takes[rule.topic].append(_cloud(CloudReader(rule, f"/lidar/{name}")))
        if wiring.imu:
            takes[wiring.imu].append(self._imu)
        if wiring.fix:
            takes[wiring.fix].append(self._fix)
        if wiring.plan:
            takes[wiring.plan.topic].append(self._plan(wiring, poses))
        for topic, readers in self._fields.items():
            takes[topic] += [self._field(reader) for reader in readers]
        return takes

    def _imu(self, message: Any, _: int, mono_ns: int) -> Iterator[Sample]:
        for sample in motion.imu_signals(message, mono_ns):
            if sample.name not in self._wiring.signals:
                yield sample

    def _fix(self, message: Any, _: int, mono_ns: int) -> Iterator[Sample]:
        found = motion.fix(message, mono_ns)
        if found is None:
            self.counts["no GNSS fix"] += 1
        else:
            yield found

    def _plan(self, wiring: Wiring, poses: motion.Poses) -> Take:
        spacing_ns = wiring.plan.spacing if wiring.plan else None

        def take(message: Any, stamp_ns: int, mono_ns: int) -> Iterator[Sample]:
            yield motion.plan(
                message, stamp_ns, mono_ns, spacing_ns, poses, self._ego, self._frames
            )

        return take

    def _field(self, reader: FieldReader) -> Take:
        def take(message: Any, _: int, mono_ns: int) -> Iterator[Sample]:
            sample = reader.read(message, mono_ns)
            if sample is None:
                self.counts[f"{reader.name}: not available"] += 1
            else:
                yield sample

        return take

    # Read ahead --------------------------------------------------------------------------------

    def _read_frames(self, bag: Bag) -> None:
        if self._types.get(TF_STATIC) == TF:
            for message in bag.ahead(TF_STATIC):
                with of_its_type(TF_STATIC):
                    self._frames.add(message)
        if self._loaded.rules.told("ego_frame") and self._ego not in self._frames.names:
            raise InputError(
                f"no static transform names {self._ego!r}; known: {', '.join(self._frames.names)}",
                self._loaded.place("ego_frame"),
            )

    def _twist_signals(self, bag: Bag) -> frozenset[str]:
        pose = self._wiring.pose
        if pose is None:
            return frozenset()
        why = "its twist is empty while it drives"
        try:
            with of_its_type(pose):
                told = motion.has_twist(list(islice(bag.ahead(pose), _ODOMETRY_LOOKED_AT)))
        except InputError as error:
            told, why = False, error.message
        if not told:
            log.warning("odometry tells no speed", topic=pose, reason=why)
            return frozenset()
        return frozenset({"ego.speed_mps", "ego.yaw_rate_radps"} - set(self._wiring.signals))

    def _read_ahead(self, bag: Bag) -> None:
        """Calibrations of cameras, and mounts of lidars."""
        for name, topic in self._wiring.infos.items():
            for message in islice(bag.ahead(topic), 1):
                try:
                    with of_its_type(topic):
                        self._latch_calibration(name, message)
                except InputError as error:
                    log.warning("no calibration", topic=topic, reason=error.message)
        for name, rule in self._wiring.lidars.items():
            for message in islice(bag.ahead(rule.topic), 1):
                try:
                    with of_its_type(rule.topic):
                        self._latch_mount(name, message)
                except InputError as error:
                    log.warning("no mount", topic=rule.topic, reason=error.message)

    def _latch_calibration(self, name: str, message: Any) -> None:
        mount = self._frames.ego_SE3(message.header.frame_id)
        if mount is None:
            self._unplaced(f"/camera/{name}", message.header.frame_id)
            return
        self._latched.append(
            motion.calibration(
                message, f"/camera/{name}", START_NS, mount,
                rectified="rect" in self._wiring.cameras[name],
            )
        )  # fmt: skip

    def _latch_mount(self, name: str, message: Any) -> None:
        frame_id = clean(message.header.frame_id)
        mount = self._frames.ego_SE3(frame_id)
        if mount is None:
            self._unplaced(f"/lidar/{name}", frame_id)
        else:
            self._latched.append(MountSample(START_NS, frame_id or name, mount))

    def _unplaced(self, channel: str, frame_id: str) -> None:
        log.warning("sensor without a place", channel=channel, frame=frame_id, ego=self._ego)


def _image(channel: str, kind: str) -> Take:
    convert = images.compressed if kind == COMPRESSED else images.raw

    def take(message: Any, _: int, mono_ns: int) -> Iterator[Sample]:
        yield convert(message, channel, mono_ns)

    return take


def _cloud(reader: CloudReader) -> Take:
    def take(message: Any, stamp_ns: int, mono_ns: int) -> Iterator[Sample]:
        yield reader.sweep(message, stamp_ns, mono_ns)

    return take


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(p for p in path.iterdir() if p.is_file())


def open_ros2(rest: str) -> Ros2Source:
    """`BAG_FOLDER[,map=MAP]`. Raises `InputError`."""
    address = parse_address("ros2", rest, ("map",))
    path = address.path("map")
    return Ros2Source(Path(address.target), load_map(path) if path is not None else no_map())
