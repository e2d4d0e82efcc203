"""Clips as history: what specs would have fired inside clips that were kept.

A clip holds every signal that its vehicle had, derived ones too, and what the model saw, so its
ticks can be made again on the vehicle's own grid. Signals that were still fresh from before the
clip's first message are absent, and so is the state that a condition had then: fires within a
condition's memory of the clip's beginning may be missed.

Clips are chosen moments. They tell what a spec would gain or lose among them; no rate per hour
follows from them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.channels import PERCEPTION_PREFIX, PLAN, SIGNAL_PREFIX
from contracts.clip import ClipManifest
from contracts.ids import Name
from contracts.samples import PerceptionFrame, PlanSample, SignalSample
from contracts.signal_log import LoggedLimits, SignalLogHeader
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from contracts.trigger_spec import LoadedSpec
from edge_agent.drive.drive import TICK_NS
from edge_agent.signals.derive import SignalTable
from kernels.backtest.drives import logged_drives
from kernels.backtest.replay import ReplayedDrive, replay
from kernels.clip.decoding import PayloadDecoder
from kernels.clip.reader import read_manifest, read_messages
from kernels.signal_log import SignalChunk, encode_chunk, encode_end, encode_header
from kernels.triggers.likeness import references_of

Inputs = SignalSample | PerceptionFrame | PlanSample


@dataclass(frozen=True, slots=True)
class ClipFires:
    """What specs would have fired in one clip."""

    clip: Path
    drive: ReplayedDrive

    def ids(self) -> tuple[str, ...]:
        """Triggers that would have asked for a clip, each once."""
        fired = (f.cause.trigger_id for f in self.drive.fires if f.outcome == "fire")
        return tuple(dict.fromkeys(fired))


def fires_in_clips(specs: Sequence[LoadedSpec], clips: Sequence[Path]) -> list[ClipFires]:
    """Run specs over each clip by itself, in the order of files."""
    found = []
    with tempfile.TemporaryDirectory(prefix="longtail-clips-") as folder:
        for clip in clips:
            (drive,) = logged_drives([clip_as_log(clip, Path(folder), specs)])
            found.append(ClipFires(clip, replay(specs, [drive])[0]))
    return found


def clip_as_log(clip: Path, folder: Path, specs: Sequence[LoadedSpec] = ()) -> Path:
    """Write the clip's ticks as a signal log into `folder`; returns the file.

    The likeness to a scene that a spec looks for is told where the clip's own model made it.

    Raises `CorruptError` for a file that is not a whole clip.
    """
    manifest = read_manifest(clip)
    samples = list(_trigger_inputs(clip, manifest))
    names = sorted(
        {d.class_name for s in samples if isinstance(s, PerceptionFrame) for d in s.detections}
    )
    measured = {s.name for s in samples if isinstance(s, SignalSample)}
    references = references_of(specs, manifest.model_digest or "")
    header = SignalLogHeader(
        software_version=manifest.software_version,
        vehicle_id=manifest.event.vehicle_id,
        boot_id=manifest.event.boot_id,
        drive_id=_name_of(clip),
        utc_minus_mono_ns=manifest.utc_minus_mono_ns,
        drive_start_mono_ns=0,
        signals=tuple(signal.name for signal in CATALOGUE),
        class_names=(*names, *references),
        model_digest=manifest.model_digest,
        limits=LoggedLimits(
            clips_per_day=0, bytes_per_day=0, safety_reserve_ratio=0.0, random_reserve_ratio=0.0
        ),
    )
    chunk = _ticks(samples, SignalTable(frozenset(measured), tuple(names), references))
    target = folder / f"{header.drive_id}.ltsl"
    start_ns = int(chunk.now_ns[0]) if len(chunk) else 0
    content = encode_header(header.model_copy(update={"drive_start_mono_ns": start_ns}))
    if len(chunk):
        content += encode_chunk(chunk)
    target.write_bytes(content + encode_end(len(chunk)))
    return target


def _name_of(clip: Path) -> Name:
    """The clip's name as a drive's: a clip is found again by it."""
    name = "".join(c if c.isalnum() and c.isascii() else "-" for c in clip.stem)
    return name.strip("-")[:100] or "clip"


def _trigger_inputs(clip: Path, manifest: ClipManifest) -> Iterator[Inputs]:
    """Signals, perception and plans alone: images and sweeps are not decoded."""
    decoder = PayloadDecoder()
    for message in read_messages(clip):
        if not message.channel.startswith((SIGNAL_PREFIX, PERCEPTION_PREFIX, PLAN)):
            continue
        mono_ns = message.log_ns - manifest.utc_minus_mono_ns
        sample = decoder.decode(message.schema, message.channel, mono_ns, message.payload)
        match sample:
            case PerceptionFrame() | PlanSample():
                yield sample
            case SignalSample() if sample.name in SIGNAL_INDEX:
                yield sample


def _ticks(samples: Sequence[Inputs], table: SignalTable) -> SignalChunk:
    """All ticks of the clip, each on what was known before the sample that crosses it."""
    rows: list[tuple[int, np.ndarray, np.ndarray, int, float]] = []
    next_tick_ns = -(-samples[0].mono_ns // TICK_NS) * TICK_NS if samples else 0

    def run_until(mono_ns: int) -> int:
        at_ns = next_tick_ns
        while at_ns < mono_ns:
            scores = table.class_scores.copy()
            rows.append((at_ns, table.at(at_ns), scores, table.frame_number, table.horizon_s))
            at_ns += TICK_NS
        return at_ns

    for sample in samples:
        next_tick_ns = run_until(sample.mono_ns)
        match sample:
            case PerceptionFrame():
                table.put_perception(sample)
            case PlanSample():  # its divergence is a signal of the clip; this is its horizon
                table.horizon_s = float(sample.t_s[-1])
            case _:
                table.put(sample)
    if samples:
        run_until(samples[-1].mono_ns + TICK_NS)
    classes = len(table.class_scores)
    return SignalChunk(
        0,
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows]).reshape(len(rows), len(CATALOGUE)),
        np.array([row[2] for row in rows]).reshape(len(rows), classes),
        np.array([row[3] for row in rows], np.int64),
        np.array([row[4] for row in rows], np.float64),
        (),
    )
