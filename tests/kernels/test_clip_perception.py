"""What a model saw, through a clip and back: boxes in images and boxes in the ego frame."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from contracts.channels import BEV
from contracts.samples import Cuboid, Detection, PerceptionFrame
from kernels.clip import schemas
from kernels.clip.decoding import OwnDecoder
from kernels.clip.perception import encode_perception
from kernels.clip.reader import read_samples
from kernels.clip.writer import write_clip
from tests.kernels.test_clip import OFFSET_NS, manifest

SPREAD = np.array([0.1, 0.7, 0.05], np.float32)
MOVING = Cuboid((12.5, -3.25, 0.7), (4.5, 1.8, 1.5), -2.9, (-6.0, 2.5))
HERE = Cuboid((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, (0.0, 0.0))
FRAME = PerceptionFrame(
    BEV, 1_008, "ab" * 32,
    (Detection(None, "truck", 0.7, SPREAD, MOVING), Detection(None, "debris", 1 / 3, SPREAD, HERE),
     Detection((1.0, 2.0, 3.0, 4.0), "car", 0.5, SPREAD, HERE)),
    0.3, 0.6, np.ones(4, np.float32) / 2, np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    np.array([0.75, 1.0, 0.0], np.float32),
)  # fmt: skip


def assert_same(found: Any, wanted: PerceptionFrame) -> None:
    """Equal in every field, arrays value by value and by their type."""
    assert isinstance(found, PerceptionFrame)
    for field in fields(PerceptionFrame):
        ours, theirs = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(theirs, np.ndarray):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
        elif field.name != "detections":
            assert ours == theirs, field.name
    for a, b in zip(found.detections, wanted.detections, strict=True):
        assert (a.box_px, a.class_name, a.probability, a.cuboid) == (
            b.box_px, b.class_name, b.probability, b.cuboid,
        )  # fmt: skip
        np.testing.assert_array_equal(a.distribution, b.distribution)


@pytest.mark.parametrize(
    "frame", [FRAME, replace(FRAME, light=None, present=None, embedding=None, detections=())]
)
def test_boxes_in_the_ego_frame_come_back_as_they_were(
    tmp_path: Path, frame: PerceptionFrame
) -> None:
    path = tmp_path / "clip.mcap"
    messages = encode_perception(frame, OFFSET_NS)
    with path.open("wb") as stream:
        write_clip(stream, manifest(), list(messages), {})
    (back,) = read_samples(path)
    assert_same(back, frame)
    assert_same(OwnDecoder().decode(messages[0]), frame)
    assert OwnDecoder().decode(messages[1]) is None


def test_other_tools_see_cubes_where_the_boxes_are(tmp_path: Path) -> None:
    path = tmp_path / "clip.mcap"
    with path.open("wb") as stream:
        write_clip(stream, manifest(), list(encode_perception(FRAME, OFFSET_NS)), {})
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        found = {channel.topic: (schema, message) for schema, channel, _, message
                 in reader.iter_decoded_messages()}  # fmt: skip
    schema, scene = found["/perception/bev/scene"]
    assert schema is not None and schema.name == "foxglove.SceneUpdate"
    assert len(scene.deletions) == 1 and len({entity.id for entity in scene.entities}) == 3
    entity = scene.entities[0]
    (cube,) = entity.cubes
    assert entity.frame_id == "ego" and entity.frame_locked
    assert (cube.pose.position.x, cube.pose.position.y, cube.pose.position.z) == MOVING.centre_m
    assert (cube.size.x, cube.size.y, cube.size.z) == MOVING.size_m
    turn = cube.pose.orientation
    assert 2 * math.atan2(turn.z, turn.w) == pytest.approx(MOVING.yaw_rad)
    assert [text.text for text in entity.texts] == ["truck 0.70"]
    (arrow,) = entity.arrows
    turn = arrow.pose.orientation
    heading = 2 * math.atan2(turn.z, turn.w)
    assert heading == pytest.approx(math.atan2(2.5, -6.0))
    assert not scene.entities[1].arrows  # it stands
    assert {pair.key: pair.value for pair in entity.metadata}["class"] == "truck"


def test_a_message_of_older_software_is_read_as_an_image_s() -> None:
    """Its schema knows neither cuboids nor light; the fields' numbers are what they were."""
    frame = PerceptionFrame(
        "/camera/front", 5, "cd" * 32, (Detection((1.0, 2.0, 3.0, 4.0), "car", 0.5, SPREAD),),
        0.2, 0.4, np.ones(2, np.float32),
    )  # fmt: skip
    message, drawn = encode_perception(frame, OFFSET_NS)
    assert message.channel == "/perception/front"
    assert (drawn.channel, drawn.schema_name) == (
        "/perception/front/annotations", schemas.IMAGE_ANNOTATIONS,
    )  # fmt: skip
    assert_same(OwnDecoder().decode(message), frame)
    known = {name: number for name, number, *_ in schemas._FIELDS["Detection"]}
    assert [known[n] for n in ("class_name", "probability", "x0_px", "distribution")] == [
        1,
        2,
        3,
        7,
    ]
