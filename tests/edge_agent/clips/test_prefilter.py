"""The pre-filter: what may go while a vehicle stands, and what must never go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from contracts.channels import BEV
from contracts.clock import NS_PER_S
from contracts.samples import (
    Cuboid,
    Detection,
    ImageSample,
    LidarSample,
    PerceptionFrame,
    SignalSample,
)
from contracts.trigger_spec import parse_spec
from edge_agent.clips.pack import DriveFacts, collect, prepare
from edge_agent.clips.prefilter import thin_out
from edge_agent.clips.sameness import PictureLook, SweepLook
from edge_agent.drive.ring import Ring
from edge_agent.selection.capture import CaptureBook, ClipJob
from kernels.clip import schemas
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.clip.perception import encode_perception
from kernels.clip.reader import read_manifest
from kernels.triggers.engine import Fire
from tests.edge_agent.clips.test_packer import FACTS, Vehicle

HZ = 10
LENGTH_S = 12
FIRE_S = 2.0
"""The window's end, where the vehicle stands, is far from the fire."""

SHAPE = (360, 640, 3)
U8s = NDArray[np.uint8]


def job(kind: str = "expression", more: str = "", capture: str = "") -> ClipJob:
    when = "when: ego.speed_mps >= 0\n" if kind == "expression" else ""
    when = "when: {probability: 1.0}\n" if kind == "random_baseline" else when
    text = (
        f"apiVersion: longtail/v1\nkind: {kind}\nid: t\nversion: 1\nowner: x\n{when}{more}"
        f"capture: {{pre: 2s, post: {LENGTH_S}s{capture}}}\n"
    )
    book = CaptureBook("v", "b")
    at_ns = round(FIRE_S * NS_PER_S)
    book.add(Fire(parse_spec(text, "t.yaml"), at_ns, at_ns, at_ns, 1.0, {}, ""))
    (made,) = book.flush()
    return made


def street(seed: int = 0) -> U8s:
    """A street as a camera sees it: broad surfaces, and things of all sizes."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[:170] = (150, 170, 200)
    pixels[170:] = (90, 90, 95)
    for _ in range(60):
        y, x = rng.integers(130, 330), rng.integers(0, 600)
        h, w = rng.integers(8, 80, 2)
        pixels[y : y + h, x : x + w] = rng.integers(30, 220, 3)
    return pixels


@cache
def noise(number: int) -> NDArray[np.int16]:
    return np.rint(np.random.default_rng(number).normal(0, 2.5, SHAPE)).astype(np.int16)


_ENCODED: dict[tuple[int, int], bytes] = {}


def jpeg(pixels: U8s, number: int) -> bytes:
    """As a sensor gives it: with noise of its own in every frame, of seven kinds."""
    key = hash(pixels.tobytes()), number % 7
    if key not in _ENCODED:
        noisy = np.clip(pixels + noise(number % 7), 0, 255).astype(np.uint8)
        _ENCODED[key] = bytes(simplejpeg.encode_jpeg(noisy, quality=85))
    return _ENCODED[key]


@cache
def walls(number: int) -> NDArray[np.float64]:
    """Walls at 25 m, points jittering by a centimetre."""
    rng = np.random.default_rng(number)
    angle = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    points = np.stack([25 * np.cos(angle), 25 * np.sin(angle), np.sin(9 * angle)], axis=1)
    return np.asarray(points + rng.normal(0, 0.01, points.shape))


def sweep(seed: int, extra: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    points = walls(seed % 7)
    return (points if extra is None else np.concatenate([points, extra])).astype(np.float32)


_SPREAD = np.random.default_rng(5).normal(0, 0.15, (8, 3))
PERSON = (_SPREAD + np.array([14.0, 3.0, 0.8])).astype(np.float32)

Scene = Callable[[float], U8s]
STREET = street()
STILL: Scene = lambda t: STREET  # noqa: E731


def clip(
    picture: Scene = STILL,
    speed: Callable[[float], float] = lambda t: 0.0,
    points: Callable[[float, int], NDArray[np.float32]] = lambda t, n: sweep(n),
    detections: Callable[[float], tuple[Detection, ...]] = lambda t: (),
) -> list[EncodedMessage]:
    made: list[EncodedMessage] = []
    for number in range(LENGTH_S * HZ):
        at_s = number / HZ
        at_ns = number * NS_PER_S // HZ
        made.append(encode_sample(SignalSample("ego.speed_mps", at_ns, speed(at_s)), 0))
        content = jpeg(picture(at_s), number)
        made.append(encode_sample(ImageSample("/camera/a", at_ns, "jpeg", content, 0, 0, "a"), 0))
        xyz = points(at_s, number)
        intensity = np.zeros(len(xyz), np.uint8)
        made.append(encode_sample(LidarSample("/lidar/top", at_ns, xyz, intensity, "l"), 0))
        frame = PerceptionFrame("/camera/a", at_ns, "0" * 64, detections(at_s), 0.1, 0.9)
        made.extend(encode_perception(frame, 0))
    return made


def times(messages: object, channel: str = "/camera/a") -> list[float]:
    return [m.mono_ns / NS_PER_S for m in messages if m.channel == channel]  # type: ignore[attr-defined]


def test_a_still_street_is_kept_once_a_second() -> None:
    messages = clip()
    thinned = thin_out(job(), messages)
    kept = times(thinned.messages)
    # All of it around the fire and until it has stood for a second, then one in a second.
    assert [t for t in kept if t <= 3.0] == [n / HZ for n in range(31)]
    later = [t for t in kept if t > 3.0]
    assert len(later) == pytest.approx(LENGTH_S - 3, abs=1.1)
    assert max(np.diff(kept)) <= 1.1 + 1e-9
    assert times(thinned.messages, "/lidar/top") == kept
    assert thinned.left_out == {"/camera/a": 120 - len(kept), "/lidar/top": 120 - len(kept)}
    # What is small and says what happened stays whole.
    for channel in ("/signals/ego.speed_mps", "/perception/a", "/perception/a/annotations"):
        assert times(thinned.messages, channel) == times(messages, channel)


def test_the_manifest_tells_what_was_left_out() -> None:
    thinned = thin_out(job(), clip())
    manifest = prepare(job(), thinned.messages, FACTS, thinned.left_out).manifest
    assert manifest.left_out == thinned.left_out
    assert manifest.summary.image_frames == len(times(thinned.messages))
    assert isinstance(FACTS, DriveFacts)


def test_a_packed_clip_is_thinned_and_says_so(tmp_path: Path) -> None:
    vehicle = Vehicle(tmp_path, quota_bytes=10**8)
    messages = clip()
    vehicle.packer.submit(job(), messages)
    vehicle.packer.finish()
    (entry,) = vehicle.spool.queue()
    manifest = read_manifest(vehicle.spool.path(entry.clip_id))
    assert manifest.left_out.keys() == {"/camera/a", "/lidar/top"}
    channels = {channel.name: channel.messages for channel in manifest.channels}
    for name, count in manifest.left_out.items():
        assert channels[name] + count == LENGTH_S * HZ


def test_a_vehicle_that_moves_keeps_everything() -> None:
    messages = clip(speed=lambda t: 0.3)
    assert thin_out(job(), messages).messages == messages


def test_a_vehicle_of_unknown_speed_keeps_everything() -> None:
    messages = [m for m in clip() if m.channel != "/signals/ego.speed_mps"]
    assert thin_out(job(), messages).messages == messages
    broken = clip(speed=lambda t: float("nan"))
    assert thin_out(job(), broken).messages == broken


@pytest.mark.parametrize("kind", ["hard_brake", "random_baseline"])
def test_safety_clips_and_the_random_stream_are_left_whole(kind: str) -> None:
    messages = clip()
    assert thin_out(job(kind), messages).messages == messages


def instant_after(at_s: float, kept: list[float]) -> bool:
    return any(abs(t - at_s) < 0.051 for t in kept)


def pedestrian(picture: U8s, x: int, colour: tuple[int, int, int] = (20, 20, 30)) -> U8s:
    """Someone 60 m away: 6 by 15 of 640 x 360 pixels."""
    made = picture.copy()
    made[175:190, x : x + 6] = colour
    return made


def test_a_distant_pedestrian_in_the_picture_alone_survives() -> None:
    """Neither model nor lidar sees them; no bit of the hash need change."""
    messages = clip(picture=lambda t: pedestrian(STREET, 400) if 6.25 < t < 6.45 else STREET)
    one, other = (PictureLook.of(p) for p in (STREET, pedestrian(STREET, 400)))
    assert bin(one.hash64 ^ other.hash64).count("1") <= 3, "the hash alone would have missed them"
    kept = times(thin_out(job(), messages).messages)
    assert instant_after(6.3, kept), "they appear"
    assert instant_after(6.5, kept), "they are gone"


def test_a_pedestrian_who_walks_is_kept_all_the_way() -> None:
    messages = clip(picture=lambda t: pedestrian(STREET, 200 + int(8 * t * 5)) if t > 6 else STREET)
    kept = [t for t in times(thin_out(job(), messages).messages) if t > 6.05]
    assert len(kept) >= 0.8 * (LENGTH_S - 6.1) * HZ


def test_a_light_that_changes_is_kept() -> None:
    def light(t: float) -> U8s:
        made = STREET.copy()
        made[70:75, 400:405] = (220, 20, 20) if t < 7.05 else (20, 200, 60)
        return made

    kept = times(thin_out(job(), clip(picture=light)).messages)
    assert instant_after(7.1, kept)


def found(x: float = 100.0, name: str = "pedestrian", probability: float = 0.6) -> Detection:
    box = (x, 50.0, x + 10, 75.0)
    return Detection(box, name, probability, np.array([probability], np.float32))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: (found(),) if t > 6.55 else (),
        lambda t: (found(),) if t < 6.55 else (),
        lambda t: (found(140.0 if t > 6.55 else 100.0),),
        lambda t: (found(name="pedestrian" if t > 6.55 else "cyclist"),),
        lambda t: (found(), found(300.0)) if t > 6.55 else (found(),),
        lambda t: (found(probability=0.6 if t > 6.55 else 0.1),),
    ],
)
def test_a_detection_that_changes_keeps_its_instant(
    change: Callable[[float], tuple[Detection, ...]],
) -> None:
    kept = times(thin_out(job(), clip(detections=change)).messages)
    assert instant_after(6.6, kept)


def test_a_detection_of_another_view_counts_for_all() -> None:
    """A bird's-eye model's object that moves by half a metre keeps the cameras too."""
    messages = clip()
    for number in range(LENGTH_S * HZ):
        at_ns = number * NS_PER_S // HZ
        x = 20.0 if at_ns < 6.55 * NS_PER_S else 20.5
        cuboid = Cuboid((x, 0.0, 0.8), (0.6, 0.6, 1.7), 0.0, (0.0, 0.0))
        one = Detection(None, "pedestrian", 0.7, np.array([0.7], np.float32), cuboid)
        frame = PerceptionFrame(BEV, at_ns, "0" * 64, (one,), 0.1, 0.9)
        messages.extend(encode_perception(frame, 0))
    messages.sort(key=lambda m: m.mono_ns)
    assert instant_after(6.6, times(thin_out(job(), messages).messages))


def test_someone_whom_only_the_lidar_sees_survives() -> None:
    points = lambda t, n: sweep(n, PERSON if t > 6.55 else None)  # noqa: E731
    kept = times(thin_out(job(), clip(points=points)).messages, "/lidar/top")
    assert instant_after(6.6, kept)
    jitter = [SweepLook.of(sweep(n)) for n in range(8)]
    assert all(one.is_same(jitter[0]) for one in jitter)


def test_what_cannot_be_read_is_kept() -> None:
    messages = clip()
    torn = [
        replace(m, payload=m.payload[: len(m.payload) // 2])
        if m.schema_name == schemas.IMAGE
        else m
        for m in messages
    ]
    assert len(times(thin_out(job(), torn).messages)) == len(times(torn))


def test_channels_of_different_rates_are_held_against_themselves() -> None:
    messages = [m for m in clip() if m.channel != "/lidar/top" or m.mono_ns % (NS_PER_S // 2) == 0]
    thinned = thin_out(job(), messages).messages
    assert len(times(thinned)) < 55
    sweeps = times(thinned, "/lidar/top")
    assert max(np.diff(sweeps)) <= 1.5 + 1e-9


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.floats(0.2, 11.5), st.floats(0.0, 0.4)), max_size=4))
def test_every_stretch_in_motion_is_kept_whole(stretches: list[tuple[float, float]]) -> None:
    def speed(t: float) -> float:
        return 1.0 if any(begin <= t <= begin + length for begin, length in stretches) else 0.0

    kept = set(times(thin_out(job(), SHARED.with_speed(speed)).messages))
    for number in range(LENGTH_S * HZ):
        if speed(number / HZ) > 0:
            assert number / HZ in kept


class _Shared:
    """One clip's messages, made once: pictures cost time."""

    def __init__(self) -> None:
        self._messages: list[EncodedMessage] = []

    def with_speed(self, speed: Callable[[float], float]) -> list[EncodedMessage]:
        self._messages = self._messages or clip()
        return [
            encode_sample(SignalSample("ego.speed_mps", m.mono_ns, speed(m.mono_ns / NS_PER_S)), 0)
            if m.channel == "/signals/ego.speed_mps"
            else m
            for m in self._messages
        ]


SHARED = _Shared()


# Channels and rates that the spec did not ask for ------------------------------------------------


def in_ring() -> Ring:
    ring = Ring(50_000_000)
    for message in SHARED.with_speed(lambda t: 5.0):
        ring.push(message)
    return ring


def test_channels_that_were_not_asked_for_stay_out() -> None:
    asked = ', channels: ["/camera/*"], downsample: {"/camera/*": 5}'
    messages = collect(job(capture=asked), in_ring())
    assert {m.channel for m in messages} == {"/camera/a"}
    assert times(messages) == [n / 2 for n in range(LENGTH_S * 2)]


def merged(*captures: str) -> ClipJob:
    book = CaptureBook("v", "b")
    at_ns = round(FIRE_S * NS_PER_S)
    for number, capture in enumerate(captures):
        text = (
            f"apiVersion: longtail/v1\nkind: expression\nid: t{number}\nversion: 1\nowner: x\n"
            f"when: ego.speed_mps >= 0\ncapture: {{pre: 2s, post: {LENGTH_S}s, {capture}}}\n"
        )
        book.add(Fire(parse_spec(text, "t.yaml"), at_ns, at_ns, at_ns, 1.0, {}, ""))
    (made,) = book.flush()
    return made


def test_a_cause_that_asked_for_more_of_a_channel_overrules() -> None:
    every_fifth = 'channels: ["/lidar/*"], downsample: {"/lidar/*": 5}'
    every_second = 'channels: ["/lidar/*"], downsample: {"/lidar/*": 2}'
    everything = 'channels: ["/lidar/*"]'
    cameras = 'channels: ["/camera/*"], downsample: {"/camera/*": 10}'
    for captures, sweeps in (
        ((every_fifth, every_second), 60),
        ((every_fifth, everything), 120),
        # Of other channels it asked nothing: it neither thins nor widens them.
        ((every_fifth, cameras), 24),
        ((every_fifth, 'downsample: {"/camera/*": 2}'), 120),
    ):  # fmt: skip
        messages = collect(merged(*captures), in_ring())
        assert len(times(messages, "/lidar/top")) == sweeps, captures
