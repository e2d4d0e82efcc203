"""A nuScenes database as labelled drives: ours, edited or not, or anybody's.

Geometry, classes and links come from the tables. A box that is where `longtail.json` says it was
written comes back as it was labelled, to the last bit; one that somebody moved, renamed or added
is `said_by`'s. Without that file (nuScenes' own data) a scene is a drive under its name, a frame's
time is its timestamp, tracks are numbered, and `said_by` is who labelled all of it.

A box comes back upright in the ego frame: of one that is tilted there, the heading is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from contracts.errors import InputError
from contracts.geometry import (
    Box3D,
    Finite,
    SE3_of_quaternion,
    inverse_SE3,
    yaw_of,
)
from contracts.ids import parse_name
from contracts.labels import EgoPose, LabelledBox, Provenance
from contracts.samples import Float64s, PoseSample
from kernels.bev.motion import PoseTrack
from kernels.clip.encoding import quaternion_of
from offline.labels.formats.files import read_json, reason, validated
from offline.labels.formats.frame_head import FrameHead, frame_of
from offline.labels.formats.nuscenes.tables import Row, Tables, chain_from, read_tables
from offline.labels.formats.nuscenes.words import CLASS_OF, VISIBILITY_MIDDLE
from offline.labels.formats.nuscenes.writer import BESIDE
from offline.labels.formats.openlabel_axes import Loose
from offline.labels.formats.sequence import LabelSequence, LeftOut

_Place3 = tuple[Finite, Finite, Finite]
_Turn = tuple[Finite, Finite, Finite, Finite]
_SAME = 1e-6
"""Metres, and half radians: what is nearer to where it was has not been moved."""


class _Posed(Loose):
    translation: _Place3
    rotation: _Turn

    def matrix(self) -> Float64s:
        w, x, y, z = self.rotation
        return SE3_of_quaternion(np.array(self.translation), np.array([x, y, z, w]))


class _Stamped(Loose):
    timestamp: int = Field(ge=0, lt=2**53)


class _EgoPose(_Posed, _Stamped):
    token: str


class _Annotation(_Posed):
    token: str
    instance_token: str
    sample_token: str
    visibility_token: str = ""
    size: _Place3
    num_lidar_pts: int = Field(0, ge=0)


class _Told(Loose):
    """A box as it was labelled; without a token it is ignored, and in no table."""

    annotation_token: str | None = None
    box: LabelledBox


class _ToldFrame(Loose):
    sample_token: str
    global_pose: _Posed
    head: FrameHead
    boxes: tuple[_Told, ...] = ()


class _ToldDrive(Loose):
    frames: tuple[_ToldFrame, ...]


class _Beside(Loose):
    drives: tuple[_ToldDrive, ...]


def read_nuscenes(
    folder: Path, said_by: Provenance | None = None
) -> tuple[list[LabelSequence], LeftOut]:
    """Each scene as a drive.

    Args:
        folder: the database's, or that of its tables.
        said_by: who made what the files do not say.

    Raises `InputError` with file, row and field.
    """
    tables_folder = _tables_folder(folder)
    tables, left_out = read_tables(tables_folder), LeftOut()
    beside = tables_folder / BESIDE
    told: dict[str, _ToldFrame] = {}
    if beside.is_file():
        found = validated(_Beside, read_json(beside), str(beside))
        told = {frame.sample_token: frame for drive in found.drives for frame in drive.frames}
    reader = _Reader(tables, told, said_by, str(tables_folder), left_out)
    return [reader.sequence(scene) for scene in tables.rows["scene"].values()], left_out


def _tables_folder(folder: Path) -> Path:
    if (folder / "scene.json").is_file():
        return folder
    found = sorted(path.parent for path in folder.glob("v1.0-*/scene.json"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"one folder v1.0-* with tables is expected, there is {names}",
                         str(folder))  # fmt: skip
    return found[0]


class _Reader:
    def __init__(
        self, tables: Tables, told: Mapping[str, _ToldFrame], said_by: Provenance | None,
        place: str, left_out: LeftOut,
    ) -> None:  # fmt: skip
        self._rows, self._told, self._said_by = tables.rows, told, said_by
        self._place, self._left_out = place, left_out
        self._annotations: dict[str, list[_Annotation]] = {}
        for number, row in enumerate(self._rows["sample_annotation"].values()):
            one = validated(_Annotation, row, f"{place}/sample_annotation.json: {number}")
            self._annotations.setdefault(one.sample_token, []).append(one)
        self._scene_poses = self._poses_by_scene()
        self._class_of = {
            token: CLASS_OF.get(str(self._rows["category"][row["category_token"]].get("name")))
            for token, row in self._rows["instance"].items()
        }

    def _poses_by_scene(self) -> dict[str, dict[int, _EgoPose]]:
        """Each scene's ego poses by their microsecond."""
        poses = {
            token: validated(_EgoPose, row, f"{self._place}/ego_pose.json: {number}")
            for number, (token, row) in enumerate(self._rows["ego_pose"].items())
        }
        found: dict[str, dict[int, _EgoPose]] = {}
        for row in self._rows["sample_data"].values():
            scene = self._rows["sample"][row["sample_token"]]["scene_token"]
            pose = poses[row["ego_pose_token"]]
            found.setdefault(scene, {})[pose.timestamp] = pose
        return found

    def sequence(self, scene: Row) -> LabelSequence:
        where = f"{self._place}/scene.json: {scene['token']}"
        name = parse_name(str(scene.get("name", "")), where)
        track = self._track(scene["token"], where)
        numbers: dict[str, int] = {}
        known = [
            one.box.box.track_id
            for sample in chain_from(self._rows["sample"], scene["first_sample_token"])
            if sample["token"] in self._told
            for one in self._told[sample["token"]].boxes
            if one.box.box.track_id is not None
        ]
        first_free = max(known, default=-1) + 1
        frames = []
        for sample in chain_from(self._rows["sample"], scene["first_sample_token"]):
            place = f"{self._place}/sample.json: {sample['token']}"
            instant_ns = validated(_Stamped, sample, place).timestamp * 1000
            told = self._told.get(sample["token"])
            try:
                world_SE3_ego = (
                    told.global_pose.matrix() if told else track.world_SE3_ego(instant_ns)
                )
                boxes = list(self._boxes(sample, world_SE3_ego, numbers, first_free))
            except (InputError, ValidationError) as error:
                why, at = reason(error)
                raise InputError(why, f"{place}: {at}" if at else place) from None
            head = told.head if told else self._head(name, instant_ns, world_SE3_ego, place)
            frames.append(frame_of(head, tuple(boxes), place))
        try:
            return LabelSequence(tuple(frames))
        except InputError as error:
            raise InputError(error.message, f"{where}: {error.place}") from None

    def _track(self, scene: str, where: str) -> PoseTrack:
        rows = self._scene_poses.get(scene)
        if not rows:
            raise InputError("nothing was sensed, so nothing tells where the ego was", where)
        poses = []
        for _, one in sorted(rows.items()):
            w, x, y, z = one.rotation
            poses.append(
                PoseSample(one.timestamp * 1000, np.array(one.translation), np.array([x, y, z, w]))
            )
        return PoseTrack(poses)

    def _head(
        self, name: str, instant_ns: int, world_SE3_ego: Float64s, place: str
    ) -> FrameHead:  # fmt: skip
        x, y, z = world_SE3_ego[:3, 3].tolist()
        qx, qy, qz, qw = quaternion_of(world_SE3_ego[:3, :3])
        pose = EgoPose(position_m=(x, y, z), orientation_xyzw=(qx, qy, qz, qw))
        return FrameHead(
            drive_id=name, mono_ns=instant_ns, ego_pose=pose,
            provenance=self._somebody(place),
        )  # fmt: skip

    def _somebody(self, place: str) -> Provenance:
        if self._said_by is None:
            raise InputError("the files do not say who labelled or changed this: name them "
                             "(--made-by)", place)  # fmt: skip
        return self._said_by

    def _boxes(
        self, sample: Row, world_SE3_ego: Float64s, numbers: dict[str, int], first_free: int
    ) -> Iterator[LabelledBox]:
        """In the order in which they were, then what was added."""
        ego_SE3_world = inverse_SE3(world_SE3_ego)
        rows = {one.token: one for one in self._annotations.get(sample["token"], ())}
        told = self._told.get(sample["token"])
        for one in told.boxes if told else ():
            if one.annotation_token is None:
                yield one.box
            elif one.annotation_token in rows:
                row = rows.pop(one.annotation_token)
                class_name = self._class(row)
                if class_name is not None:
                    yield self._known(row, class_name, ego_SE3_world, one.box)
        for row in rows.values():
            class_name = self._class(row)
            if class_name is None:
                continue
            number = numbers.setdefault(row.instance_token, first_free + len(numbers))
            yield LabelledBox(
                box=_solid(row, class_name, ego_SE3_world, number, None),
                visibility=VISIBILITY_MIDDLE.get(row.visibility_token),
                points=row.num_lidar_pts,
                provenance=self._somebody(f"{self._place}/sample_annotation.json: {row.token}"),
            )

    def _known(
        self, row: _Annotation, class_name: str, ego_SE3_world: Float64s, own: LabelledBox
    ) -> LabelledBox:
        """A box of ours: as it was, unless somebody changed its row."""
        was, track = own.box, own.box.track_id
        solid = _solid(row, class_name, ego_SE3_world, track, was.velocity_mps)
        away = np.subtract((*solid.centre_m, *solid.size_m), (*was.centre_m, *was.size_m))
        turned = abs(np.sin((solid.yaw_rad - was.yaw_rad) / 2))
        if class_name == was.class_name and max(np.abs(away).max(), turned) <= _SAME:
            return own
        said_by = self._somebody(f"{self._place}/sample_annotation.json: {row.token}")
        return own.model_copy(update={"box": solid, "confidence": 1.0, "provenance": said_by})

    def _class(self, row: _Annotation) -> str | None:
        found = self._class_of[row.instance_token]
        if found is None:
            category = self._rows["instance"][row.instance_token]["category_token"]
            name = self._rows["category"][category].get("name")
            self._left_out.add(f"object of a class that is not in the taxonomy: {name}")
        return found


def _solid(
    row: _Annotation, class_name: str, ego_SE3_world: Float64s, track_id: int | None,
    velocity_mps: tuple[float, float] | None,
) -> Box3D:  # fmt: skip
    pose = ego_SE3_world @ row.matrix()
    width, length, height = row.size
    x, y, z = pose[:3, 3].tolist()
    return Box3D(
        centre_m=(x, y, z), size_m=(length, width, height), yaw_rad=yaw_of(pose),
        class_name=class_name, velocity_mps=velocity_mps, track_id=track_id,
    )  # fmt: skip
