"""A KITTI folder: images and lidar scans at 10 Hz, read one by one as they are asked for.

Guarantees: image bytes pass through undecoded; frame *i* of every stream carries the same
instant, from `timestamps.txt` where there is one, else *i* x 100 ms. A file that is cut short
raises `CorruptError` with the file and the offset, after all frames before it were given.

Layouts known: `image_0N/data/*.png` and `velodyne_points/data/*.bin` (raw recordings),
`velodyne*/` with `*.bin` or `*.pcd` (tracking), or a folder of such files itself;
`calib/NNNN.txt` or `calib.txt` in the tracking layout. Ego frame: the inertial unit's.

Does not do: OXTS. A recording read here has no ego signals, and `describe` lists none, so
triggers that need them say so at load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from contracts.samples import CalibrationSample, Float64s, ImageSample, LidarSample, Sample
from edge_agent.ports import SourceDescription
from edge_agent.sources.lidar_files import read_scan
from edge_agent.sources.png_header import png_chunks, png_header
from edge_agent.sources.streams import merge_samples

FRAME_NS = NS_PER_S // 10
LIDAR_CHANNEL = "/lidar/top"
_CAMERA_FOLDER = re.compile(r"image_0\d")


@dataclass(frozen=True, slots=True)
class _Stream:
    """Files of one sensor with the instant of each."""

    channel: str
    files: tuple[Path, ...]
    times_ns: tuple[int, ...]
    folder: Path


class KittiSource:
    """`SensorSource` over one folder; looks for the streams at construction, reads later."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise InputError("not a folder; give kitti:FOLDER", str(path))
        self._path = path
        self._utc_minus_mono_ns: int | None = None
        self._cameras = [
            self._stream(_files_folder(folder), ".png", f"/camera/{folder.name}")
            for folder in _camera_folders(path)
        ]
        if not self._cameras and any(path.glob("*.png")):
            self._cameras = [self._stream(path, ".png", "/camera/front")]
        if not self._cameras and any(path.glob("data/*.png")):
            self._cameras = [self._stream(path / "data", ".png", f"/camera/{path.name}")]
        lidar = _lidar_folder(path)
        self._lidars = [self._lidar_stream(lidar)] if lidar else []
        if not self._cameras and not self._lidars:
            raise InputError(
                "no KITTI data here: expected image_0N/data/*.png, velodyne*/*.bin or *.pcd, "
                "or a folder of such files",
                str(path),
            )
        self._calibration = _calibration_file(path, lidar)

    def describe(self) -> SourceDescription:
        name = re.sub(r"[^A-Za-z0-9._-]", ".", self._path.resolve().name).lstrip("._-") or "kitti"
        return SourceDescription(
            drive_id=name,
            boot_id=f"kitti-{name[:80]}-{self._fingerprint()}",
            utc_minus_mono_ns=self._utc_minus_mono_ns or 0,
            clock=ClockQuality(
                synchronised=self._utc_minus_mono_ns is not None,
                source="none" if self._utc_minus_mono_ns is None else "recording",
            ),
            camera_channels=tuple(stream.channel for stream in self._cameras),
            lidar_channels=tuple(stream.channel for stream in self._lidars),
        )

    def _fingerprint(self) -> str:
        """Tells recordings apart whose folders have one name: of the files' names and sizes."""
        streams = (*self._cameras, *self._lidars)
        listed = [f"{f.name} {f.stat().st_size}" for stream in streams for f in stream.files]
        return sha256_hex("\n".join(listed).encode())[:12]

    def samples(self) -> Iterator[Sample]:
        return merge_samples(
            self._calibrations(),
            *(_images(stream) for stream in self._cameras),
            *(_sweeps(stream) for stream in self._lidars),
        )

    def _lidar_stream(self, folder: Path) -> _Stream:
        suffix = ".pcd" if any(folder.glob("*.pcd")) else ".bin"
        return self._stream(folder, suffix, LIDAR_CHANNEL)

    def _stream(self, folder: Path, suffix: str, channel: str) -> _Stream:
        files = tuple(sorted(folder.glob(f"*{suffix}")))
        recorded = _timestamps(folder, len(files))
        if recorded is None:
            return _Stream(channel, files, tuple(i * FRAME_NS for i in range(len(files))), folder)
        if self._utc_minus_mono_ns is None:
            self._utc_minus_mono_ns = recorded[0] - NS_PER_S
        times_ns = tuple(t - self._utc_minus_mono_ns for t in recorded)
        return _Stream(channel, files, times_ns, folder)

    def _calibrations(self) -> Iterator[CalibrationSample]:
        if self._calibration is None:
            return
        for stream in self._cameras:
            header = png_header(stream.files[0].read_bytes()[:64], str(stream.files[0]))
            camera = int(stream.channel[-1]) if stream.channel[-1].isdigit() else 2
            intrinsics, ego_SE3_camera = _read_calibration(self._calibration, camera)
            yield CalibrationSample(
                stream.channel,
                stream.times_ns[0],
                header.width,
                header.height,
                intrinsics,
                ego_SE3_camera,
                stream.channel.removeprefix("/camera/"),
            )


def _camera_folders(path: Path) -> list[Path]:
    """Folders that hold images; those of raw recordings have a `data` folder inside."""
    named = sorted(f for f in path.iterdir() if f.is_dir() and _CAMERA_FOLDER.fullmatch(f.name))
    return [f for f in named if any(_files_folder(f).glob("*.png"))]


def _files_folder(folder: Path) -> Path:
    return folder / "data" if (folder / "data").is_dir() else folder


def _lidar_folder(path: Path) -> Path | None:
    def has_scans(folder: Path) -> bool:
        return any(folder.glob("*.pcd")) or any(folder.glob("*.bin"))

    if has_scans(path):
        return path
    candidates = sorted(f for f in path.iterdir() if f.is_dir() and f.name.startswith("velodyne"))
    folders = [f for f in map(_files_folder, candidates) if has_scans(f)]
    if len(folders) > 1:
        names = ", ".join(folder.name for folder in folders[:5])
        raise InputError(f"several drives here ({names}); name one of these folders", str(path))
    return folders[0] if folders else None


def _timestamps(folder: Path, count: int) -> list[int] | None:
    """UTC nanoseconds of each file from `timestamps.txt`, or None when there is no such file."""
    path = next(
        (p for p in (folder / "timestamps.txt", folder.parent / "timestamps.txt") if p.is_file()),
        None,
    )
    if path is None:
        return None
    times_ns: list[int] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        text, _, fraction = line.strip().partition(".")
        try:
            whole = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            at_ns = int(whole.timestamp()) * NS_PER_S + int(f"{fraction:0<9}"[:9])
        except ValueError as error:
            raise InputError(
                f"{line!r} is not a time such as 2011-09-26 13:02:25.594360375", f"{path}:{number}"
            ) from error
        if times_ns and at_ns <= times_ns[-1]:
            raise InputError("time does not rise", f"{path}:{number}")
        times_ns.append(at_ns)
    if len(times_ns) != count:
        raise InputError(f"{len(times_ns)} times for {count} files", str(path))
    return times_ns


def _images(stream: _Stream) -> Iterator[ImageSample]:
    frame_id = stream.channel.removeprefix("/camera/")
    for path, at_ns in zip(stream.files, stream.times_ns, strict=True):
        content = path.read_bytes()
        header = png_header(content, str(path))
        png_chunks(content, str(path))
        yield ImageSample(
            stream.channel, at_ns, "png", content, header.width, header.height, frame_id
        )


def _sweeps(stream: _Stream) -> Iterator[LidarSample]:
    for path, at_ns in zip(stream.files, stream.times_ns, strict=True):
        scan = read_scan(path)
        yield LidarSample(stream.channel, at_ns, scan.xyz_m, scan.intensity, "velodyne", scan.ring)


def _calibration_file(path: Path, lidar: Path | None) -> Path | None:
    """`calib.txt` beside the data, or the tracking layout's `calib/NNNN.txt` of this drive."""
    if (path / "calib.txt").is_file():
        return path / "calib.txt"
    number = re.search(r"\d{4}$", lidar.name) if lidar else None
    if number and (path / "calib" / f"{number.group()}.txt").is_file():
        return path / "calib" / f"{number.group()}.txt"
    return None


def _read_calibration(path: Path, camera: int) -> tuple[Float64s, Float64s]:
    """Intrinsics [3, 3] and `ego_SE3_camera` [4, 4] of one rectified camera."""
    rows: dict[str, Float64s] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        name, _, rest = line.strip().partition(" ")
        if not rest:
            continue
        try:
            rows[name.rstrip(":")] = np.array([float(word) for word in rest.split()])
        except ValueError as error:
            raise CorruptError(f"not numbers: {rest[:60]!r}", f"{path}:{number}") from error
    wanted = {f"P{camera}": 12, "Tr_velo_to_cam": 12, "Tr_imu_to_velo": 12}
    rectify = "R0_rect" if "R0_rect" in rows else "R_rect"
    for name, size in {**wanted, rectify: 9}.items():
        if rows.get(name, np.empty(0)).size != size:
            raise InputError(f"expected {size} numbers after {name}:", str(path))
    projection = rows[f"P{camera}"].reshape(3, 4)
    rectified_SE3_reference = np.eye(4)
    rectified_SE3_reference[:3, :3] = rows[rectify].reshape(3, 3)
    # The projection's last column moves from the reference camera to this one.
    camera_SE3_rectified = np.eye(4)
    camera_SE3_rectified[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    camera_SE3_ego = (
        camera_SE3_rectified
        @ rectified_SE3_reference
        @ _homogeneous(rows["Tr_velo_to_cam"])
        @ _homogeneous(rows["Tr_imu_to_velo"])
    )
    ego_SE3_camera = np.linalg.inv(camera_SE3_ego).astype(np.float64)
    return projection[:, :3].copy(), ego_SE3_camera


def _homogeneous(twelve: Float64s) -> Float64s:
    return np.vstack([twelve.reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])
