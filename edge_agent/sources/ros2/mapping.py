"""The mapping file: which topic is which channel. Without one, topics are found by their types.

```yaml
apiVersion: longtail/v1
kind: RosMap
ego_frame: base_link
cameras: {front: /camera/front/image_raw/compressed}
lidars: {top: {topic: /velodyne_points, ring_from: bottom, rings: 32}}
pose: /odom
plan: {topic: /planning/trajectory, spacing: 100ms}
signals:
  autonomy.engaged: {topic: /autonomy/state, field: mode, states: {2: 1}, otherwise: 0}
```

A section that is left out is found by type; `cameras: {}` or `pose: null` means none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from contracts.errors import InputError
from contracts.quantities import DurationNs
from contracts.signals import SIGNAL_INDEX, nearest_name
from contracts.spec_yaml import LocatedYaml, parse_yaml, read_text, validate_located
from contracts.trigger_spec import Strict
from edge_agent.sources.conversion import ConversionRule

Topic = Annotated[str, Field(pattern=r"^/\S+$")]
SensorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class LidarRule(Strict):
    """One lidar's topic, and what its fields mean."""

    topic: Topic
    intensity_scale: float | None = Field(
        None, gt=0, description="factor to 0..255; default: 1, and 1/256 for 16 bits"
    )
    ring_from: Literal["top", "bottom"] | None = Field(
        None, description="where ring 0 is; default: seen in the first sweep"
    )
    rings: int | None = Field(None, ge=1, le=1024, description="beams; needed to turn the order")


class PlanRule(Strict):
    """The planner's trajectory: nav_msgs/Path, or any message with points in time."""

    topic: Topic
    spacing: DurationNs | None = Field(
        None, description="time between points, where their own stamps tell none"
    )


class FieldRule(ConversionRule):
    """A signal out of a field of any message."""

    topic: Topic
    field: str = Field(pattern=r"^\w+(\[\d+\])?(\.\w+(\[\d+\])?)*$")


class RosMap(Strict):
    """One vehicle's mapping."""

    api_version: Literal["longtail/v1"] = Field(alias="apiVersion")
    kind: Literal["RosMap"]
    ego_frame: str = Field("base_link", description="the frame under the rear axle")
    cameras: dict[SensorName, Topic] = Field(default_factory=dict)
    lidars: dict[SensorName, LidarRule] = Field(default_factory=dict)
    pose: Topic | None = None
    imu: Topic | None = None
    fix: Topic | None = None
    plan: PlanRule | None = None
    signals: dict[str, FieldRule] = Field(default_factory=dict)
    reorder: DurationNs = Field(
        500_000_000, description="how late a message may have been recorded"
    )

    def told(self, section: str) -> bool:
        """Whether the file has this section, be it empty."""
        return section in self.model_fields_set


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A mapping with the positions of its keys."""

    rules: RosMap
    located: LocatedYaml | None = None

    def place(self, *path: str) -> str:
        return self.located.place(path, of_key=True) if self.located is not None else "ros2"


def no_map() -> LoadedMap:
    """Everything is found by type."""
    return LoadedMap(RosMap(apiVersion="longtail/v1", kind="RosMap"))


def load_map(path: Path) -> LoadedMap:
    """Read a mapping. Raises `InputError` with `file:line:column`."""
    located = parse_yaml(read_text(path), str(path))
    names = located.value.get("signals") if isinstance(located.value, dict) else None
    for name in names if isinstance(names, dict) else ():
        if name not in SIGNAL_INDEX:
            raise InputError(
                f"no signal is called {name!r}{nearest_name(name, SIGNAL_INDEX)}",
                located.place(("signals", name), of_key=True),
            )
    return LoadedMap(validate_located(RosMap, located), located)
