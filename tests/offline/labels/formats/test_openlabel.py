"""OpenLABEL: ours and back, other tools' readers, other tools' cuboids, and what is refused."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kognic.openlabel.models import OpenLabelAnnotation

from contracts.errors import InputError
from offline.labels.formats.files import write_json
from offline.labels.formats.openlabel import openlabel_document
from offline.labels.formats.openlabel_axes import euler_rotation
from offline.labels.formats.openlabel_reader import read_openlabel
from offline.labels.formats.sequence import LabelSequence
from tests.offline.labels.formats.drives import (
    CAMERAS,
    HUMAN,
    INSTANTS,
    assert_same,
    sequences,
    small_sequence,
)

OFFICIAL = json.loads(
    files("kognic.openlabel.schemas").joinpath("openlabel-1-0-0.json").read_text()
)
SCHEMA = jsonschema.Draft7Validator(OFFICIAL)


def back(document: Any, folder: Path) -> LabelSequence:
    write_json(folder / "labels.json", document)
    return read_openlabel(folder / "labels.json")


@settings(max_examples=25)
@given(sequence=sequences(), with_cameras=st.booleans())
def test_nothing_is_lost_and_the_official_schema_holds(
    tmp_path_factory: pytest.TempPathFactory, sequence: LabelSequence, with_cameras: bool
) -> None:
    document = openlabel_document(sequence, CAMERAS if with_cameras else None)
    SCHEMA.validate(document)
    assert_same(back(document, tmp_path_factory.mktemp("openlabel")), sequence)


def test_another_reader_finds_objects_boxes_and_pointers() -> None:
    document = openlabel_document(small_sequence(), CAMERAS)
    found = OpenLabelAnnotation.model_validate(document).openlabel
    assert found.objects is not None and found.frames is not None
    assert {uid: one.type for uid, one in found.objects.items() if len(uid) < 3} == {
        "7": "car", "9": "pedestrian",
    }  # fmt: skip
    pointers = found.objects["9"].object_data_pointers
    assert pointers is not None
    pointer = pointers["cuboid"]
    assert [(i.frame_start, i.frame_end) for i in pointer.frame_intervals] == [(1, 2)]
    assert {"confidence", "source", "made_by"} <= set(pointer.attribute_pointers or {})
    car = found.frames["2"].objects["7"].object_data.cuboid[0]
    assert list(car.val.root if hasattr(car.val, "root") else car.val) == [
        12.0, 1.0, 0.75, 0.0, 0.0, 0.2, 4.2, 1.8, 1.5,
    ]  # fmt: skip
    assert {t.name: t.val for t in car.attributes.text}["made_by"] == "ann"
    assert found.streams is not None and set(found.streams) == set(CAMERAS)


def foreign(val: list[float], system: str = "vehicle-iso8855") -> dict[str, Any]:
    """A file as another tool may write it: no attributes, a lidar with a mount."""
    matrix = [[0, -1, 0, 1.0], [1, 0, 0, 2.0], [0, 0, 1, 1.5], [0, 0, 0, 1]]
    return {
        "openlabel": {
            "metadata": {"schema_version": "1.0.0", "name": "town"},
            "coordinate_systems": {
                "odom": {"type": "scene_cs", "parent": ""},
                "vehicle-iso8855": {"type": "local_cs", "parent": "odom"},
                "lidar": {
                    "type": "sensor_cs", "parent": "vehicle-iso8855",
                    "pose_wrt_parent": {"matrix4x4": [v for row in matrix for v in row]},
                },
            },
            "objects": {"4": {"name": "x", "type": "Car"}},
            "frames": {
                "10": {
                    "frame_properties": {"timestamp": 123},
                    "objects": {
                        "4": {
                            "object_data": {
                                "cuboid": [{"name": "c", "val": val, "coordinate_system": system}]
                            }
                        }
                    },
                }
            },
        }
    }  # fmt: skip


HALF = float(np.sqrt(0.5))


@pytest.mark.parametrize(
    "rotation", [[0, 0, np.pi / 2], [0.0, 0.0, HALF, HALF]], ids=["euler", "quaternion"]
)
def test_a_foreign_cuboid_in_the_lidar_s_axes(tmp_path: Path, rotation: list[float]) -> None:
    document = foreign([10.0, 1.0, 0.0, *rotation, 4.0, 2.0, 1.5], "lidar")
    SCHEMA.validate(document)
    path = tmp_path / "foreign.json"
    write_json(path, document)
    found = read_openlabel(path, HUMAN, {"Car": "car"})
    assert (found.drive_id, found.instants()) == ("town", (123,))
    (one,) = found.frames[0].record.boxes
    # The lidar is turned by 90 degrees to the left, so its x is the ego's y.
    assert one.box.centre_m == pytest.approx((0.0, 12.0, 1.5))
    assert np.cos(one.box.yaw_rad) == pytest.approx(-1.0)
    assert (one.box.size_m, one.box.track_id) == ((4.0, 2.0, 1.5), 4)
    assert (one.provenance, found.frames[0].record.provenance) == (None, HUMAN)


def test_the_ego_s_motion_brings_world_boxes_home(tmp_path: Path) -> None:
    document = foreign([10.0, 1.0, 0.0, 0, 0, 0.0, 4.0, 2.0, 1.5], "odom")
    document["openlabel"]["frames"]["10"]["frame_properties"]["transforms"] = {
        "any": {
            "src": "vehicle-iso8855", "dst": "odom",
            "transform_src_to_dst": {
                "euler_angles": [0.0, 0.0, np.pi / 2], "translation": [10.0, -4.0, 0.0]
            },
        }
    }  # fmt: skip
    path = tmp_path / "foreign.json"
    write_json(path, document)
    record = read_openlabel(path, HUMAN, {"Car": "car"}).frames[0].record
    assert record.boxes[0].box.centre_m == pytest.approx((5.0, 0.0, 0.0))
    assert record.boxes[0].box.yaw_rad == pytest.approx(-np.pi / 2)
    assert record.ego_pose is not None
    assert record.ego_pose.position_m == pytest.approx((10, -4, 0))
    assert abs(record.ego_pose.orientation_xyzw[3]) == pytest.approx(HALF)


def test_angles_compose_in_the_order_of_their_sequence() -> None:
    angles = (0.3, -0.4, 1.1)
    x, y, z = (euler_rotation([a if i == k else 0 for i, a in enumerate(angles)]) for k in range(3))
    np.testing.assert_allclose(euler_rotation(angles), z @ y @ x, atol=1e-15)
    np.testing.assert_allclose(euler_rotation(angles, "xyz"), x @ y @ z, atol=1e-15)
    with pytest.raises(InputError, match="about X, Y and Z"):
        euler_rotation(angles, "ZXZ")


OURS = openlabel_document(small_sequence())
BOX = ("frames", "0", "objects", "7", "object_data", "cuboid", 0)


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("metadata", "schema_version"), "0.3.0", r"metadata\.schema_version"),
        (("frames",), {}, "no frame is told"),
        ((*BOX, "val"), [1.0] * 8, r"frames\.0\.objects\.7\.object_data\.cuboid\.0\.val"),
        ((*BOX, "val"), [1, 2, 3, 0, 0, 0, 4, -2, 1], r"frames\.0\.objects\.7 size_m\.1"),
        ((*BOX, "val"), [1, 2, 3, 0, 0, 0, 4, 2000, 1], "200"),
        ((*BOX, "val"), [1, 2, 3, 0.4, 0, 0, 4, 2, 1], "tilted"),
        ((*BOX, "val"), [1, 2, 3, 0, 0, 0, 0, 4, 2, 1], "length 1"),
        ((*BOX, "coordinate_system"), "moon", "where 'moon' is in"),
        (("frames", "0", "objects", "8"), {}, r"objects\.8: no such object"),
        (("frames", "0", "frame_properties", "timestamp"), "noon", "whole nanoseconds"),
        (("frames", "0", "frame_properties", "timestamp"), 1.5, "whole nanoseconds"),
        (("frames", "1", "frame_properties", "timestamp"), str(INSTANTS[0]), "frame 1: does not"),
        (("frames", "0", "frame_properties", "longtail"), None, "who made these labels"),
        (("frames", "0", "frame_properties", "longtail", "light"), "blue", r"longtail: light"),
        (("frames", "0", "frame_properties", "longtail", "ground"), "AAAA", "needs its grid"),
        (("objects", "7", "type"), "tank", "unknown class 'tank'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_place(
    tmp_path: Path, path: tuple[str | int, ...], value: Any, why: str
) -> None:
    document = copy.deepcopy(OURS)
    inner: Any = document["openlabel"]
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(InputError, match=why) as caught:
        back(document, tmp_path)
    assert "labels.json" in str(caught.value) or path[1] == "1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", r"bad\.json:1:2: no JSON"),
        ('{"openlabel": NaN}', "NaN is no JSON number"),
        ('{"openlabel": 1, "openlabel": 2}', "'openlabel' is twice"),
        ("[" * 100_000, "no JSON"),
        ("[]", "bad.json"),
        ("\xff", "cannot be read|no JSON"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=why):
        read_openlabel(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_openlabel(tmp_path / "absent.json")
