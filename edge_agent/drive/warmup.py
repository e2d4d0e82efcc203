"""Load every compiled kernel of the hot path before the drive, so that no frame pays for it.

numba reads a cached kernel on its first call (tens of milliseconds) and compiles it where
there is no cache (seconds): both belong before the first sample.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from contracts.samples import ImageSample, LidarSample, SignalSample
from edge_agent.perception.pixels import decode_pixels
from edge_agent.perception.views import look, trial_view
from edge_agent.ports import PerceptionModel
from edge_agent.signals.derive import SignalTable
from kernels.clip.encoding import encode_sample
from kernels.phash import phash64
from kernels.triggers.engine import TickInputs, TriggerEngine, absent_values

_SIDE = 64


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
    engine = TriggerEngine([], "warm-up", ("",))
    engine.step(TickInputs(0, absent_values()))
    table = SignalTable(frozenset({"ego.speed_mps"}))
    for i in range(4):
        table.put(SignalSample("ego.speed_mps", i * 200_000_000, 1.0))
    if model is not None:
        look(model, trial_view(model))
    if camera:
        png = ImageSample("/camera/warm-up", 0, "png", _small_png(), _SIDE, _SIDE, "")
        pixels = decode_pixels(png)
        phash64(pixels)
    if lidar:
        angles = np.linspace(0.0, 6.0, 4000, dtype=np.float32)
        xyz = np.stack([10 * np.cos(angles), 10 * np.sin(angles), 0 * angles], axis=1)
        ring = np.repeat(np.arange(4, dtype=np.uint16), 1000)
        for rings in (None, ring):
            sweep = LidarSample(
                "/lidar/warm-up", 0, xyz, np.zeros(len(xyz), np.uint8), "", rings, None
            )
            encode_sample(sweep, 0)
