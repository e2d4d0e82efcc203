"""The boxes of a drive's keyframes as instances and their annotations, in the global frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.geometry import Int64s, flat_SE3
from contracts.labels import FrameLabels, LabelledBox
from contracts.samples import Float64s
from offline.labels.formats.nuscenes.tables import Tables, pose_fields, token_of
from offline.labels.formats.nuscenes.words import attribute_of, category_of, visibility_token
from offline.labels.formats.sequence import LeftOut


def add_annotations(
    tables: Tables, scene: str, samples: Sequence[str], frames: Sequence[FrameLabels],
    world_SE3_ego: Sequence[Float64s], points: Mapping[int, Int64s], left_out: LeftOut,
) -> list[list[dict[str, Any]]]:  # fmt: skip
    """Add the rows of all boxes that count.

    Args:
        samples: tokens of the keyframes, `frames` their labels, `world_SE3_ego` their poses.
        points: lidar points in each box, by the number of the keyframe, where it has a sweep.

    Returns:
        Each box as labelled with its annotation's token, by frame and in its order.
    """
    chains: dict[str, list[str]] = defaultdict(list)
    category: dict[str, str] = {}
    told: list[list[dict[str, Any]]] = []
    for number, frame in enumerate(frames):
        counted = points.get(number)
        left_out.add("keyframe without a sweep (lidar points as labelled)", counted is None)
        rows: list[dict[str, Any]] = []
        for place, labelled in enumerate(frame.record.boxes):
            if labelled.ignored:
                left_out.add("ignored box (in longtail.json only)")
                rows.append(_told(labelled, None))
                continue
            # A track is an instance; a box without one is an instance of its own.
            track, kind = labelled.box.track_id, labelled.box.class_name
            own = f"{frame.record.mono_ns}/{place}" if track is None else track
            instance = token_of("instance", scene, own, kind)
            category[instance] = category_of(kind)
            annotation = tables.add(
                "sample_annotation", token_of("sample_annotation", samples[number], place),
                sample_token=samples[number], instance_token=instance, num_radar_pts=0,
                num_lidar_pts=(labelled.points or 0) if counted is None else int(counted[place]),
                **_fields(labelled, world_SE3_ego[number]),
            )  # fmt: skip
            chains[instance].append(annotation)
            rows.append(_told(labelled, annotation))
        told.append(rows)
    for instance, tokens in chains.items():
        tables.chain("sample_annotation", tokens)
        tables.add(
            "instance", instance, category_token=token_of("category", category[instance]),
            nbr_annotations=len(tokens), first_annotation_token=tokens[0],
            last_annotation_token=tokens[-1],
        )  # fmt: skip
    return told


def _fields(labelled: LabelledBox, world_SE3_ego: Float64s) -> dict[str, Any]:
    box = labelled.box
    x, y, z = box.centre_m
    length, width, height = box.size_m
    attribute = attribute_of(labelled)
    return {
        "visibility_token": visibility_token(labelled.visibility),
        "attribute_tokens": [] if attribute is None else [token_of("attribute", attribute)],
        "size": [width, length, height],
        **pose_fields(world_SE3_ego @ flat_SE3(x, y, box.yaw_rad, z)),
    }


def _told(labelled: LabelledBox, annotation: str | None) -> dict[str, Any]:
    return {"annotation_token": annotation, "box": labelled.model_dump(mode="json")}
