"""The adapter kit: its templates work, and its conformance test finds what is wrong."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import simplejpeg
from typer.testing import CliRunner

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import InputError, LongtailError
from contracts.samples import (
    CalibrationSample,
    ImageSample,
    LidarSample,
    PlanSample,
    PoseSample,
    Sample,
    SignalSample,
)
from contracts.spec_yaml import parse_yaml
from edge_agent.kit.cli import app
from edge_agent.kit.conformance import (
    ConformanceError,
    check_live_source,
    check_planner_tap,
    check_probe,
    check_refusals,
    check_source,
)
from edge_agent.kit.live import LiveFeed
from edge_agent.kit.templates.network_probe import open_kernel_probe
from edge_agent.kit.templates.planner_tap import open_planner_log
from edge_agent.kit.templates.source import open_speed_log
from edge_agent.ports import Link, SourceDescription
from edge_agent.sources.registry import open_source
from edge_agent.upload.links import FileLink
from tests.edge_agent import can_logs
from tests.edge_agent.sources.test_source_camera import CALIBRATION
from tests.edge_agent.sources.test_source_ros2 import MAP as ROS_MAP

MS = 1_000_000
JPEG = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
TOLD = SourceDescription(
    "drive", "boot", 0, ClockQuality(synchronised=False, source="none"),
    frozenset({"ego.speed_mps"}), ("/camera/front",), ("/lidar/top",), has_pose=True, has_plan=True,
)  # fmt: skip
LIDAR = LidarSample(
    "/lidar/top", 30 * MS, np.ones((4, 3), np.float32), np.zeros(4, np.uint8), "lidar",
    np.zeros(4, np.uint16), np.zeros(4, np.int32),
)  # fmt: skip
IMAGE = ImageSample("/camera/front", 20 * MS, "jpeg", JPEG, 8, 8, "camera")
POSE = PoseSample(40 * MS, np.zeros(3), np.array([0, 0, 0, 1.0]))
PLAN = PlanSample(50 * MS, np.arange(0, 3, 0.1), np.zeros((30, 2)))
GOOD: tuple[Sample, ...] = (
    SignalSample("ego.speed_mps", 0, 1.0),
    CalibrationSample("/camera/front", 10 * MS, 8, 8, np.eye(3), np.eye(4), "camera"),
    IMAGE, LIDAR, POSE, PLAN,
)  # fmt: skip


class Given:
    """A source of given samples."""

    def __init__(self, *samples: Any, told: SourceDescription = TOLD) -> None:
        self._samples, self._told = samples, told

    def describe(self) -> SourceDescription:
        return self._told

    def samples(self) -> Iterator[Sample]:
        yield from self._samples


def test_a_good_source_conforms() -> None:
    report = check_source(lambda: Given(*GOOD))
    assert report.span_s == pytest.approx(0.05) and report.notes == ()
    assert report.samples["/camera/front"] == 2
    short = check_source(lambda: Given(*GOOD[:3]))
    assert "/lidar/top is described, but never came" in short.notes


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (SignalSample("ego.sped_mps", 1, 1.0), "does not tell of it"),
        (SignalSample("ego.speed_mps", 1, 1), "value is int, not float"),
        (SignalSample("ego.speed_mps", 1, 500.0), "outside -20 to 120 m/s"),
        (SignalSample("ego.speed_mps", 1, float("nan")), "not a finite number"),
        (SignalSample("ego.speed_mps", np.int64(1), 1.0), "mono_ns is int64, not int"),  # type: ignore[arg-type]
        (replace(IMAGE, channel="/camera/rear"), "does not tell of it"),
        (replace(IMAGE, content=b"no picture"), "content is no JPEG"),
        (replace(IMAGE, width=9), "says 9 x 8 pixels, but the picture has 8 x 8"),
        (replace(IMAGE, encoding="bmp"), "encoding 'bmp' is not jpeg, png or rgb8"),
        (replace(IMAGE, encoding="rgb8"), "bytes do not make 8 x 8 pixels rgb8"),
        (replace(LIDAR, xyz_m=np.ones((4, 3))), "xyz_m is float64, not float32"),
        (replace(LIDAR, xyz_m=np.ones((4, 2), np.float32)), r"xyz_m has shape \[4, 2\]"),
        (replace(LIDAR, xyz_m=np.full((4, 3), np.nan, np.float32)), "a point is not finite"),
        (replace(LIDAR, ring=np.zeros(3, np.uint16)), r"ring has shape \[3\], not \[4\]"),
        (replace(POSE, orientation_xyzw=np.zeros(4)), "no unit quaternion"),
        (replace(PLAN, t_s=PLAN.t_s + 1), "starts at 1, not at 0"),
        (replace(PLAN, t_s=PLAN.t_s[::-1] - PLAN.t_s[-1]), "do not rise"),
        ("a text", "str is no sample"),
    ],
)
def test_a_broken_sample_is_named(broken: Any, fault: str) -> None:
    with pytest.raises(ConformanceError, match=fault):
        check_source(lambda: Given(broken))


def failing() -> Iterator[Sample]:
    yield GOOD[0]
    raise KeyError("speed")


class Failing(Given):
    def samples(self) -> Iterator[Sample]:
        return failing()


def unsteady() -> Callable[[], Given]:
    number = itertools.count()
    return lambda: Given(SignalSample("ego.speed_mps", 0, float(next(number))))


@pytest.mark.parametrize(
    ("opener", "fault"),
    [
        (lambda: Given(), "no sample comes"),
        (lambda: Given(*reversed(GOOD)), "goes back in time"),
        (unsteady(), "opened anew: other samples"),
        (lambda: Failing(), "samples\\(\\) raises KeyError"),
        (lambda: Given(*GOOD, told=replace(TOLD, drive_id="a drive")), "drive_id"),
        (
            lambda: Given(*GOOD, told=replace(TOLD, has_plan=False)),
            "/planner/trajectory: comes, but",
        ),
        (
            lambda: Given(*GOOD, told=replace(TOLD, signals=TOLD.signals | {"ego.spee_mps"})),
            "'ego.spee_mps' is not in the catalogue; did you mean 'ego.speed_mps'",
        ),
        (
            lambda: Given(*GOOD, told=replace(TOLD, lidar_channels=("top",))),
            "not of the form /lidar/",
        ),
    ],
)
def test_a_broken_source_is_told_how(opener: Callable[[], Given], fault: str) -> None:
    with pytest.raises(ConformanceError, match=fault):
        check_source(opener)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_source(lambda: Given(GOOD[3], GOOD[0], replace(IMAGE, width=9), "x"))
    assert len(caught.value.faults) == 4


def test_refusals_must_be_ours_and_must_be_there() -> None:
    def raising(error: Exception) -> Callable[[], Given]:
        def opener() -> Given:
            raise error

        return opener

    assert "no such" in str(check_refusals(raising(InputError("no such file"))))
    for opener, fault in (
        (raising(ValueError("no")), "raises ValueError"),
        (raising(InputError("")), "says nothing"),
        (lambda: Given(*GOOD), "taken without a word"),
    ):
        with pytest.raises(ConformanceError, match=fault):
            check_refusals(opener)


# Shipped sources; can, camera, ros2 and all: are checked in their own tests -------------------


def test_the_simulated_drive_conforms() -> None:
    report = check_planner_tap(lambda: open_source("sim:seed=3,duration_s=5,lidar=0"))
    assert report.samples["/signals/ego.speed_mps"] > 200
    assert check_source(lambda: open_source("sim:duration_s=5,camera=0")).notes == ()


def test_recorded_drives_conform(shared_data: Path) -> None:
    segment = sorted((shared_data / "comma2k19").rglob("processed_log"))[0].parent
    assert check_source(lambda: open_source(f"comma2k19:{segment}")).span_s > 1
    assert check_source(lambda: open_source(f"kitti:{shared_data / 'kitti_approach78'}")).span_s > 7
    scans = check_source(
        lambda: open_source(f"kitti:{shared_data / 'kitti_tracking'}"), max_samples=4
    )
    assert scans.samples["/lidar/top"] == 4


# Templates ------------------------------------------------------------------------------------


def speed_log(path: Path, rows: list[str]) -> str:
    path.write_text("\n".join(["time_s,speed_kmh", *rows]))
    return str(path)


def test_the_source_template(tmp_path: Path) -> None:
    good = speed_log(tmp_path / "drive.csv", [f"{i / 10},{i}" for i in range(100)])
    assert check_source(lambda: open_speed_log(good)).samples == {"/signals/ego.speed_mps": 100}
    for name, rows in {"text": ["0,fast"], "short": ["0"], "back": ["1,1", "0,1"]}.items():
        bad = speed_log(tmp_path / f"{name}.csv", rows)
        assert f"{name}.csv:" in str(check_refusals(lambda bad=bad: open_speed_log(bad), name))  # type: ignore[misc]
    (tmp_path / "other.csv").write_text("speed")
    check_refusals(lambda: open_speed_log(str(tmp_path / "other.csv")))
    check_refusals(lambda: open_speed_log(str(tmp_path / "none.csv")))


def test_the_planner_template(tmp_path: Path) -> None:
    path = tmp_path / "plans.jsonl"
    points = [[i * 0.1, i * 1.0, 0.0] for i in range(30)]
    cycles = [f'{{"time_s": {i / 10}, "engaged": true, "points": {points}}}' for i in range(20)]
    path.write_text("\n".join([*cycles, '{"time_s": 3, "engaged": false, "points": []}']))
    report = check_planner_tap(lambda: open_planner_log(str(path)))
    assert report.samples == {"/planner/trajectory": 20, "/signals/autonomy.engaged": 21}
    path.write_text(cycles[0].replace(str(points), str(points[:3])))
    with pytest.raises(ConformanceError, match=r"reaches 0\.2 s only"):
        check_planner_tap(lambda: open_planner_log(str(path)))
    path.write_text(cycles[0].replace(str(points), str([[t, x + 900, y] for t, x, y in points])))
    with pytest.raises(ConformanceError, match="in the ego frame"):
        check_planner_tap(lambda: open_planner_log(str(path)))
    path.write_text("{}")
    check_refusals(lambda: open_planner_log(str(path)))


def test_the_probe_template_and_the_shipped_probe(tmp_path: Path) -> None:
    def up(*names: str) -> Callable[[], None]:
        def bring_about() -> None:
            for interface in ("lo", "eth0", "wlan0", "wwan0"):
                (tmp_path / interface).mkdir(exist_ok=True)
                state = "up" if interface in names else "down"
                (tmp_path / interface / "operstate").write_text(state + "\n")

        return bring_about

    def lose() -> None:
        for interface in tmp_path.iterdir():
            (interface / "operstate").unlink()

    up("lo")()
    check_probe(
        lambda: open_kernel_probe(str(tmp_path)),
        [
            (up("lo"), Link("none")), (up("wwan0"), Link("cellular", metered=True)),
            (up("wwan0", "wlan0"), Link("wifi")), (up("eth0", "wlan0"), Link("ethernet")),
            (lose, Link("none")),
        ],
    )  # fmt: skip
    file = tmp_path / "link"
    check_probe(
        lambda: FileLink(file),
        [
            (lambda: None, Link("none")),
            (lambda: void(file.write_text("wifi metered")), Link("wifi", metered=True)),
            (lambda: void(file.write_text("nonsense")), Link("none")),
        ],
    )


def void(_: object) -> None:
    return None


class Probe:
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def link(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (OSError("no bus"), "raises OSError"),
        ("wifi", "gives a str"),
        (Link("wlan"), "'wlan' is no kind of link"),  # type: ignore[arg-type]
        (Link("cellular"), "would spend without a cap"),
    ],
)
def test_a_broken_probe_is_told_how(answer: Any, fault: str) -> None:
    with pytest.raises(ConformanceError, match=fault):
        check_probe(lambda: Probe(answer))


# Live -----------------------------------------------------------------------------------------


def test_a_feed_is_a_live_source_that_never_blocks() -> None:
    feed = LiveFeed(replace(TOLD, camera_channels=(), lidar_channels=()), waiting=10)

    def callbacks() -> None:
        for i in range(10):
            assert feed.put(SignalSample("ego.speed_mps", i * MS, 1.0))
        assert not feed.put(SignalSample("ego.speed_mps", 99 * MS, 1.0))

    assert check_live_source(lambda: feed, callbacks, expect=10).samples == {
        "/signals/ego.speed_mps": 10
    }
    assert feed.counts == {"agent is behind": 1}
    assert not feed.put(GOOD[0]) and feed.counts["over"] == 1


def test_a_feed_leaves_out_what_is_older() -> None:
    feed = LiveFeed(TOLD)
    for at in (1, 3, 2, 3):
        feed.put(SignalSample("ego.speed_mps", at * NS_PER_S, 0.0))
    feed.stop()
    assert [s.mono_ns // NS_PER_S for s in feed.samples()] == [1, 3, 3]
    assert feed.counts == {"older than the newest": 1}


def test_a_source_without_stop_is_no_live_one() -> None:
    with pytest.raises(ConformanceError, match=r"needs stop\(\)"):
        check_live_source(lambda: Given(*GOOD), lambda: None, expect=1)


# Commands -------------------------------------------------------------------------------------


def test_a_template_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    assert CliRunner().invoke(app, ["new", "planner_tap", str(path)]).exit_code == 0
    assert "PlannerLogSource" in path.read_text()
    again = CliRunner().invoke(app, ["new", "source", str(path)])
    assert isinstance(again.exception, LongtailError) and "PlannerLogSource" in path.read_text()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("can_map", can_logs.MAP),
        ("ros_map", ROS_MAP),
        ("camera_calibration", CALIBRATION),
        ("sources", "apiVersion: longtail/v1\nkind: Sources\nsources: [{address: 'sim:'}]"),
    ],
)
def test_files_fit_their_schema(kind: str, text: str) -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema", kind]).stdout)
    jsonschema.validate(parse_yaml(text, kind).value, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse_yaml(text + "\nmore: 1\n", kind).value, schema)


def test_the_check_command_tells_what_it_saw() -> None:
    seen = CliRunner().invoke(app, ["check", "sim:duration_s=5,lidar=0,camera=0", "--planner"])
    assert seen.exit_code == 0 and "/signals/ego.speed_mps" in seen.output
