"""Small ROS 2 bags made by rosbags' own writer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
T = STORE.types
START = 1_790_000_000_000_000_000
MS = 1_000_000


def time(at_ns: int) -> Any:
    return T["builtin_interfaces/msg/Time"](sec=at_ns // 10**9, nanosec=at_ns % 10**9)


def header(at_ns: int, frame_id: str = "base_link") -> Any:
    return T["std_msgs/msg/Header"](stamp=time(at_ns), frame_id=frame_id)


def vector(x: float, y: float, z: float) -> Any:
    return T["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)


def pose(x: float, y: float, yaw: float = 0.0) -> Any:
    return T["geometry_msgs/msg/Pose"](
        position=T["geometry_msgs/msg/Point"](x=x, y=y, z=0.0),
        orientation=T["geometry_msgs/msg/Quaternion"](
            x=0.0, y=0.0, z=float(np.sin(yaw / 2)), w=float(np.cos(yaw / 2))
        ),
    )


def odometry(
    at_ns: int, x: float, y: float, yaw: float, speed: float, child: str = "base_link"
) -> Any:
    twist = T["geometry_msgs/msg/Twist"](linear=vector(speed, 0, 0), angular=vector(0, 0, 0.1))
    covariance = np.zeros(36)
    return T["nav_msgs/msg/Odometry"](
        header=header(at_ns, "odom"), child_frame_id=child,
        pose=T["geometry_msgs/msg/PoseWithCovariance"](pose=pose(x, y, yaw), covariance=covariance),
        twist=T["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=covariance),
    )  # fmt: skip


def path(at_ns: int, frame: str, points: list[tuple[float, float]], step_ns: int) -> Any:
    stamped = [
        T["geometry_msgs/msg/PoseStamped"](
            header=header(at_ns + i * step_ns, frame), pose=pose(*xy)
        )
        for i, xy in enumerate(points)
    ]
    return T["nav_msgs/msg/Path"](header=header(at_ns, frame), poses=stamped)


def image(
    at_ns: int,
    encoding: str,
    rows: np.ndarray[Any, Any],
    width: int,
    step: int,
    *,
    big: bool = False,
) -> Any:
    return T["sensor_msgs/msg/Image"](
        header=header(at_ns, "camera_optical"), height=rows.shape[0], width=width,
        encoding=encoding, is_bigendian=int(big), step=step, data=rows.reshape(-1),
    )  # fmt: skip


def compressed(at_ns: int, content: bytes, kind: str = "jpeg") -> Any:
    return T["sensor_msgs/msg/CompressedImage"](
        header=header(at_ns, "camera_optical"), format=kind, data=np.frombuffer(content, np.uint8)
    )


def camera_info(at_ns: int, width: int, height: int) -> Any:
    k = np.array([50.0, 0, width / 2, 0, 50.0, height / 2, 0, 0, 1])
    p = np.array([60.0, 0, width / 2, 0, 0, 60.0, height / 2, 0, 0, 0, 1, 0])
    return T["sensor_msgs/msg/CameraInfo"](
        header=header(at_ns, "camera_optical"), height=height, width=width,
        distortion_model="plumb_bob", d=np.zeros(5), k=k, r=np.eye(3).reshape(-1), p=p,
        binning_x=0, binning_y=0,
        roi=T["sensor_msgs/msg/RegionOfInterest"](
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        ),
    )  # fmt: skip


_CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}


def cloud(
    at_ns: int, columns: Mapping[str, np.ndarray[Any, Any]], *, big: bool = False, pad: int = 0,
    row_pad: int = 0, height: int = 1, frame: str = "lidar",
) -> Any:  # fmt: skip
    """A PointCloud2 of columns by field name, with `pad` bytes behind each point."""
    order = ">" if big else "<"
    layout, offset, fields = [], 0, []
    for name, values in columns.items():
        code = values.dtype.str[1:]
        fields.append(
            T["sensor_msgs/msg/PointField"](
                name=name, offset=offset, datatype=_CODES[code], count=1
            )
        )
        layout.append((name, order + code, offset))
        offset += values.dtype.itemsize
    step = offset + pad
    n = len(next(iter(columns.values())))
    dtype = np.dtype({
        "names": [name for name, _, _ in layout], "formats": [code for _, code, _ in layout],
        "offsets": [at for _, _, at in layout], "itemsize": step,
    })  # fmt: skip
    points = np.zeros(n, dtype)
    for name, values in columns.items():
        points[name] = values
    width = n // height
    rows = np.frombuffer(points.tobytes(), np.uint8).reshape(height, width * step)
    rows = np.pad(rows, ((0, 0), (0, row_pad)))
    return T["sensor_msgs/msg/PointCloud2"](
        header=header(at_ns, frame), height=height, width=width, fields=fields, is_bigendian=big,
        point_step=step, row_step=width * step + row_pad, data=rows.reshape(-1), is_dense=True,
    )  # fmt: skip


def imu(at_ns: int, *, with_gyro: bool = True) -> Any:
    nothing = np.zeros(9)
    absent = np.array([-1.0, *np.zeros(8)])
    return T["sensor_msgs/msg/Imu"](
        header=header(at_ns, "imu"), orientation=pose(0, 0).orientation,
        orientation_covariance=absent, angular_velocity=vector(0.1, 0.2, 0.3),
        angular_velocity_covariance=nothing if with_gyro else absent,
        linear_acceleration=vector(1.0, 2.0, 9.8), linear_acceleration_covariance=nothing,
    )  # fmt: skip


def nav_fix(at_ns: int, lat: float, lon: float, status: int = 0) -> Any:
    return T["sensor_msgs/msg/NavSatFix"](
        header=header(at_ns, "gnss"),
        status=T["sensor_msgs/msg/NavSatStatus"](status=status, service=1),
        latitude=lat, longitude=lon, altitude=500.0, position_covariance=np.zeros(9),
        position_covariance_type=0,
    )  # fmt: skip


def transforms(
    *edges: tuple[str, str, tuple[float, float, float], tuple[float, float, float, float]],
) -> Any:
    """Parent, child, translation, quaternion xyzw of each."""
    made = [
        T["geometry_msgs/msg/TransformStamped"](
            header=header(0, parent), child_frame_id=child,
            transform=T["geometry_msgs/msg/Transform"](
                translation=vector(*at),
                rotation=T["geometry_msgs/msg/Quaternion"](x=q[0], y=q[1], z=q[2], w=q[3]),
            ),
        )
        for parent, child, at, q in edges
    ]  # fmt: skip
    return T["tf2_msgs/msg/TFMessage"](transforms=made)


class BagWriter:
    """Writes messages; the type of each topic is that of its first message."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Any] = {}

    def put(self, topic: str, message: Any, recorded_ns: int) -> None:
        kind = message.__msgtype__
        self.put_raw(topic, kind, bytes(STORE.serialize_cdr(message, kind)), recorded_ns)

    def put_raw(self, topic: str, kind: str, content: bytes, recorded_ns: int) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=STORE)
        self._writer.write(self._connections[topic], recorded_ns, content)


@contextmanager
def bag_writer(folder: Path, storage: str = "sqlite3") -> Iterator[BagWriter]:
    plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        yield BagWriter(writer)


def sweep(seed: int = 0, n: int = 256) -> dict[str, Any]:
    """Columns of a sweep: ring 0 looks lowest, time rises."""
    rng = np.random.default_rng(seed)
    ring = np.tile(np.arange(16, dtype=np.uint16), n // 16)
    elevation = np.deg2rad(-15 + 2.0 * ring)
    azimuth = np.sort(rng.uniform(0, 2 * np.pi, n))
    return {
        "x": (20 * np.cos(azimuth) * np.cos(elevation)).astype(np.float32),
        "y": (20 * np.sin(azimuth) * np.cos(elevation)).astype(np.float32),
        "z": (20 * np.sin(elevation)).astype(np.float32),
        "intensity": rng.integers(0, 255, n).astype(np.float32),
        "ring": ring,
        "t": np.arange(n, dtype=np.uint32) * 390_000,
    }
