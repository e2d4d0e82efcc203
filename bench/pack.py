"""Packing: from messages in the ring to a clip file, in raw sensor data a CPU-second.

Raw is what the sensors gave: pixels of six cameras, points of one lidar, as float32 coordinates
and a byte of intensity. They lie encoded in the ring already, since each sample is encoded once,
when it comes in. Packing copies them out, describes the clip (windows, gaps, summary, perceptual
hash), writes MCAP and digests every part on the way. Its physical limit on the same bytes is
SHA-256 and a write; `encoding` is what was paid before, while driving.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from bench.figures import Figure, figure, median_cpu_ns
from bench.ring import Frames
from bench.simulated_frames import FRAME_NS, SimulatedFrames
from contracts.clock import ClockQuality
from contracts.trigger_spec import parse_spec
from edge_agent.clips.pack import DriveFacts, collect, prepare, write_active
from edge_agent.selection.capture import CaptureBook, ClipJob
from kernels.clip.encoding import encode_sample
from kernels.triggers.engine import Fire

RING_BYTES = 128 * 2**20
SECONDS = 8.0
_BYTES_A_POINT = 13
_REPETITIONS = 7
_SPEC = """\
apiVersion: longtail/v1
kind: hard_brake
id: hard-brake
version: 1
owner: bench
capture: {{pre: {half}s, post: {half}s}}
"""
_FACTS = DriveFacts("bench", 0, ClockQuality(synchronised=False, source="none"), None, {})


def run(
    source: SimulatedFrames | None = None, seconds: float = SECONDS,
    repetitions: int = _REPETITIONS,
) -> list[Figure]:  # fmt: skip
    """All figures, for one clip of `seconds`."""
    source = source or SimulatedFrames()
    frames = Frames(source, RING_BYTES)
    count = round(seconds * 1e9 / FRAME_NS)
    for _ in range(count):
        frames.push()
    job = job_over(count)
    frame = source.frame(0)
    raw = count * (frame.pixels.nbytes + _BYTES_A_POINT * len(frame.sweep.xyz_m))
    samples = (*frame.motion, *frame.images, frame.sweep)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mcap"

        def pack() -> None:
            clip = prepare(job, collect(job, frames.ring), _FACTS)
            write_active(path.open("wb"), clip)

        pack()
        content = path.read_bytes()

        def limit() -> None:
            hashlib.sha256(content).digest()
            path.write_bytes(content)

        spent = median_cpu_ns(
            {
                "pack": pack, "limit": limit,
                "encode": lambda: [encode_sample(each, 0) for each in samples],
            },
            repetitions,
        )  # fmt: skip
    name = f"clip of {seconds:g} s, {raw / 1e9:.1f} GB raw, {len(content) / 1e6:.0f} MB packed"
    return [
        figure(f"{name}: raw sensor data packed", raw / spent["pack"], "GB/CPU-s", goal=">= 1"),
        figure(f"{name}: time", spent["pack"] / 1e6, "ms", reference="SHA-256 and a write of it",
               reference_value=spent["limit"] / 1e6),
        figure(f"{name}: encoding before, while driving", count * spent["encode"] / 1e6, "ms"),
        figure(f"{name}: raw over packed", raw / len(content), "ratio"),
    ]  # fmt: skip


def job_over(frames: int) -> ClipJob:
    """One clip of all that so many frames hold."""
    seconds = frames * FRAME_NS / 1e9
    spec = parse_spec(_SPEC.format(half=f"{seconds / 2:g}"), "bench")
    middle_ns = frames * FRAME_NS // 2
    book = CaptureBook("bench", "bench-1")
    book.add(Fire(spec, middle_ns, middle_ns, middle_ns, 1.0, {"decel_mps2": 4.0}, ""))
    (job,) = book.flush()
    return job
