"""FiftyOne: nothing is lost, edits come back, documents are as FiftyOne's own exporter writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from contracts.errors import InputError
from contracts.geometry import apply_SE3, inverse_SE3
from contracts.labels import FrameLabels
from kernels.lidar.scan_files import parse_scan
from offline.labels.formats.fiftyone.documents import dataset_document
from offline.labels.formats.fiftyone.reader import read_fiftyone
from offline.labels.formats.fiftyone.writer import write_fiftyone
from offline.labels.formats.folders import export_drives
from offline.labels.formats.projection import shown_in
from offline.labels.formats.sequence import CLIP_FILE, LabelSequence
from tests.offline.labels.formats import moving
from tests.offline.labels.formats.drives import (
    CAMERAS,
    HUMAN,
    assert_same,
    sequences,
    small_sequence,
    write_drive,
)
from tests.offline.labels.formats.moving import (
    INSTANTS,
    sequence,
    static_points_m,
    world_SE3_ego,
    write_clip_of,
    write_moving_drive,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drive = write_moving_drive(tmp_path_factory.mktemp("drives") / "first")
    out = tmp_path_factory.mktemp("fiftyone")
    done = export_drives("fiftyone", [drive], out)
    assert (done.drives, done.frames, done.pictures) == (1, 16, 31)
    assert done.left_out.counts == {"radar frame": 16}
    return out


@pytest.fixture(scope="module")
def samples(dataset: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((dataset / "samples.json").read_text())["samples"]
    return found


def edited(dataset: Path, to: Path, change: Callable[[list[dict[str, Any]]], Any]) -> Path:
    told = json.loads((dataset / "samples.json").read_text())
    change(told["samples"])
    (to / "samples.json").write_text(json.dumps(told))
    return to


def of_slice(samples: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [one for one in samples if one["group"]["name"] == name]


def scenes(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return of_slice(samples, "scene")


def cuboids(samples: list[dict[str, Any]], frame: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scenes(samples)[frame]["labels"]["detections"]
    return found


@pytest.fixture(scope="module")
def small_drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("small") / "drive", small_sequence())


@settings(max_examples=20)
@given(labels=sequences())
def test_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, small_drive: Path, labels: LabelSequence
) -> None:
    out = tmp_path_factory.mktemp("fiftyone")
    write_fiftyone([(small_drive, labels)], out)
    found = read_fiftyone(out)
    assert found.flat == [] and not found.left_out.counts
    (back,) = found.sequences
    assert_same(back, labels)


def test_a_frame_is_a_group_of_pictures_and_a_scene(
    dataset: Path, samples: list[dict[str, Any]]
) -> None:
    assert {one["group"]["name"] for one in samples} == {"front", "rear_left", "scene"}
    groups: dict[str, set[str]] = {}
    for one in samples:
        groups.setdefault(one["group"]["_id"]["$oid"], set()).add(one["group"]["name"])
        assert (dataset / one["filepath"]).is_file()
    assert len(groups) == 16 and all("scene" in names for names in groups.values())
    ids = [one["_id"]["$oid"] for one in samples]
    ids += [label["_id"]["$oid"] for one in samples for label in one["labels"]["detections"]]
    assert len(set(ids)) == len(ids)


def test_what_one_searches_by(samples: list[dict[str, Any]]) -> None:
    first = scenes(samples)[0]
    told = {name: first[name] for name in ("drive", "vehicle", "triggers", "weather", "light")}
    assert told == {
        "drive": "drive-1", "vehicle": "car-1", "triggers": ["any"], "weather": "rain",
        "light": "red",
    }  # fmt: skip
    assert first["mono_ns"] == INSTANTS[0] and len(first["clip_id"]) == 64
    assert first["taken"] == {"$date": {"$numberLong": "1700000001000"}}
    assert "tod" not in first
    (car,) = cuboids(samples)
    told = {name: car[name] for name in ("label", "index", "confidence", "visibility", "source")}
    assert told == {
        "label": "car", "index": 4, "confidence": 0.9, "visibility": 0.7, "source": "human",
    }  # fmt: skip
    assert (car["speed_mps"], car["ignored"]) == (0.0, False)


def test_boxes_of_a_picture_are_shares_of_it(samples: list[dict[str, Any]]) -> None:
    for number, one in enumerate(of_slice(samples, "front")):
        # A picture is taken 20 ms after its instant: the first instant has none.
        frame = sequence().frames[number + 1]
        assert one["mono_ns"] == frame.record.mono_ns
        wanted = [
            shown_in(labelled.box, moving.FRONT) for labelled in frame.record.boxes
        ]  # fmt: skip
        boxes = [label["bounding_box"] for label in one["labels"]["detections"]]
        assert len(boxes) == sum(shown is not None for shown in wanted)
        for box, shown in zip(boxes, [shown for shown in wanted if shown], strict=True):
            left, top, width, height = box
            px = (left * 320, top * 200, (left + width) * 320, (top + height) * 200)
            assert px == pytest.approx(shown.box_px)
            assert 0 <= left <= left + width <= 1 + 1e-9 and 0 <= top <= top + height <= 1 + 1e-9


def test_cuboids_and_points_are_in_the_ego_frame(
    dataset: Path, samples: list[dict[str, Any]]
) -> None:
    for instant, one, frame in zip(INSTANTS, scenes(samples), sequence().frames, strict=True):
        for label, labelled in zip(one["labels"]["detections"], frame.record.boxes, strict=True):
            assert tuple(label["location"]) == labelled.box.centre_m
            assert tuple(label["dimensions"]) == labelled.box.size_m
            assert label["rotation"] == [0.0, 0.0, labelled.box.yaw_rad]
        path = dataset / one["filepath"]
        scene = json.loads(path.read_text())
        cloud = path.with_name(scene["children"][0]["pcdPath"])
        scan = parse_scan(cloud.read_bytes(), ".pcd", "")
        expected = apply_SE3(inverse_SE3(world_SE3_ego(instant)), static_points_m())
        assert len(scan.xyz_m) == len(expected)
        away = np.linalg.norm(scan.xyz_m[:, None] - expected[None], axis=2).min(axis=1)
        assert away.max() < 0.02
        assert scan.intensity.max() == 255


def test_edits_of_cuboids_come_back(dataset: Path, tmp_path: Path) -> None:
    def change(samples: list[dict[str, Any]]) -> None:
        cuboids(samples)[0]["label"] = "truck"
        cuboids(samples, 1)[0]["location"][0] += 1.0
        del cuboids(samples, 2)[0]
        drawn = {"label": "debris", "location": [5, 0, 0.1], "dimensions": [1, 1, 0.2],
                 "rotation": [0.01, 0, 0.5], "index": 40}  # fmt: skip
        cuboids(samples, 3).append(drawn)

    folder = edited(dataset, tmp_path, change)
    with pytest.raises(InputError, match=r"detections\.0: was changed or added: say by whom"):
        read_fiftyone(folder)
    found = read_fiftyone(folder, HUMAN)
    assert found.left_out.counts == {"tilt of a cuboid": 1}
    (back,) = found.sequences
    original = [frame.record.boxes for frame in sequence().frames]
    records = [frame.record for frame in back.frames]
    truck = records[0].boxes[0]
    assert (truck.box.class_name, truck.confidence, truck.provenance) == ("truck", 1.0, HUMAN)
    assert truck.visibility == original[0][0].visibility
    moved = records[1].boxes[0].box
    assert moved.centre_m[0] == original[1][0].box.centre_m[0] + 1.0
    assert moved.velocity_mps == original[1][0].box.velocity_mps
    assert records[1].boxes[1:] == original[1][1:]
    assert records[2].boxes == ()
    assert records[3].boxes[:3] == original[3]
    assert (records[3].boxes[3].box.yaw_rad, records[3].boxes[3].box.track_id) == (0.5, 40)


def test_edits_in_pictures_tell_no_cuboid(dataset: Path, tmp_path: Path) -> None:
    def change(samples: list[dict[str, Any]]) -> None:
        front = of_slice(samples, "front")
        front[0]["labels"]["detections"][0]["bounding_box"][0] += 0.1
        front[1]["labels"]["detections"][0]["label"] = "bus"
        front[2]["labels"]["detections"] = [
            {"label": "animal", "bounding_box": [0.5, 0.5, 0.1, 0.2]}
        ]

    found = read_fiftyone(edited(dataset, tmp_path, change))
    assert_same(found.sequences[0], sequence())
    moved, renamed, drawn = found.flat
    assert (moved.class_name, moved.place, moved.mono_ns) == ("car", 0, INSTANTS[1])
    assert (renamed.class_name, renamed.place) == ("bus", 0)
    assert (drawn.class_name, drawn.place, drawn.channel) == ("animal", None, "/camera/front")
    assert drawn.box_px == pytest.approx((160, 100, 192, 140))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: s.clear(), r"samples\.json: samples"),
        (lambda s: [s.remove(one) for one in scenes(s)], "not written by Longtail"),
        (lambda s: scenes(s)[0].pop("frame_head"), "without frame_head"),
        (lambda s: scenes(s)[0].update(frame_head="{"), r"frame_head:1:2: no JSON"),
        (lambda s: scenes(s)[0].update(frame_head='{"mono_ns": -1}'), r"frame_head: drive_id"),
        (lambda s: s.append(scenes(s)[0]), f"frame {INSTANTS[0]} is there twice"),
        (lambda s: cuboids(s)[0].pop("location"), "has location, dimensions and rotation"),
        (lambda s: cuboids(s)[0].update(dimensions=[-1, 1, 1]), r"detections\.0: size_m"),
        (lambda s: cuboids(s)[0].update(label="tank"), "unknown class 'tank'"),
        (lambda s: cuboids(s, 1)[2].update(index=4), r"drive-1: frame 1: track 4 is there 2"),
        (lambda s: cuboids(s)[0].update(longtail='{"box": 1}'), r"longtail: box"),
        (
            lambda s: of_slice(s, "front")[0]["labels"]["detections"][0].update(
                bounding_box=[0, 0, 0, 1]
            ),
            "positive width and height",
        ),
        (
            lambda s: of_slice(s, "front")[0].update(
                drive="other", labels={"detections": [{"label": "x", "bounding_box": [0, 0, 1, 1]}]}
            ),
            "belongs to no frame",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    dataset: Path, tmp_path: Path, change: Any, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        read_fiftyone(edited(dataset, tmp_path, change), HUMAN)


def test_what_an_export_cannot_do_without(dataset: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "drive", tmp_path / "out"
    folder.mkdir()
    with pytest.raises(InputError, match="a dataset already"):
        write_fiftyone([(folder, sequence())], dataset)
    with pytest.raises(InputError, match="no clip"):
        write_fiftyone([(folder, sequence())], out)
    write_clip_of(folder / CLIP_FILE, moving.samples(), lambda: [moving.FRONT])
    with pytest.raises(InputError, match=r"no calibration of /camera/rear_left"):
        write_fiftyone([(folder, sequence())], out)
    assert not (out / "metadata.json").exists()


def test_what_is_not_there_is_counted(tmp_path: Path) -> None:
    """No pose at all: sweeps that are beside their frames cannot be moved to them."""
    folder = tmp_path / "drive"
    folder.mkdir()
    seen = [one for one in moving.samples() if not isinstance(one, moving.PoseSample)]
    write_clip_of(folder / CLIP_FILE, seen)
    beside = [
        FrameLabels(
            one.record.model_copy(update={"ego_pose": None, "mono_ns": one.record.mono_ns + shift})
        )
        for shift, one in zip((0, 30_000_000, 900_000_000), sequence().frames[-3:], strict=True)
    ]
    done = write_fiftyone([(folder, LabelSequence(tuple(beside)))], tmp_path / "out")
    assert done.left_out.counts == {
        "radar frame": 16, "frame without any picture": 1, "frame without any sweep": 2,
        "sweep of /lidar/top beside its frame, and no pose to move it by": 1,
    }  # fmt: skip


def test_the_same_drive_gives_the_same_bytes(small_drive: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_fiftyone([(small_drive, small_sequence())], tmp_path / name)
    files = [path for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    assert len(files) == 3 * len(CAMERAS) + 3 + 2
    for path in files:
        twin = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == twin.read_bytes()


def test_fields_are_as_fiftyone_exports_them() -> None:
    """The shape that FiftyOne 1.22's exporter gave a grouped dataset with boxes and cuboids."""
    document = dataset_document("x", {"front": "image", "scene": "3d"}, small_sequence().taxonomy)
    assert (document["media_type"], document["group_field"]) == ("group", "group")
    fields = {one["name"]: one for one in document["sample_fields"]}
    assert set(fields["filepath"]) == {
        "name", "ftype", "embedded_doc_type", "subfield", "fields", "db_field", "description",
        "info", "read_only", "created_at",
    }  # fmt: skip
    assert {name: one["db_field"] for name, one in fields.items() if one["db_field"] != name} == {
        "id": "_id"
    }
    (detections,) = fields["labels"]["fields"]
    inside = {one["name"]: one["ftype"].rpartition(".")[2] for one in detections["fields"]}
    assert inside.items() >= {
        "id": "ObjectIdField", "tags": "ListField", "attributes": "DictField",
        "label": "StringField", "bounding_box": "ListField", "mask": "ArrayField",
        "mask_path": "StringField", "confidence": "FloatField", "index": "IntField",
    }.items()  # fmt: skip
