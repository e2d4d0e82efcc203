"""Labels of any kind, and a small drive with two cameras, for the tests of formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import simplejpeg
from hypothesis import strategies as st

from contracts.clip import Cause, ClipManifest, Window
from contracts.clock import ClockQuality
from contracts.geometry import TAXONOMY, BevGrid, Box3D
from contracts.ids import EventKey
from contracts.labels import (
    LIGHT_STATES,
    EgoPose,
    FrameLabels,
    FrameRecord,
    LabelledBox,
    Provenance,
)
from contracts.samples import CalibrationSample, ImageSample
from kernels.clip.encoding import encode_mount, encode_sample
from kernels.clip.writer import write_clip
from offline.labels.formats.sequence import LabelSequence, write_sequence

OFFSET_NS = 1_700_000_000_000_000_123
INSTANTS = (1_000_000_000, 1_500_000_000, 2_000_000_000)
HUMAN = Provenance(source="human", made_by="ann")
AUTO = Provenance(source="auto", made_by="auto-labeller 1", digest="ab" * 32)


def camera(name: str = "front", yaw_rad: float = 0.0) -> CalibrationSample:
    """320 x 200 pixels, level, 1.5 m up, looking along a yaw."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    mount = np.eye(4)
    mount[:3, :3] = turn @ np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]])
    mount[:3, 3] = (1.4, 0.0, 1.5)
    k = np.array([[160.0, 0, 160.0], [0, 160.0, 100.0], [0, 0, 1.0]])
    return CalibrationSample(f"/camera/{name}", INSTANTS[0], 320, 200, k, mount, name)


CAMERAS = {one.channel: one for one in (camera(), camera("rear", np.pi))}


def box(x_m: float = 12.0, y_m: float = 1.0, class_name: str = "car", **changes: object) -> Box3D:
    values: dict[str, object] = {
        "centre_m": (x_m, y_m, 0.75), "size_m": (4.2, 1.8, 1.5), "yaw_rad": 0.2,
        "class_name": class_name, "velocity_mps": (3.0, -0.5), "track_id": 7,
    }  # fmt: skip
    return Box3D.model_validate(values | changes)


def frame(instant_ns: int, *boxes: LabelledBox, drive_id: str = "drive-1") -> FrameLabels:
    return FrameLabels(
        FrameRecord(drive_id=drive_id, mono_ns=instant_ns, boxes=boxes, provenance=AUTO)
    )


def small_sequence() -> LabelSequence:
    """A car ahead in all three frames, a pedestrian behind in the last two, an animal beside."""
    car = LabelledBox(box=box(), confidence=0.75, visibility=0.5, points=31, provenance=HUMAN)
    walker = LabelledBox(
        box=box(-8.0, -1.0, "pedestrian", track_id=9, size_m=(0.6, 0.7, 1.8)), confidence=0.9
    )
    animal = LabelledBox(box=box(0.0, 30.0, "animal", track_id=None), ignored=True)
    return LabelSequence(
        (frame(INSTANTS[0], car), frame(INSTANTS[1], car, walker),
         frame(INSTANTS[2], walker, animal, car))
    )  # fmt: skip


def write_drive(folder: Path, sequence: LabelSequence) -> Path:
    """A drive's folder whose clip holds both cameras' pictures, 50 ms before each instant."""
    folder.mkdir(parents=True, exist_ok=True)
    grey = np.linspace(0, 255, 200 * 320 * 3, dtype=np.uint8).reshape(200, 320, 3)
    content = simplejpeg.encode_jpeg(np.ascontiguousarray(grey), quality=60)
    messages = []
    for one in CAMERAS.values():
        messages += [encode_mount(one, OFFSET_NS), encode_sample(one, OFFSET_NS)]
    for instant in sequence.instants():
        messages += [
            encode_sample(
                ImageSample(one.channel, instant - 50_000_000, "jpeg", content, 0, 0, one.frame_id),
                OFFSET_NS,
            )
            for one in CAMERAS.values()
        ]
    with (folder / "clip.mcap").open("wb") as stream:
        write_clip(stream, manifest(), messages, {})
    write_sequence(sequence, folder)
    return folder


def manifest() -> ClipManifest:
    window = Window(start_mono_ns=INSTANTS[0] - 100_000_000, end_mono_ns=INSTANTS[-1])
    cause = Cause(
        trigger_id="any", trigger_version=1, spec_digest="0" * 64, kind="rule",
        fired_mono_ns=INSTANTS[0], start_mono_ns=window.start_mono_ns,
        end_mono_ns=window.end_mono_ns, score=1.0,
    )  # fmt: skip
    return ClipManifest(
        event=EventKey(
            vehicle_id="car-1", boot_id="boot-1", start_mono_ns=window.start_mono_ns,
            end_mono_ns=window.end_mono_ns,
        ),
        drive_id="drive-1", software_version="0", stream="triggered", causes=(cause,),
        requested=window, actual=window, utc_minus_mono_ns=OFFSET_NS,
        start_utc_ns=window.start_mono_ns + OFFSET_NS, duration_s=1.1,
        clock=ClockQuality(synchronised=True),
    )  # fmt: skip


_NUMBERS = st.floats(-80, 80, allow_nan=False)
_SHARES = st.floats(0, 1)


@st.composite
def labelled_boxes(draw: st.DrawFn, track_id: int | None) -> LabelledBox:
    velocity = draw(st.none() | st.tuples(_NUMBERS, _NUMBERS))
    kind = draw(st.sampled_from(TAXONOMY.names))
    lengths = st.floats(0.2, 20)
    solid = Box3D(
        centre_m=draw(st.tuples(_NUMBERS, _NUMBERS, st.floats(-3, 3))),
        size_m=draw(st.tuples(lengths, lengths, lengths)),
        yaw_rad=draw(st.floats(-3.14, 3.14)), class_name=kind, velocity_mps=velocity,
        track_id=track_id,
    )  # fmt: skip
    return LabelledBox(
        box=solid, confidence=draw(_SHARES), visibility=draw(st.none() | _SHARES),
        points=draw(st.none() | st.integers(0, 10_000)), ignored=draw(st.booleans()),
        provenance=draw(st.sampled_from([None, HUMAN])),
    )  # fmt: skip


@st.composite
def sequences(draw: st.DrawFn) -> LabelSequence:
    """One to three frames of up to four boxes; ground, light, pose and tags come and go."""
    found = []
    for instant in draw(st.lists(st.sampled_from(INSTANTS), min_size=1, unique=True)):
        tracks = draw(st.lists(st.integers(0, 5), max_size=4, unique=True))
        ids = [*tracks, *([None] * draw(st.integers(0, 2)))]
        ground = grid = None
        if draw(st.booleans()):
            grid = BevGrid(x_min_m=-3.5, y_min_m=0.1, cell_m=0.3, rows=3, columns=2)
            seed = draw(st.integers(0, 99))
            ground = np.random.default_rng(seed).choice(
                np.array([0, 1, 255], np.uint8), size=(2, 3, 2)
            )
        angle = draw(st.floats(-3, 3))
        pose = EgoPose(
            position_m=draw(st.tuples(_NUMBERS, _NUMBERS, _NUMBERS)),
            orientation_xyzw=(0.0, 0.0, float(np.sin(angle)), float(np.cos(angle))),
        )
        record = FrameRecord(
            drive_id="drive-1", mono_ns=instant, provenance=AUTO, ground_grid=grid,
            boxes=tuple(draw(labelled_boxes(track)) for track in ids),
            light=draw(st.none() | st.sampled_from(LIGHT_STATES)),
            ego_pose=draw(st.sampled_from([None, pose])),
            tags=draw(st.sampled_from([{}, {"tod": "night", "größe": "ä\n"}])),
        )  # fmt: skip
        found.append(FrameLabels(record, ground))
    return LabelSequence(tuple(sorted(found, key=lambda one: one.record.mono_ns)))


def assert_same(one: LabelSequence, two: LabelSequence) -> None:
    """To the last bit."""
    assert one.instants() == two.instants()
    for a, b in zip(one.frames, two.frames, strict=True):
        assert a.record == b.record
        assert (a.ground is None) == (b.ground is None)
        if a.ground is not None and b.ground is not None:
            np.testing.assert_array_equal(a.ground, b.ground)
