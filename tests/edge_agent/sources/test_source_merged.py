"""Several sources as one drive: recorded ones side by side, live ones that wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import can
import pytest

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import InputError, TransientError
from contracts.samples import ImageSample, Sample, SignalSample
from edge_agent.kit.conformance import check_refusals, check_source
from edge_agent.ports import CountingSource, LiveSource, SensorSource, SourceDescription
from edge_agent.sources.merged import open_merged
from edge_agent.sources.merged_live import Meeting, MergedLiveSource
from edge_agent.sources.registry import open_source
from tests.edge_agent import bags
from tests.edge_agent.can_logs import START_S, Vehicle, drive, write_log, write_vehicle
from tests.edge_agent.videos import write_video

MS = 1_000_000


def vehicle_folder(folder: Path) -> Path:
    """CAN, a camera that began 300 ms later, and a bag that began 200 ms earlier."""
    unknown = can.Message(timestamp=START_S + 1.99, arbitration_id=0x7FF, is_extended_id=False)
    write_log(folder / "drive.log", [*drive(Vehicle()), unknown])
    write_vehicle(folder)
    write_video(folder / "front.mp4", 10)
    bag_start = round(START_S * 1e9) - 200 * MS
    with bags.bag_writer(folder / "bag") as bag:
        for i in range(20):
            at = bag_start + i * 100 * MS
            bag.put("/odom", bags.odometry(at, float(i), 0, 0, 10.0), at)
    return folder


def sources_file(folder: Path, text: str) -> Path:
    path = folder / "vehicle.sources.yaml"
    path.write_text(f"apiVersion: longtail/v1\nkind: Sources\n{text}")
    return path


CAN = "  - address: can:{here}/drive.log,map={here}/vehicle.can.yaml\n"
CAMERA = "  - address: camera:{here}/front.mp4,start=2026-09-21T14:13:20.3Z\n"
BAG = "  - address: ros2:{here}/bag\n    drop: [ego.speed_mps, ego.yaw_rate_radps]\n"


def test_recordings_are_aligned_by_wall_time(tmp_path: Path) -> None:
    path = sources_file(vehicle_folder(tmp_path), "sources:\n" + CAN + CAMERA + BAG)
    report = check_source(lambda: open_source(f"all:{path}"))
    assert report.samples["/camera/front"] == 10 and report.samples["/pose"] == 20
    assert report.notes == ()
    source = open_source(f"all:{path}")
    told = source.describe()
    first: dict[str, int] = {}
    for sample in source.samples():
        first.setdefault(type(sample).__name__, sample.mono_ns + told.utc_minus_mono_ns)
    began = round(START_S * 1e9)
    assert first["PoseSample"] == began - 200 * MS
    assert first["SignalSample"] == pytest.approx(began, abs=1000)
    assert first["ImageSample"] == began + 300 * MS
    assert told.drive_id == "drive" and told.has_pose
    assert isinstance(source, CountingSource)
    assert source.counts == {"can:{here}/drive.log: frames not mapped": 1}


def test_offset_and_start_alignment(tmp_path: Path) -> None:
    vehicle_folder(tmp_path)
    bare = "  - address: camera:{here}/front.mp4\n    offset_ms: 12.5\n"
    path = sources_file(tmp_path, "sources:\n" + CAN + bare)
    with pytest.raises(InputError, match=r"wall time is unknown to camera:.*align: start"):
        open_source(f"all:{path}")
    path = sources_file(tmp_path, "align: start\nsources:\n" + CAN + bare)
    samples = list(open_source(f"all:{path}").samples())
    image = next(s for s in samples if isinstance(s, ImageSample))
    assert image.mono_ns - samples[0].mono_ns == 12_500_000
    path = sources_file(tmp_path, "align: wall\nsources:\n" + CAN + bare)
    with pytest.raises(InputError, match=r"3:8: align: wall, but wall time is unknown"):
        open_source(f"all:{path}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (CAN + "  - address: ros2:{here}/bag\n", "5:14: ego.speed_mps comes from this source and"),
        (CAN + BAG.replace("ego.speed_mps", "ego.sped_mps"), "has no 'ego.sped_mps'; did you mean"),
        (CAN + "  - address: cam:{here}/front.mp4\n", "did you mean 'can'"),
        (CAN + "  - address: all:{here}/x.yaml\n", "sources do not nest"),
        (CAN + "  - adress: x\n", "key 'address' is missing"),
        (CAN + "  - address: can:virtual/x,map={here}/vehicle.can.yaml\n", "live and recorded"),
        ("  []\n", "sources"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused_where_they_are_wrong(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = sources_file(vehicle_folder(tmp_path), "sources:\n" + text)
    error = check_refusals(lambda: open_source(f"all:{path}"))
    assert error.place is not None and error.place.startswith(str(path))
    assert complaint in str(error)


# Live ----------------------------------------------------------------------------------------


def signal(name: str, at_ms: int) -> SignalSample:
    return SignalSample(name, at_ms * MS, 0.0)


def test_live_samples_wait_for_each_other_but_not_for_ever() -> None:
    meeting = Meeting(2, patience_ns=500 * MS)
    fast, slow = "ego.speed_mps", "driver.gas_pressed"
    meeting.put(0, signal(fast, 100), 1000 * MS)
    meeting.put(0, signal(fast, 110), 1010 * MS)
    assert list(meeting.ready(1020 * MS)) == []  # the other one has not told of its time
    meeting.put(1, signal(slow, 105), 1200 * MS)
    assert [s.mono_ns // MS for s in meeting.ready(1200 * MS)] == [100, 105]
    # the other one falls silent: patience, then go on
    assert list(meeting.ready(1300 * MS)) == []
    assert [s.mono_ns // MS for s in meeting.ready(1510 * MS)] == [110]
    meeting.put(1, signal(slow, 108), 1520 * MS)  # too late
    assert list(meeting.ready(9000 * MS)) == [] and meeting.late[1] == 1
    meeting.end(1)
    meeting.put(0, signal(fast, 120), 9100 * MS)
    assert [s.mono_ns // MS for s in meeting.ready(9100 * MS)] == [120]  # nobody to wait for
    meeting.end(0)
    assert meeting.is_over


class Scripted:
    """A live source of given samples, that then waits to be stopped, ends or fails."""

    def __init__(self, names: dict[str, range], then: str = "end") -> None:
        self._names, self._then = names, then
        self._stopped = threading.Event()

    def describe(self) -> SourceDescription:
        clock = ClockQuality(synchronised=True, source="system")
        return SourceDescription("drive", "boot", 7 * NS_PER_S, clock, frozenset(self._names))

    def stop(self) -> None:
        self._stopped.set()

    def samples(self) -> Iterator[Sample]:
        order = sorted((at, name) for name, times in self._names.items() for at in times)
        yield from (signal(name, at) for at, name in order)
        if self._then == "fail":
            raise TransientError("the cable fell out")
        if self._then == "break":
            raise ZeroDivisionError("a mistake of the adapter")
        if self._then == "wait":
            self._stopped.wait()


def live(folder: Path, sources: dict[str, Scripted]) -> MergedLiveSource:
    """`one:` and so on are the addresses of the scripted sources."""
    text = "patience: 60s\nsources:\n" + "".join(f"  - address: '{name}:'\n" for name in sources)

    def opener(address: str) -> SensorSource:
        return sources[address.removesuffix(":")]

    merged = open_merged(str(sources_file(folder, text)), opener)
    assert isinstance(merged, MergedLiveSource) and isinstance(merged, LiveSource)
    return merged


def test_live_sources_become_one_in_order(tmp_path: Path) -> None:
    merged = live(
        tmp_path,
        {
            "one": Scripted({"ego.speed_mps": range(0, 2000, 2)}),
            "two": Scripted({"driver.gas_pressed": range(1, 1000, 50)}, "fail"),
            "three": Scripted({"driver.brake_pressed": range(0)}, "break"),
        },
    )
    samples = list(merged.samples())
    times = [s.mono_ns for s in samples]
    assert times == sorted(times) and len(times) == 1000 + 20 and not merged.counts
    assert len(merged.describe().signals) == 3
    # asked again after its end, as the agent does with live sources, it opens its parts anew
    assert [s.mono_ns for s in merged.samples()] == times


class Returning(Scripted):
    """Ends, or fails, so often; then it tells one more sample, and waits."""

    def __init__(self, name: str, times: int, then: str) -> None:
        super().__init__({name: range(3)}, then)
        self._left = times

    def samples(self) -> Iterator[Sample]:
        if self._left:
            self._left -= 1
            yield from super().samples()
            return
        yield signal(next(iter(self._names)), 5000)
        self._stopped.wait()


@pytest.mark.parametrize("then", ["end", "fail", "break"])
def test_a_part_that_ended_comes_back_while_others_go_on(tmp_path: Path, then: str) -> None:
    """A bus that slept for longer than its `give_up` beside cameras that did not."""
    parts = {
        "cameras": Scripted({"ego.speed_mps": range(0, 4000, 100)}, "wait"),
        "bus": Returning("driver.gas_pressed", 3, then),
    }
    merged = live(tmp_path, parts)
    again = MergedLiveSource(merged._parts, merged.describe(), NS_PER_S // 100, again_s=0.01)
    found = []
    for sample in again.samples():
        found.append(sample)
        if sample.mono_ns == 5000 * MS:
            again.stop()
    assert len([s for s in found if isinstance(s, SignalSample) and "gas" in s.name]) >= 2


def test_nobody_waits_for_a_part_that_is_asked_again() -> None:
    meeting = Meeting(2, patience_ns=500 * MS)
    for turn in (meeting.end, meeting.begin):
        turn(1)
        meeting.put(0, signal("ego.speed_mps", 100), 1000 * MS)
        assert len(list(meeting.ready(1000 * MS))) == 1
        assert not meeting.is_over
    meeting.put(1, signal("driver.gas_pressed", 150), 1000 * MS)
    meeting.put(0, signal("ego.speed_mps", 200), 1000 * MS)
    assert [s.mono_ns // MS for s in meeting.ready(1000 * MS)] == [150]


def test_a_live_drive_stops_when_told(tmp_path: Path) -> None:
    parts = {
        "one": Scripted({"ego.speed_mps": range(10)}, "wait"),
        "two": Scripted({"driver.gas_pressed": range(10)}, "wait"),
    }
    merged = live(tmp_path, parts)
    samples = merged.samples()
    assert next(samples).mono_ns == 0
    merged.stop()
    assert len(list(samples)) < 20


def test_two_live_buses_are_one_drive(tmp_path: Path) -> None:
    mapping = write_vehicle(tmp_path)
    text = mapping.read_text()
    only = {"motion": "MOTION", "pedals": "PEDALS"}
    for name, message in only.items():
        kept = [ln for ln in text.splitlines() if "from:" not in ln or message in ln]
        head = "\n".join(kept).split("  autonomy.engaged:")[0]
        (tmp_path / f"{name}.yaml").write_text(head)
    path = sources_file(
        tmp_path,
        "patience: 60s\nsources:\n"
        + "".join(f"  - address: can:virtual/{n},map={{here}}/{n}.yaml\n" for n in only),
    )
    vehicle = Vehicle()
    with (
        can.Bus(interface="virtual", channel="motion") as motion,
        can.Bus(interface="virtual", channel="pedals") as pedals,
    ):
        source = open_source(f"all:{path}")
        assert isinstance(source, LiveSource)
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.002):
                motion.send(vehicle.motion(0.0, 36.0))
                pedals.send(vehicle.frame(0.0, "PEDALS", GAS=0, BRAKE=0, RAW_TORQUE=0))

        sender = threading.Thread(target=send)
        sender.start()
        found = []
        try:
            for sample in source.samples():
                found.append(sample)
                if len(found) == 60:
                    source.stop()
        finally:
            over.set()
            sender.join()
    times = [s.mono_ns for s in found]
    assert times == sorted(times) and len(found) >= 60
    assert {s.name for s in found if isinstance(s, SignalSample)} == {
        "ego.speed_mps", "ego.yaw_rate_radps", "driver.gas_pressed", "driver.brake_pressed",
    }  # fmt: skip
