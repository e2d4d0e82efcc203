"""The whole agent at full sensor rate, at wall speed: is it in time, and does its memory stay flat.

Six cameras at 10 Hz (JPEG of 1600 x 900), sweeps of about 244,000 points at 10 Hz, signals and
poses at 50 Hz: a simulated drive is recorded once and played as live sensors would
(`bench.full_rate_source`). The agent is the one that vehicles run, with the shipped student on four
of the cameras (in two threads where there are two cores), all published triggers, the signal log,
and a rule beside them that keeps ten seconds of everything each minute, so that packing and the
spool are in it. The JPEG of the student's cameras is decoded in software, which a vehicle leaves to
hardware.

A frame is the hot path's share of one instant: pictures decoded, inputs made, network, triggers;
its times are wall times, so the percentiles hold on an idle machine only, while the ratio to the
model holds anywhere. A picture or a sweep that nobody takes in time is counted as dropped, and what
the agent judged and what it was offered must add up.
"""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.figures import Figure, figure
from bench.full_rate_source import BUFFER_NS, FullRateSource, recorded
from contracts.clock import Clock, SystemClock
from contracts.samples import ImageSample, LidarSample, Sample
from edge_agent.app import Agent, settle_interpreter
from edge_agent.config import load_config
from edge_agent.health.status import AgentReport

ZOO = Path(__file__).parents[1] / "models" / "zoo"
SECONDS = 600.0
_RECORDED_S = 8.0
_SETTLED = 0.2
"""Memory is compared from this share of the time on: before, ring and packer still fill."""
_KEEP = """apiVersion: longtail/v1
kind: expression
id: ten-seconds-a-minute
version: 1
owner: bench
when: ego.speed_mps >= 0
mode: level
cooldown: 1min
capture: {pre: 5s, post: 5s, channels: ['*']}
budget: {clips_per_day: 1000, bytes_per_day: 1TB}
"""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a run: the agent's word, the source's, and memory by second in MiB."""

    report: AgentReport
    source: FullRateSource
    rss_mib: list[float]
    cpu_s: float
    wall_s: float


def run(seconds: float = SECONDS, samples: list[Sample] | None = None) -> list[Figure]:
    """All figures; takes `seconds` and half a minute, and up to 4 GB below the working directory.

    Args:
        samples: a drive to play in place of the one that is recorded here.
    """
    samples = samples if samples is not None else recorded(_RECORDED_S)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-full-rate-") as folder:
        played = play(samples, seconds, Path(folder), SystemClock())
    return _figures(samples, played)


def play(samples: list[Sample], seconds: float, folder: Path, clock: Clock) -> Played:
    """Run the agent over them for so long."""
    spec = folder / "keep.yaml"
    spec.write_text(_KEEP, "utf-8")
    config = load_config(None, {
        "state": str(folder / "state"), "vehicle_id": "bench",
        "model": str(ZOO / "student-s.onnx"),
        "model_manifest": str(ZOO / "student-s.manifest.yaml"),
        "model_threads": min(2, len(os.sched_getaffinity(0))),
        "specs": [str(_published()), str(spec)],
        "ring": "700MB", "spool": {"quota": "3GB"},
        "budget": {"clips_per_day": 10_000, "bytes_per_day": "1TB"},
    })  # fmt: skip
    rss_mib: list[float] = []
    source = FullRateSource(
        samples, seconds, clock, threading.Event().wait, lambda _: rss_mib.append(_rss_mib())
    )
    agent = Agent(config, source, "full-rate", clock)
    settle_interpreter()
    began, spent = time.perf_counter(), _cpu_s()
    report = asyncio.run(agent.run(stay=False))
    return Played(report, source, rss_mib, _cpu_s() - spent, time.perf_counter() - began)


def _published() -> Path:
    import trigger_specs

    return Path(trigger_specs.__path__[0])


def _cpu_s() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _figures(samples: list[Sample], played: Played) -> list[Figure]:
    report, source = played.report, played.source
    timing = report.timing
    if timing is None:
        raise RuntimeError(f"no frame was judged: {report.blind_frames}")
    dropped = sum(source.counts.values())
    told = timing.frames + sum(report.blind_frames.values())
    front = next(channel for channel in source.offered if channel.startswith("/camera"))
    lost = sum(count for reason, count in source.counts.items() if reason.startswith(f"{front}:"))
    taken = source.offered[front] - lost
    settled = played.rss_mib[int(_SETTLED * len(played.rss_mib)) :]
    early, late = settled[: (len(settled) + 1) // 2], settled[len(settled) // 2 :]
    frames = [each for each in samples if isinstance(each, ImageSample)]
    points = [len(each.xyz_m) for each in samples if isinstance(each, LidarSample)]
    image_bytes = float(np.mean([len(each.content) for each in frames]))
    model_ms = timing.model_p50_ms
    offered = sum(source.offered.values())
    late_ns = source.lateness_ns or [BUFFER_NS]  # none was taken: all were later than that
    return [
        figure(f"played: {offered} pictures and sweeps, of them dropped", dropped, "of them"),
        figure("pictures of the leading camera that were taken, and neither judged nor told of",
               max(0, taken - told), "pictures", goal="<= 0"),
        figure(f"{timing.frames} frames at wall speed, p50", timing.p50_ms, "ms",
               reference="the model alone, p50", reference_value=model_ms),
        figure("the same, p99", timing.p99_ms, "ms", reference="the model alone, p50",
               reference_value=model_ms, goal="<= 50"),
        figure("time of a frame over the model's", 1 / timing.model_share, "ratio"),
        figure("a sweep is taken behind its time by, p99",
               float(np.percentile(late_ns, 99)) / 1e6, "ms",
               reference="a frame's period", reference_value=100.0),
        figure("memory at its most over its least, once settled",
               max(settled) / min(settled), "ratio", goal="<= 1.1"),
        figure("memory at its most in the later half of that, over the earlier half",
               max(late) / max(early), "ratio", goal="<= 1.02"),
        figure("memory at its most", max(played.rss_mib), "MiB"),
        figure("cores kept busy, all of the agent", played.cpu_s / played.wall_s, "cores"),
        figure("clips packed meanwhile", len(report.clips), "clips"),
        figure("a picture's JPEG", image_bytes / 1e3, "kB"),
        figure("a sweep's points, mean", float(np.mean(points)) / 1e3, "thousands"),
    ]  # fmt: skip
