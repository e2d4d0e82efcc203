"""A clip replayed: what was packed comes back; a broken one up to the break, and says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contracts.clip import ChannelSummary, ClipManifest, ClipSummary, Window
from contracts.clock import ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.ids import EventKey
from contracts.samples import (
    CalibrationSample,
    Detection,
    ImageSample,
    MountSample,
    PerceptionFrame,
    Sample,
    SignalSample,
)
from edge_agent.kit.conformance import check_planner_tap
from edge_agent.ports import SourceDescription
from edge_agent.sources.registry import open_source
from edge_agent.sources.sim.options import SimOptions
from edge_agent.sources.sim.source import SimSource
from kernels.clip.encoding import EncodedMessage, encode_mount, encode_sample
from kernels.clip.perception import encode_perception
from kernels.clip.writer import write_clip


def _manifest(
    told: SourceDescription, samples: list[Sample], messages: list[EncodedMessage]
) -> ClipManifest:
    start, end = samples[0].mono_ns, samples[-1].mono_ns
    window = Window(start_mono_ns=start, end_mono_ns=end)
    names = sorted({message.channel for message in messages})
    return ClipManifest(
        event=EventKey(vehicle_id="v", boot_id=told.boot_id, start_mono_ns=start, end_mono_ns=end),
        drive_id=told.drive_id,
        software_version="test",
        stream="random",
        inclusion_probability=0.5,
        causes=(),
        requested=window,
        actual=window,
        utc_minus_mono_ns=told.utc_minus_mono_ns,
        clock=ClockQuality(synchronised=True),
        channels=tuple(
            ChannelSummary(name=name, schema_name="x", messages=1, payload_bytes=1)
            for name in names
        ),
        summary=ClipSummary(weather="clear", tod="day"),
    )


@pytest.fixture(scope="module")
def drive() -> tuple[SourceDescription, list[Sample]]:
    source = SimSource(SimOptions(seed=2, duration_s=8.0))
    return source.describe(), list(source.samples())


@pytest.fixture(scope="module")
def clip(
    drive: tuple[SourceDescription, list[Sample]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    told, samples = drive
    offset = told.utc_minus_mono_ns
    assert isinstance(samples[0], CalibrationSample)
    found = Detection((1, 2, 3, 4), "car", 0.5, np.array([0.5], np.float32))
    frame = PerceptionFrame(
        "/camera/front", samples[0].mono_ns, "ab" * 32, (found,), 0.1, 0.2, None
    )
    messages = [
        encode_mount(samples[0], offset),
        *encode_perception(frame, offset),
        *(encode_sample(sample, offset) for sample in samples),
    ]
    path = tmp_path_factory.mktemp("clip") / "drive 1.mcap"
    with path.open("wb") as stream:
        write_clip(stream, _manifest(told, samples, messages), messages, {})
    return path


def test_a_replayed_clip_gives_the_drive_back(
    clip: Path, drive: tuple[SourceDescription, list[Sample]]
) -> None:
    told, samples = drive
    source = open_source(f"mcap:{clip}")
    camera_mount, *replayed = source.samples()
    assert isinstance(camera_mount, MountSample)
    assert [(type(s), s.mono_ns) for s in replayed] == [(type(s), s.mono_ns) for s in samples]
    for was, now in zip(samples, replayed, strict=True):
        if isinstance(was, SignalSample):
            assert was == now
        elif isinstance(was, ImageSample):
            assert isinstance(now, ImageSample) and bytes(now.content) == bytes(was.content)
    again = source.describe()
    assert (again.drive_id, again.boot_id) == (told.drive_id, told.boot_id)
    assert again.utc_minus_mono_ns == told.utc_minus_mono_ns
    assert again.signals == told.signals and again.labels == {"weather": "clear", "tod": "day"}
    assert again.camera_channels == ("/camera/front",)
    assert again.lidar_channels == ("/lidar/top",)
    assert again.has_pose and again.has_plan and again.has_radar


def test_a_cut_clip_is_given_up_to_the_break(
    clip: Path, drive: tuple[SourceDescription, list[Sample]], tmp_path: Path
) -> None:
    told, samples = drive
    whole = clip.read_bytes()
    assert len(whole) > 5_000_000  # more than one chunk
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: len(whole) * 9 // 10])
    source = open_source(f"mcap:{cut}")
    again = source.describe()
    assert not again.clock.synchronised and again.utc_minus_mono_ns == 0
    assert "ego.speed_mps" in again.signals and again.boot_id == "recovered-cut"
    replayed: list[Sample] = []
    with pytest.raises(CorruptError, match=r"cut.mcap:offset [1-9]\d{6,}: .*whole up to here"):
        replayed.extend(source.samples())
    assert 100 < len(replayed) < len(samples)
    for was, now in zip(samples, replayed[1:], strict=False):  # the camera's mount is first
        assert now.mono_ns == was.mono_ns + told.utc_minus_mono_ns


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mcap"
    path.write_bytes(b"not a clip at all")
    with pytest.raises(CorruptError, match=r"x\.mcap"):
        open_source(f"mcap:{path}")
    with pytest.raises(InputError, match="not a file"):
        open_source(f"mcap:{tmp_path}")


def test_a_clip_conforms_to_what_sources_promise(clip: Path) -> None:
    assert check_planner_tap(lambda: open_source(f"mcap:{clip}")).notes == ()
