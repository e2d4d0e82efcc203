"""Redaction of images: what is covered, that nothing leaves unjudged, and a whole agent with it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import CorruptError, InputError
from contracts.samples import Detection, ImageSample, PerceptionFrame, SignalSample
from edge_agent.cli import BUNDLED_MODEL
from edge_agent.config import AgentConfig, RedactionConfig
from edge_agent.redaction.images import (
    Box,
    CameraMasks,
    DetectedRegions,
    ImageRedaction,
    Pixels,
    cover,
)
from edge_agent.redaction.opening import open_image_redaction
from edge_agent.spool.folder import CLIP_SUFFIX
from kernels.clip.decoding import OwnDecoder
from kernels.clip.encoding import EncodedMessage, encode_sample
from kernels.clip.reader import read_samples
from tests.edge_agent.agent_drives import driven

FRONT, REAR = "/camera/front", "/camera/rear"


def noise(seed: int = 0, height: int = 48, width: int = 64) -> Pixels:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def image(channel: str = FRONT, content: bytes | None = None, at_ns: int = 5) -> EncodedMessage:
    made = content if content is not None else simplejpeg.encode_jpeg(noise(), quality=95)
    return encode_sample(ImageSample(channel, at_ns, "jpeg", bytes(made), 0, 0, "cam"), 0)


def pixels_of(message: EncodedMessage) -> Pixels:
    sample = OwnDecoder().decode(message)
    assert isinstance(sample, ImageSample)
    found: Pixels = simplejpeg.decode_jpeg(bytes(sample.content), colorspace="RGB")
    return found


class Finder:
    """A detector that finds what it is told, or fails as it is told."""

    digest = "0" * 64
    class_names = ("face", "plate", "tree")

    def __init__(self, *found: tuple[str, float, Box], fails: Exception | None = None) -> None:
        self._found = found
        self._fails = fails

    def detect(self, image: ImageSample, pixels: Pixels) -> PerceptionFrame:
        if self._fails is not None:
            raise self._fails
        detections = tuple(
            Detection(box, name, probability, np.zeros(3, np.float32))
            for name, probability, box in self._found
        )
        return PerceptionFrame(image.channel, image.mono_ns, self.digest, detections, 0.0, 1.0)


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(*[st.floats(-100, 200)] * 4), st.sampled_from(["fill", "pixelate"]),
    st.integers(0, 100),
)  # fmt: skip
def test_a_region_is_covered_whole_and_nothing_else(box: Box, style: str, seed: int) -> None:
    before = noise(seed)
    after = before.copy()
    cover(after, box, style)  # type: ignore[arg-type]
    x0, y0, x1, y1 = box
    inside = np.zeros(before.shape[:2], bool)
    rows = slice(max(0, int(np.floor(y0))), max(0, int(np.ceil(y1))))
    inside[rows, max(0, int(np.floor(x0))) : max(0, int(np.ceil(x1)))] = True
    assert np.array_equal(after[~inside], before[~inside])
    if inside.any() and style == "fill":
        assert not after[inside].any()
    if inside.sum() >= 16 and style == "pixelate":
        # At most 6 x 6 cells, or single pixels where the region has no more of them.
        assert len(np.unique(after[inside], axis=0)) <= min(36, int(inside.sum()))


def test_masks_are_parts_of_their_own_cameras_image() -> None:
    redact = ImageRedaction([CameraMasks({FRONT: [(0.5, 0.0, 1.0, 0.5)]})], "fill", 0)
    front, rear = redact([image(FRONT), image(REAR)])
    covered = pixels_of(front)
    assert covered[:23, 33:].mean() < 3  # what JPEG leaves of black
    assert covered[25:].mean() > 100
    assert rear == image(REAR)
    assert redact.counts == {"redacted": 1, "unchanged": 1}


def test_private_classes_are_covered_with_room_to_spare() -> None:
    finder = Finder(
        ("face", 0.9, (10, 10, 20, 20)), ("plate", 0.1, (40, 0, 60, 10)),
        ("tree", 0.9, (40, 30, 60, 45)),
    )  # fmt: skip
    regions = DetectedRegions(finder, frozenset({"face", "plate"}), 0.3, 0.2)
    assert regions.regions(sample(), noise()) == [(8.0, 8.0, 22.0, 22.0)]
    everything = DetectedRegions(finder, frozenset(), 0.0, 0.0)
    assert len(everything.regions(sample(), noise())) == 3
    redact = ImageRedaction([regions], "fill", 0)
    (redacted,) = redact([image()])
    assert pixels_of(redacted)[9:21, 9:21].mean() < 3


def sample() -> ImageSample:
    return ImageSample(FRONT, 5, "jpeg", b"", 0, 0, "cam")


@pytest.mark.parametrize(
    ("finder", "content", "reason"),
    [
        (Finder(fails=CorruptError("not finite")), None, "dropped: cannot be judged"),
        (Finder(fails=RuntimeError("reset")), None, "dropped: the redactor failed"),
        (Finder(fails=MemoryError()), None, "dropped: the redactor failed"),
        (Finder(("face", 1.0, (0, 0, float("nan"), 5))), None, "dropped: cannot be judged"),
        (Finder(), b"\xff\xd8 torn", "dropped: cannot be judged"),
        (Finder(), b"", "dropped: cannot be judged"),
    ],
)
def test_what_cannot_be_judged_is_dropped_and_counted(
    finder: Finder, content: bytes | None, reason: str
) -> None:
    redact = ImageRedaction([DetectedRegions(finder, frozenset(), 0.2, 0.0)], "pixelate", 0)
    signal = encode_sample(SignalSample("ego.speed_mps", 4, 3.0), 0)
    assert redact([signal, image(content=content), signal]) == [signal, signal]
    assert redact.counts == {reason: 1}


def test_an_image_message_that_holds_none_is_dropped() -> None:
    torn = EncodedMessage(FRONT, image().schema_name, 5, b"\xff\xff\xff\xff")
    redact = ImageRedaction([CameraMasks({})], "fill", 0)
    assert redact([torn]) == []
    assert sum(n for name, n in redact.counts.items() if name.startswith("dropped")) == 1


def test_nothing_asked_is_nothing_done() -> None:
    assert open_image_redaction(RedactionConfig(), 0) is None
    messages: Sequence[EncodedMessage] = [image()]
    assert ImageRedaction([], "fill", 0)(messages) is messages


def test_a_detector_is_verified_like_any_model(tmp_path: Path) -> None:
    wanted = RedactionConfig(model=BUNDLED_MODEL)
    redact = open_image_redaction(wanted, 0)
    assert redact is not None
    with pytest.raises(InputError, match="knows no class 'face'"):
        open_image_redaction(RedactionConfig(model=BUNDLED_MODEL, classes=("face",)), 0)
    broken = tmp_path / "m.onnx"
    broken.write_bytes(BUNDLED_MODEL.read_bytes()[:-1])
    manifest = BUNDLED_MODEL.with_name("demo_detector.manifest.yaml")
    with pytest.raises(CorruptError):
        open_image_redaction(RedactionConfig(model=broken, model_manifest=manifest), 0)


@pytest.mark.parametrize(
    "masks", [{FRONT: [[0.5, 0, 0.5, 1]]}, {FRONT: [[0, 0, 1, 1.5]]}, {FRONT: [[0, 0, 1]]}]
)
def test_masks_without_area_or_outside_are_refused(masks: object) -> None:
    with pytest.raises(ValueError, match="masks"):
        AgentConfig.model_validate({"redaction": {"masks": masks}})


SIM = "sim:duration_s=20,lidar=0"


def images_of(state: Path, clip_ids: Sequence[str]) -> list[ImageSample]:
    found = []
    for clip_id in clip_ids:
        path = state / "spool" / "clips" / f"{clip_id}{CLIP_SUFFIX}"
        found += [s for s in read_samples(path) if isinstance(s, ImageSample)]
    return found


def test_no_image_reaches_the_spool_unredacted(tmp_path: Path) -> None:
    """Clips of two runs over one drive: with masks no image is as the camera saw it."""
    rules = ("ego.decel_mps2 > 1.0",)
    plain, _ = driven(tmp_path / "plain", SIM, {}, rules=rules)
    before = images_of(tmp_path / "plain", [c.clip_id for c in plain.clips])
    masks = {FRONT: [[0.0, 0.0, 1.0, 1.0]]}
    masked, _ = driven(
        tmp_path / "masked", SIM, {}, rules=rules, redaction={"masks": masks, "style": "fill"}
    )
    after = images_of(tmp_path / "masked", [c.clip_id for c in masked.clips])
    assert len(after) == len(before) > 20
    assert masked.images == {"redacted": len(after)}
    assert plain.images == {}
    for redacted in after:
        assert simplejpeg.decode_jpeg(bytes(redacted.content)).max() < 10
    # Nor does any file of the state hold a byte string of the original pictures.
    originals = {hashlib.sha256(s.content).digest() for s in before}
    assert not originals & {hashlib.sha256(s.content).digest() for s in after}


def test_a_detector_runs_in_the_agent(tmp_path: Path) -> None:
    """The bundled detector stands for one of faces: what it finds is unrecognisable."""
    report, _ = driven(
        tmp_path, SIM, {}, rules=("ego.decel_mps2 > 1.0",),
        redaction={"model": BUNDLED_MODEL, "min_probability": 0.3},
    )  # fmt: skip
    assert report.images.get("redacted", 0) > 0
    assert not [name for name in report.images if name.startswith("dropped")]
