"""Load every compiled kernel of the hot path before the drive, so that no frame pays for it.

numba reads a cached kernel on its first call (tens of milliseconds) and compiles it where
there is no cache (seconds): both belong before the first sample.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from contracts.channels import BEV
from contracts.samples import (
    Cuboid,
    Detection,
    ImageSample,
    LidarSample,
    MountSample,
    PerceptionFrame,
    SignalSample,
)
from contracts.trigger_spec import parse_spec
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.views import look, trial_view
from edge_agent.ports import PerceptionModel
from edge_agent.signals.derive import SignalTable
from edge_agent.signals.frame_signals import OF_FRAMES, FrameSignals
from edge_agent.signals.plan_match import parted_m
from kernels.clip.encoding import encode_sample
from kernels.lidar_codec import LidarPoints, decode_sweep, encode_sweep
from kernels.phash import phash64
from kernels.triggers.engine import TickInputs, TriggerEngine, absent_values

_SPEC = """\
apiVersion: longtail/v1
kind: jerk
id: warm-up
version: 1
owner: warm-up
when: {jerk_mps3: 12.0}
rate: {per_hour: 1}
capture: {pre: 1s, post: 1s}
"""
_SIDE = 64
_BEAMS = 16


def _small_png() -> bytes:
    """A grey picture, each line with another of PNG's five filters."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    lines = b"".join(bytes([y % 5]) + bytes(3 * _SIDE) for y in range(_SIDE))
    body = zlib.compress(lines)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def warm_up(model: PerceptionModel | None, *, camera: bool, lidar: bool) -> None:
    """Run each part of the hot path once on made-up input, with state of its own."""
    engine = TriggerEngine([parse_spec(_SPEC, "warm-up")], "warm-up", ("",))
    engine.step(TickInputs(0, absent_values()))
    table = SignalTable(frozenset({"ego.speed_mps"}))
    for i in range(4):
        table.put(SignalSample("ego.speed_mps", i * 200_000_000, 1.0))
    parted_m(np.zeros((1, 4)), 0, np.zeros(1), np.zeros((1, 2)))
    if model is not None:
        look(model, trial_view(model))
    if camera:
        png = ImageSample("/camera/warm-up", 0, "png", _small_png(), _SIDE, _SIDE, "")
        pixels = decode_pixels(png)
        phash64(pixels)
    if lidar:
        for sweep in _sweeps_of_each_layout():
            encode_sample(sweep, 0)
            points = LidarPoints(sweep.xyz_m, sweep.intensity, sweep.ring, sweep.time_offset_ns)
            decode_sweep(encode_sweep(points))
    if lidar or model is not None:
        _watch_frames(lidar)


def _sweeps_of_each_layout() -> Iterator[LidarSample]:
    """As each is coded another way: listed firing by firing or beam by beam, with the beams'
    numbers or without, and with a beam that met nothing.
    """
    fired = _sweep(0)
    fired.xyz_m[_BEAMS] = 0.0
    by_beam = np.arange(len(fired.xyz_m)).reshape(-1, _BEAMS).T.ravel()
    for order in (slice(None), by_beam):
        for ring in (fired.ring, None):
            yield replace(
                fired, xyz_m=fired.xyz_m[order], ring=None if ring is None else ring[order]
            )


def _sweep(mono_ns: int) -> LidarSample:
    """A turn of all beams, firing by firing: a street, and a wall across it."""
    turn = np.repeat(np.linspace(-np.pi, np.pi, 720), _BEAMS)
    fall = np.tile(np.linspace(-0.4, 0.02, _BEAMS), 720)
    street_m = 1.6 / np.maximum(np.tan(-fall), 0.04)
    wall_m = np.where(np.abs(turn) < 0.1, 15.0, np.inf)
    away_m = np.minimum(street_m, wall_m)
    xyz_m = np.stack([away_m * np.cos(turn), away_m * np.sin(turn), away_m * np.tan(fall)], axis=1)
    count = len(xyz_m)
    return LidarSample(
        "/lidar/warm-up", mono_ns, xyz_m.astype(np.float32), np.zeros(count, np.uint8), "warm-up",
        np.arange(count, dtype=np.uint16) % _BEAMS,
        np.linspace(-1e8, 0, count).astype(np.int32),
    )  # fmt: skip


def _watch_frames(lidar: bool) -> None:
    """Frames of two things, one behind the other, of which one is gone in the second."""
    watch = FrameSignals(OF_FRAMES)
    mount = np.eye(4)
    mount[2, 3] = 1.6
    watch.see(MountSample(0, "warm-up", mount))
    watch.see(SignalSample("ego.speed_mps", 0, 10.0))
    things = tuple(
        Detection(
            None, "", 0.9, np.ones(1, np.float32),
            Cuboid((x_m, 0.0, 0.8), (4.0, 1.8, 1.6), 0.0, (10.0, 0.0)),
        )
        for x_m in (20.0, 30.0)
    )  # fmt: skip
    for number, seen in enumerate((things, things[:1])):
        now_ns = number * 100_000_000
        if lidar:
            watch.see(_sweep(now_ns))
        watch.begin(now_ns)
        watch.of(PerceptionFrame(BEV, now_ns, "", seen, 0.0, 0.0))
