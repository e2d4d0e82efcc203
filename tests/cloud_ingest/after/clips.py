"""Clips with pictures in them, and a cloud whose steps a test runs itself."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import simplejpeg

from contracts.clip import Cause, ClipManifest
from contracts.clock import NS_PER_S
from contracts.samples import ImageSample
from contracts.steps import ClipSteps
from edge_agent.clips.summary import summarise_channels
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.clip.writer import write_clip
from tests.cloud_ingest.support import RunningServer, make_manifest

BEGIN_S = 10


def jpeg(seed: int, width: int = 96, height: int = 64) -> bytes:
    """A picture of few colours, others for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    return bytes(simplejpeg.encode_jpeg(blocks.repeat(16, 0).repeat(16, 1)))


def image(channel: str, at_s: float, content: bytes) -> EncodedMessage:
    at_ns = round(at_s * NS_PER_S)
    return encode_sample(ImageSample(channel, at_ns, "jpeg", content, 0, 0, "c"), 0)


def cause(trigger_id: str = "rare", at_s: float = BEGIN_S + 4, *, safety: bool = False) -> Cause:
    at_ns = round(at_s * NS_PER_S)
    return Cause(
        trigger_id=trigger_id, trigger_version=1, spec_digest="0" * 64, kind="rare_class",
        fired_mono_ns=at_ns, start_mono_ns=at_ns, end_mono_ns=at_ns, score=1.0, safety=safety,
    )  # fmt: skip


def picture_clip(
    vehicle_id: str = "car-1", start_s: int = BEGIN_S, frames: int = 21, **changes: Any
) -> tuple[bytes, ClipManifest]:
    """A clip of 10 s with two cameras, one of them at half the rate."""
    messages = []
    for k in range(frames):
        at_s = start_s + 10 * k / max(1, frames - 1)
        messages.append(image("/camera/front", at_s, jpeg(k)))
        if k % 2 == 0:
            messages.append(image("/camera/left", at_s, jpeg(1000 + k)))
    values: dict[str, Any] = {
        "utc_minus_mono_ns": 0,
        "causes": (cause(at_s=start_s + 4),),
        "channels": summarise_channels(messages),
    }
    manifest = make_manifest(vehicle_id, start_s * NS_PER_S, **(values | changes))
    stream = io.BytesIO()
    write_clip(stream, manifest, messages, {})
    return stream.getvalue(), manifest


def run_steps(cloud: RunningServer) -> int:
    """All that is due now; how many clips were worked on."""
    return cloud.run(cloud.app.state.service.after.runner.run_until_idle())


def steps_of(http: httpx.Client, clip_id: str) -> ClipSteps:
    answer = http.get(f"/v1/clips/{clip_id}/steps")
    assert answer.status_code == 200, answer.text
    return ClipSteps.model_validate_json(answer.content)


def states(found: ClipSteps) -> dict[str, str]:
    return {each.step: each.state for each in found.steps}
