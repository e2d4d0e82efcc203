"""Pack: a capture job and its messages become a clip file.

`prepare` is pure and deterministic; `write_active` does the writing. What the clip says about
itself (windows, gaps, summary, embedding, scene hash) is computed here from the very messages
that go in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from contracts import SOFTWARE_VERSION
from contracts.clip import MOST_SCENES, ClipManifest, Window
from contracts.clock import NS_PER_MS, ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.samples import ImageSample
from contracts.scenes import Scene
from contracts.upload import UploadRequest
from edge_agent.clips.arranged import Pace, with_others
from edge_agent.clips.summary import (
    clip_embedding,
    frames_of,
    summarise,
    summarise_channels,
)
from edge_agent.drive.ring import Ring
from edge_agent.drive.ring_window import RingWindow
from edge_agent.perception.pixels import decode_pixels
from edge_agent.selection.capture import ClipJob
from edge_agent.selection.scene_of import scene_of
from kernels.clip import schemas
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage, encode_log, heads_of
from kernels.clip.writer import WrittenClip, write_clip
from kernels.phash import phash64

EDGE_TOLERANCE_NS = 100 * NS_PER_MS
"""A window that misses less than this of what was asked counts as whole."""


@dataclass(frozen=True, slots=True)
class DriveFacts:
    """What is the same for all clips of a drive."""

    drive_id: str
    utc_minus_mono_ns: int
    clock: ClockQuality
    model_digest: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PreparedClip:
    """A clip described; its messages may be read only now, from where they lie."""

    manifest: ClipManifest
    messages: Sequence[EncodedMessage]
    spec_texts: Mapping[str, str]


def collect(job: ClipJob, ring: Ring) -> RingWindow:
    """A job's messages as the ring holds them now: latched ones first, then by time."""
    start_ns = job.requested.start_mono_ns
    if ring.lost_until_ns is not None:
        start_ns = max(start_ns, ring.lost_until_ns + 1)
    end_ns = job.requested.end_mono_ns
    return ring.window(start_ns, end_ns, job.wants, job.keep_every, latched=True)


def prepare(
    job: ClipJob,
    messages: Sequence[EncodedMessage],
    facts: DriveFacts,
    left_out: Mapping[str, int] | None = None,
    paced: Pace = iter,
) -> PreparedClip:
    """Complete a clip. The same job and messages give the same result, whenever it runs.

    `left_out` counts the messages of each channel that the pre-filter took away. The messages are
    gone through as fast as `paced` gives them; read are those only that the description is made of.
    """
    times = [head.mono_ns for head in heads_of(messages)] or [job.event.start_mono_ns]
    actual = Window(start_mono_ns=min(times), end_mono_ns=max(times))
    causes = [
        encode_log(
            min(max(cause.fired_mono_ns, actual.start_mono_ns), actual.end_mono_ns),
            facts.utc_minus_mono_ns,
            cause.trigger_id,
            f"{cause.trigger_id} v{cause.trigger_version}: {cause.kind} {cause.evidence_text} "
            f"score {cause.score:g} {cause.evidence}",
        )
        for cause in job.causes
    ]
    complete = with_others(messages, causes)
    middle_ns = (actual.start_mono_ns + actual.end_mono_ns) // 2
    frames = frames_of(messages, paced)
    embedding = clip_embedding(frames, facts.model_digest) if facts.model_digest else None
    manifest = ClipManifest(
        event=job.event,
        drive_id=facts.drive_id,
        software_version=SOFTWARE_VERSION,
        stream="random" if job.stream == "random" else "triggered",
        inclusion_probability=job.inclusion_probability,
        causes=job.causes,
        requested=job.requested,
        actual=actual,
        utc_minus_mono_ns=facts.utc_minus_mono_ns,
        clock=facts.clock,
        model_digest=facts.model_digest,
        channels=summarise_channels(paced(complete.heads())),
        summary=summarise(
            messages, frames, facts.labels, middle_ns + facts.utc_minus_mono_ns, paced
        ),
        embedding=embedding,
        scene_hash=_scene_hash(messages, job.causes[0].fired_mono_ns),
        scenes=_scenes(job, messages, facts.model_digest),
        left_out=dict(left_out or {}),
    )
    names = {f"{s.spec.id}-v{s.spec.version}.yaml": s.text for s in job.specs}
    return PreparedClip(manifest, complete, names)


def _scenes(
    job: ClipJob, messages: Sequence[EncodedMessage], model_digest: str | None
) -> tuple[Scene, ...]:
    """What each trigger met, where it is known; one scene for a trigger."""
    found: dict[str, Scene] = {}
    for cause in job.causes[:MOST_SCENES]:
        if cause.trigger_id not in found:
            scene = scene_of(cause, messages, model_digest)
            if scene is not None:
                found[cause.trigger_id] = scene
    return tuple(found.values())


def _scene_hash(messages: Sequence[EncodedMessage], at_ns: int) -> str | None:
    """Perceptual hash, 16 hex digits, of the camera frame nearest to the fire."""
    images = [
        (abs(head.mono_ns - at_ns), head.channel, index)
        for index, head in enumerate(heads_of(messages))
        if head.schema_name == schemas.IMAGE
    ]
    decoder = OwnDecoder()
    for _, _, index in sorted(images):
        sample = decoder.decode(messages[index])
        if isinstance(sample, ImageSample):
            try:
                return f"{phash64(decode_pixels(sample)):016x}"
            except (CorruptError, InputError):
                continue  # a broken picture is no reason to lose the clip: the next one serves
    return None


def is_partial(manifest: ClipManifest) -> bool:
    """True when the clip holds less of its window than was asked."""
    missing_head = manifest.actual.start_mono_ns - manifest.requested.start_mono_ns
    missing_tail = manifest.requested.end_mono_ns - manifest.actual.end_mono_ns
    return max(missing_head, missing_tail) > EDGE_TOLERANCE_NS


def write_active(stream: BinaryIO, clip: PreparedClip, paced: Pace = iter) -> WrittenClip:
    """Write the file and close it, the messages as fast as `paced` gives them.

    Raises `OSError` (a full disk): then it is of no worth.
    """
    with stream:
        return write_clip(stream, clip.manifest, paced(clip.messages), clip.spec_texts)


def declared_scenes(manifest: ClipManifest) -> tuple[Scene, ...]:
    """The scenes by which the fleet may have enough of a clip; none where people asked for it."""
    asked_for = any(cause.kind == "operator_bookmark" for cause in manifest.causes)
    return () if asked_for else manifest.scenes


def upload_request(manifest: ClipManifest, written: WrittenClip) -> UploadRequest:
    """What the vehicle declares to the receiver about a clip."""
    return UploadRequest(
        clip_id=written.clip_id,
        size_bytes=written.size_bytes,
        part_digests=written.part_digests,
        event=manifest.event,
        window=manifest.actual,
        trigger_ids=tuple(dict.fromkeys(cause.trigger_id for cause in manifest.causes)),
        safety=manifest.safety,
        stream=manifest.stream,
        scene_hash=manifest.scene_hash,
        scenes=declared_scenes(manifest),
    )
