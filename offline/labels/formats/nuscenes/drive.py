"""One drive into the tables: a log, a scene, its samples, what its sensors took, its boxes."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError
from contracts.geometry import Boxes, Int64s, apply_SE3, inverse_SE3
from contracts.labels import FrameLabels
from contracts.samples import Float64s, ImageSample, LidarSample
from kernels.bev.motion import UnknownMotionError
from kernels.jpeg import jpeg_size
from kernels.lidar.objects import crop
from offline.labels.formats.frame_head import head_of
from offline.labels.formats.nuscenes.annotations import add_annotations
from offline.labels.formats.nuscenes.tables import Tables, pose_fields, token_of
from offline.labels.formats.nuscenes.words import channel_name
from offline.labels.formats.recording import (
    Recording,
    known_poses,
    motion_of,
    payloads,
    swept_at_once,
)
from offline.labels.formats.sensing import Placed, placed
from offline.labels.formats.sequence import LeftOut

_JPEG_QUALITY = 95


class DriveWriter:
    """Writes one drive; `frames` are its keyframes. `pictures` and `sweeps` count the files."""

    def __init__(
        self, tables: Tables, recording: Recording, name: str, frames: Sequence[FrameLabels],
        out: Path,
    ) -> None:  # fmt: skip
        self._tables, self._recording, self._name = tables, recording, name
        self._frames, self._out = frames, out
        self._place = str(recording.clip)
        self._keys = [frame.record.mono_ns for frame in frames]
        poses = known_poses(
            recording, [(frame.record.mono_ns, frame.record.ego_pose) for frame in frames]
        )
        self._track, self._trajectory = motion_of(recording, poses)
        self._world_SE3_ego = [self._pose_at_key(key) for key in self._keys]
        self._scene = token_of("scene", name, recording.manifest.event.text())
        self._samples = [token_of("sample", self._scene, key) for key in self._keys]
        self._channels = self._named_channels()
        self._points: dict[int, Int64s] = {}
        self.pictures = self.sweeps = 0

    def write(self, left_out: LeftOut) -> dict[str, Any]:
        """Add the drive's rows and files; what the tables have no words for."""
        left_out.add("radar frame", self._recording.radar)
        left_out.add("message that does not come after the one before it", self._recording.late)
        self._add_scene()
        self._add_sensed(left_out)
        annotations = add_annotations(
            self._tables, self._scene, self._samples, self._frames, self._world_SE3_ego,
            self._points, left_out,
        )  # fmt: skip
        return {
            "scene_token": self._scene,
            "channels": {told: channel for channel, told in self._channels.items()},
            "frames": [
                {
                    "sample_token": sample,
                    "global_pose": pose_fields(pose),
                    "head": head_of(frame).model_dump(mode="json"),
                    "boxes": rows,
                }
                for sample, pose, frame, rows in zip(
                    self._samples, self._world_SE3_ego, self._frames, annotations, strict=True
                )
            ],
        }

    def _pose_at_key(self, key_ns: int) -> Float64s:
        try:
            return self._track.world_SE3_ego(key_ns)
        except UnknownMotionError as error:
            raise InputError(f"frame {key_ns} cannot be placed in the world: {error.message}",
                             self._place) from None  # fmt: skip

    def _named_channels(self) -> dict[str, str]:
        """nuScenes' name of each channel of the clip."""
        names: dict[str, str] = {}
        for channel in self._recording.taken:
            told = channel_name(channel)
            if told in names.values():
                raise InputError(f"two channels would both be {told}", self._place)
            names[channel] = told
        return names

    def _add_scene(self) -> None:
        manifest, tables = self._recording.manifest, self._tables
        begin = datetime.fromtimestamp(manifest.start_utc_ns / NS_PER_S, UTC)
        tags = self._frames[0].record.tags
        log = tables.add(
            "log", token_of("log", self._scene), logfile=self._name,
            vehicle=manifest.event.vehicle_id, date_captured=f"{begin:%Y-%m-%d}",
            location=tags.get("region", ""),
        )  # fmt: skip
        causes = sorted({cause.trigger_id for cause in manifest.causes})
        told = [*causes, *(f"{name} {value}" for name, value in sorted(tags.items()))]
        tables.add(
            "scene", self._scene, name=self._name, description=", ".join(told), log_token=log,
            nbr_samples=len(self._samples), first_sample_token=self._samples[0],
            last_sample_token=self._samples[-1],
        )  # fmt: skip
        for token, key in zip(self._samples, self._keys, strict=True):
            tables.add("sample", token, timestamp=self._recording.stamp_us(key),
                       scene_token=self._scene)  # fmt: skip
        tables.chain("sample", self._samples)

    def _add_sensed(self, left_out: LeftOut) -> None:
        """Rows and files of all pictures and sweeps, in one pass over the clip."""
        recording, chains = self._recording, defaultdict[str, list[str]](list)
        where = {
            channel: dict(zip(times, placed(times, self._keys), strict=True))
            for channel, times in recording.taken.items()
        }
        for channel, found in where.items():
            shown = sum(one.is_key for one in found.values())
            what = "picture" if channel in recording.cameras else "sweep"
            left_out.add(f"keyframe without a {what} of {channel}", len(self._keys) - shown)
        mounted = {channel: self._calibrated(channel) for channel in recording.taken}
        for sample in payloads(recording):
            here = where[sample.channel][sample.mono_ns]
            try:
                world_SE3_ego = self._track.world_SE3_ego(sample.mono_ns)
            except UnknownMotionError:
                left_out.add(f"message of {sample.channel} too far from any pose")
                continue
            fields = (
                self._picture(sample, here, left_out)
                if isinstance(sample, ImageSample)
                else self._sweep(sample, here, world_SE3_ego, left_out)
            )
            stamp_us = recording.stamp_us(sample.mono_ns)
            token = token_of("sample_data", self._scene, sample.channel, sample.mono_ns)
            pose = self._tables.add(
                "ego_pose", token_of("ego_pose", token), timestamp=stamp_us,
                **pose_fields(world_SE3_ego),
            )  # fmt: skip
            self._tables.add(
                "sample_data", token, sample_token=self._samples[here.sample],
                ego_pose_token=pose, calibrated_sensor_token=mounted[sample.channel],
                timestamp=stamp_us, is_key_frame=here.is_key, **fields,
            )  # fmt: skip
            chains[sample.channel].append(token)
        for tokens in chains.values():
            self._tables.chain("sample_data", tokens)

    def _calibrated(self, channel: str) -> str:
        """The rows of a sensor and of where it sits."""
        told, camera = self._channels[channel], self._recording.cameras.get(channel)
        modality = "camera" if camera else "lidar"
        sensor = self._tables.add(
            "sensor", token_of("sensor", told), channel=told, modality=modality
        )  # fmt: skip
        mount = camera.ego_SE3_camera if camera else self._recording.mounts[channel]
        intrinsic = camera.intrinsics.tolist() if camera else []
        fields = pose_fields(mount)
        token = token_of("calibrated_sensor", sensor, fields, intrinsic)
        return self._tables.add(
            "calibrated_sensor", token, sensor_token=sensor, camera_intrinsic=intrinsic, **fields
        )  # fmt: skip

    def _picture(self, sample: ImageSample, here: Placed, left_out: LeftOut) -> dict[str, Any]:
        camera = self._recording.cameras[sample.channel]
        content = _as_jpeg(sample)
        if sample.encoding != "jpeg":
            left_out.add(f"exact pixels of a {sample.encoding} picture (now a JPEG)")
        place = f"{self._place}: {sample.channel} at {sample.mono_ns} ns"
        height, width = jpeg_size(content, place)
        if (width, height) != (camera.width, camera.height):
            raise InputError(f"is {width} x {height} pixels, its calibration is of "
                             f"{camera.width} x {camera.height}", place)  # fmt: skip
        self.pictures += 1
        name = self._write(sample.channel, sample.mono_ns, here, "jpg", content)
        return {"filename": name, "fileformat": "jpg", "width": width, "height": height}

    def _sweep(
        self, sample: LidarSample, here: Placed, world_SE3_ego: Float64s, left_out: LeftOut
    ) -> dict[str, Any]:
        mount = self._recording.mounts[sample.channel]
        in_ego = swept_at_once(sample, mount, self._trajectory)
        if here.is_key:
            key_SE3_now = inverse_SE3(self._world_SE3_ego[here.sample]) @ world_SE3_ego
            self._count(here.sample, apply_SE3(key_SE3_now, in_ego))
        rows = np.zeros((len(in_ego), 5), dtype="<f4")
        rows[:, :3] = apply_SE3(inverse_SE3(mount), in_ego)
        rows[:, 3] = sample.intensity
        if sample.ring is None:
            left_out.add(f"ring of a sweep of {sample.channel}: not told, written as 0")
        else:
            rows[:, 4] = sample.ring
        self.sweeps += 1
        name = self._write(sample.channel, sample.mono_ns, here, "pcd.bin", rows.tobytes())
        return {"filename": name, "fileformat": "pcd", "width": 0, "height": 0}

    def _count(self, sample: int, points_m: Float64s) -> None:
        """Points in each box of a keyframe, over all lidars."""
        boxes: Boxes = self._frames[sample].boxes()
        found, _ = crop(points_m, boxes.centre_m, boxes.yaw_rad, boxes.size_m / 2)
        counted = np.bincount(found, minlength=len(boxes)).astype(np.int64)
        self._points[sample] = self._points.get(sample, np.zeros_like(counted)) + counted

    def _write(self, channel: str, mono_ns: int, here: Placed, ending: str, content: bytes) -> str:
        told, stamp_us = self._channels[channel], self._recording.stamp_us(mono_ns)
        folder = f"{'samples' if here.is_key else 'sweeps'}/{told}"
        name = f"{folder}/{self._name}__{told}__{stamp_us}.{ending}"
        (self._out / folder).mkdir(parents=True, exist_ok=True)
        (self._out / name).write_bytes(content)
        return name


def _as_jpeg(sample: ImageSample) -> bytes:
    """The picture as it is, where it is a JPEG."""
    if sample.encoding == "jpeg":
        return bytes(sample.content)
    from matplotlib.image import imread

    try:
        shares = np.asarray(imread(io.BytesIO(bytes(sample.content)), format=sample.encoding))
    except (OSError, ValueError, SyntaxError) as error:
        raise CorruptError(f"not a whole {sample.encoding}: {error}", sample.channel) from error
    colours = shares[..., :3] if shares.ndim == 3 else np.repeat(shares[..., None], 3, axis=2)
    pixels = np.ascontiguousarray((colours * 255).round().astype(np.uint8))
    content: bytes = simplejpeg.encode_jpeg(pixels, quality=_JPEG_QUALITY)
    return content
