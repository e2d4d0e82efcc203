"""What a model saw, as clip messages: in full for machines, and drawn for people.

An image's detections are drawn on the image (`foxglove.ImageAnnotations`), those of a bird's-eye
model as cubes in the ego frame (`foxglove.SceneUpdate`), which moves with `/pose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, sin
from typing import Any

import foxglove.messages as fox

from contracts.channels import BEV, annotation_channel, perception_channel, scene_channel
from contracts.samples import Cuboid, Detection, PerceptionFrame
from kernels.clip import schemas
from kernels.clip.encoding import EGO_FRAME, EncodedMessage, stamp
from kernels.clip.messages import message_class

_WHITE = fox.Color(r=1.0, g=1.0, b=1.0, a=1.0)
_GREEN = fox.Color(r=0.2, g=0.9, b=0.4, a=1.0)
_SHADE = fox.Color(r=0.0, g=0.0, b=0.0, a=0.6)
_CUBE = fox.Color(r=0.2, g=0.9, b=0.4, a=0.45)
_CUBE_LASTS_NS = 250_000_000
"""Cubes go when no further frame replaces them: at 10 Hz after two frames and a half."""
_MOVES_MPS = 0.5


def encode_perception(
    frame: PerceptionFrame, utc_minus_mono_ns: int
) -> tuple[EncodedMessage, EncodedMessage]:
    """The model's view twice: `longtail.Perception`, and a picture of it for viewers."""
    utc_ns = frame.mono_ns + utc_minus_mono_ns
    message = EncodedMessage(
        perception_channel(frame.channel), schemas.PERCEPTION, frame.mono_ns,
        _in_full(frame, utc_ns),
    )  # fmt: skip
    if frame.channel == BEV:
        name, schema, drawn = scene_channel(BEV), schemas.SCENE_UPDATE, _scene(frame, utc_ns)
    else:
        name, schema = annotation_channel(frame.channel), schemas.IMAGE_ANNOTATIONS
        drawn = _annotations(frame.detections, utc_ns)
    return message, EncodedMessage(name, schema, frame.mono_ns, drawn)


def _in_full(frame: PerceptionFrame, utc_ns: int) -> bytes:
    message = message_class(schemas.PERCEPTION)(
        camera=frame.channel,
        model_digest=frame.model_digest,
        uncertainty=frame.uncertainty,
        margin=frame.margin,
    )
    for field, values in (
        ("embedding", frame.embedding), ("light", frame.light), ("present", frame.present),
    ):  # fmt: skip
        if values is not None:
            getattr(message, field).extend(values.tolist())
    message.timestamp.FromNanoseconds(utc_ns)
    for found in frame.detections:
        row = message.detections.add(
            class_name=found.class_name,
            probability=found.probability,
            distribution=found.distribution.tolist(),
        )
        if found.box_px is None:
            row.without_box_px = True
        else:
            row.x0_px, row.y0_px, row.x1_px, row.y1_px = found.box_px
        if found.cuboid is not None:
            _fill_cuboid(row.cuboid, found.cuboid)
    return bytes(message.SerializeToString(deterministic=True))


def _fill_cuboid(message: Any, cuboid: Cuboid) -> None:
    # A field that is set to 0 is not written, and the cuboid must be there all the same.
    message.SetInParent()
    message.x_m, message.y_m, message.z_m = cuboid.centre_m
    message.length_m, message.width_m, message.height_m = cuboid.size_m
    message.yaw_rad = cuboid.yaw_rad
    message.velocity_x_mps, message.velocity_y_mps = cuboid.velocity_mps


def _annotations(detections: Sequence[Detection], utc_ns: int) -> bytes:
    boxes, texts = [], []
    for found in detections:
        if found.box_px is None:
            continue
        x0, y0, x1, y1 = found.box_px
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        boxes.append(
            fox.PointsAnnotation(
                timestamp=stamp(utc_ns),
                type=fox.PointsAnnotationType.LineLoop,
                points=[fox.Point2(x=x, y=y) for x, y in corners],
                outline_color=_GREEN,
                thickness=2.0,
            )
        )
        texts.append(
            fox.TextAnnotation(
                timestamp=stamp(utc_ns),
                position=fox.Point2(x=x0, y=y0),
                text=_caption(found),
                font_size=12.0,
                text_color=_WHITE,
                background_color=_SHADE,
            )
        )
    return fox.ImageAnnotations(timestamp=stamp(utc_ns), points=boxes, texts=texts).encode()


def _caption(found: Detection) -> str:
    return f"{found.class_name} {found.probability:.2f}"


def _scene(frame: PerceptionFrame, utc_ns: int) -> bytes:
    entities = [
        _entity(f"{number}", found, found.cuboid, utc_ns)
        for number, found in enumerate(frame.detections)
        if found.cuboid is not None
    ]
    # What the frame before showed goes, also where this one shows less.
    before = fox.SceneEntityDeletion(timestamp=stamp(utc_ns), type=fox.SceneEntityDeletionType.All)
    return fox.SceneUpdate(deletions=[before], entities=entities).encode()


def _entity(name: str, found: Detection, cuboid: Cuboid, utc_ns: int) -> fox.SceneEntity:
    x, y, z = cuboid.centre_m
    length, width, height = cuboid.size_m
    half = cuboid.yaw_rad / 2
    turn = fox.Quaternion(x=0.0, y=0.0, z=sin(half), w=cos(half))
    pose = fox.Pose(position=fox.Vector3(x=x, y=y, z=z), orientation=turn)
    above = fox.Pose(
        position=fox.Vector3(x=x, y=y, z=z + height / 2 + 0.4),
        orientation=fox.Quaternion(x=0.0, y=0.0, z=0.0, w=1.0),
    )
    return fox.SceneEntity(
        timestamp=stamp(utc_ns),
        frame_id=EGO_FRAME,
        id=name,
        lifetime=fox.Duration(sec=0, nsec=_CUBE_LASTS_NS),
        frame_locked=True,
        metadata=[
            fox.KeyValuePair(key="class", value=found.class_name),
            fox.KeyValuePair(key="probability", value=f"{found.probability:.3f}"),
        ],
        cubes=[
            fox.CubePrimitive(
                pose=pose, size=fox.Vector3(x=length, y=width, z=height), color=_CUBE
            )
        ],
        texts=[
            fox.TextPrimitive(
                pose=above, billboard=True, font_size=0.8, color=_WHITE, text=_caption(found)
            )
        ],
        arrows=_arrows(cuboid),
    )  # fmt: skip


def _arrows(cuboid: Cuboid) -> list[fox.ArrowPrimitive]:
    """Where a moving object will be a second later."""
    vx, vy = cuboid.velocity_mps
    speed = hypot(vx, vy)
    if speed < _MOVES_MPS:
        return []
    # The turn about z that takes the x axis to the velocity, by its half angle.
    w = ((1 + vx / speed) / 2) ** 0.5
    z = ((1 - vx / speed) / 2) ** 0.5 * (1.0 if vy >= 0 else -1.0)
    x, y, height = cuboid.centre_m
    return [
        fox.ArrowPrimitive(
            pose=fox.Pose(
                position=fox.Vector3(x=x, y=y, z=height),
                orientation=fox.Quaternion(x=0.0, y=0.0, z=z, w=w),
            ),
            shaft_length=0.8 * speed,
            shaft_diameter=0.15,
            head_length=0.2 * speed,
            head_diameter=0.4,
            color=_WHITE,
        )
    ]
