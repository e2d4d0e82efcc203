"""Which topic of a bag feeds which channel: what the mapping says, else what the types say.

Guarantees: two topics never feed one channel. Where several could and nothing chooses between
them, it is an error that names them: a guess would change from bag to bag.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contracts.errors import InputError
from contracts.signals import nearest_name
from edge_agent.sources.ros2.mapping import FieldRule, LidarRule, LoadedMap, PlanRule

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CLOUD, IMU, FIX = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/Imu", "sensor_msgs/msg/NavSatFix"
CAMERA_INFO, TF = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
ODOMETRY, PATH = "nav_msgs/msg/Odometry", "nav_msgs/msg/Path"
TF_STATIC = "/tf_static"

_IMAGE_WORDS = frozenset({
    "image", "image_raw", "image_color", "image_rect", "image_rect_color", "image_mono",
    "compressed", "camera", "cameras", "sensing", "sensor", "sensors", "driver", "color", "rgb",
})  # fmt: skip
_CLOUD_WORDS = frozenset({
    "points", "points_raw", "pointcloud", "pointcloud_raw", "pointcloud2", "point_cloud", "cloud",
    "lidar", "lidars", "sensing", "sensor", "sensors", "driver",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wiring:
    """Topics by what they feed. `cameras` and `lidars` by channel name, `infos` by camera."""

    cameras: Mapping[str, str]
    infos: Mapping[str, str]
    lidars: Mapping[str, LidarRule]
    pose: str | None
    imu: str | None
    fix: str | None
    plan: PlanRule | None
    signals: Mapping[str, FieldRule]

    @property
    def topics(self) -> frozenset[str]:
        """All whose messages are read in order."""
        single = {self.pose, self.imu, self.fix, self.plan.topic if self.plan else None}
        return frozenset(
            {*self.cameras.values(), *(rule.topic for rule in self.lidars.values())}
            | {topic for topic in single if topic is not None}
            | {rule.topic for rule in self.signals.values()}
        )


def wire(types: Mapping[str, str], loaded: LoadedMap) -> Wiring:
    """Choose among a bag's topics.

    Args:
        types: message type by topic.

    Raises `InputError` for topics that are missing, of another type, or not to be told apart.
    """
    rules = loaded.rules
    cameras = dict(rules.cameras)
    if not rules.told("cameras"):
        cameras = _cameras(types)
    for name, topic in cameras.items():
        _check(types, topic, (IMAGE, COMPRESSED), loaded.place("cameras", name))
    lidars = dict(rules.lidars)
    if not rules.told("lidars"):
        clouds = sorted(t for t, kind in types.items() if kind == CLOUD)
        lidars = {n: LidarRule(topic=t) for n, t in _named(clouds, _CLOUD_WORDS, "lidar").items()}
    for name, rule in lidars.items():
        _check(types, rule.topic, (CLOUD,), loaded.place("lidars", name, "topic"))
    plan = rules.plan
    if not rules.told("plan"):
        path = _only(types, PATH, "plan", "{topic: ...}", loaded)
        plan = PlanRule(topic=path) if path else None
    elif plan is not None:
        _check(types, plan.topic, (), loaded.place("plan", "topic"))
    for name, field in rules.signals.items():
        _check(types, field.topic, (), loaded.place("signals", name, "topic"))
    return Wiring(
        cameras, _infos(types, cameras), lidars,
        _single(types, ODOMETRY, "pose", rules.pose, loaded),
        _single(types, IMU, "imu", rules.imu, loaded),
        _single(types, FIX, "fix", rules.fix, loaded),
        plan, rules.signals,
    )  # fmt: skip


def _single(
    types: Mapping[str, str], kind: str, section: str, chosen: str | None, loaded: LoadedMap
) -> str | None:
    if loaded.rules.told(section):
        if chosen is not None:
            _check(types, chosen, (kind,), loaded.place(section))
        return chosen
    return _only(types, kind, section, "TOPIC", loaded)


def _only(
    types: Mapping[str, str], kind: str, section: str, form: str, loaded: LoadedMap
) -> str | None:
    found = sorted(topic for topic, its in types.items() if its == kind)
    if len(found) > 1:
        raise InputError(
            f"several topics are of type {kind}: {', '.join(found)}; name one in the mapping "
            f"({section}: {form}) or none ({section}: null)",
            loaded.place(),
        )
    return found[0] if found else None


def _check(types: Mapping[str, str], topic: str, kinds: tuple[str, ...], place: str) -> None:
    if topic not in types:
        raise InputError(f"the bag has no topic {topic!r}{nearest_name(topic, types)}", place)
    if kinds and types[topic] not in kinds:
        raise InputError(f"{topic} is of type {types[topic]}, not {' or '.join(kinds)}", place)


def _cameras(types: Mapping[str, str]) -> dict[str, str]:
    """All image topics by name; of one picture sent twice the compressed one."""
    topics = sorted(t for t, kind in types.items() if kind == COMPRESSED)
    twins = {topic.removesuffix("/compressed") for topic in topics}
    topics += sorted(t for t, kind in types.items() if kind == IMAGE and t not in twins)
    return _named(topics, _IMAGE_WORDS, "camera")


def _named(topics: Iterable[str], common: frozenset[str], alone: str) -> dict[str, str]:
    """Short names out of topics: `/sensing/camera/front/image_raw` is `front`."""
    found: dict[str, str] = {}
    for topic in topics:
        words = [w for w in topic.strip("/").split("/") if w.lower() not in common]
        name = re.sub(r"[^A-Za-z0-9_-]", "_", "_".join(words))[:64] or alone
        if name in found:
            raise InputError(
                f"{topic} and {found[name]} would both be called {name!r}: name them in a mapping",
                "ros2",
            )
        found[name] = topic
    return found


def _infos(types: Mapping[str, str], cameras: Mapping[str, str]) -> dict[str, str]:
    """The camera_info topic beside each camera's, or above it."""
    found: dict[str, str] = {}
    for name, topic in cameras.items():
        parts = topic.split("/")
        for depth in range(len(parts) - 1, 0, -1):
            beside = "/".join([*parts[:depth], "camera_info"])
            if types.get(beside) == CAMERA_INFO:
                found[name] = beside
                break
    return found
