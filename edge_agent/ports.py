"""The agent's ports: what it needs from the world, as tiny protocols.

Sources, clock, disk, network and model are behind these; `edge_agent.app` alone chooses the
adapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.clock import ClockQuality
from contracts.samples import ImageSample, PerceptionFrame, Sample


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """What a source is, told before its first sample.

    `utc_minus_mono_ns` turns the source's monotonic time into wall time for the whole drive.
    `signals` are the catalogued names that it will publish; `labels` what is known of the
    drive as a whole (`weather`, `tod`, `road_type`, free `region`).
    """

    drive_id: str
    boot_id: str
    utc_minus_mono_ns: int
    clock: ClockQuality
    signals: frozenset[str] = frozenset()
    camera_channels: tuple[str, ...] = ()
    lidar_channels: tuple[str, ...] = ()
    has_pose: bool = False
    has_plan: bool = False
    has_radar: bool = False
    labels: dict[str, str] = field(default_factory=dict)


class SensorSource(Protocol):
    """Time-stamped messages of one drive, in the order of `mono_ns`.

    A value that breaks its contract (NaN, out of range, truncated file) is raised as
    `InputError` or `CorruptError` with its place only where the source cannot go on; single
    bad samples are passed on as they are, and the agent's door rejects and counts them.
    """

    def describe(self) -> SourceDescription: ...

    def samples(self) -> Iterator[Sample]: ...


class PerceptionModel(Protocol):
    """Runs one image through the perception network."""

    @property
    def digest(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def detect(self, image: ImageSample, pixels: NDArray[np.uint8]) -> PerceptionFrame:
        """`pixels` is the decoded image, uint8 [h, w, 3] RGB."""
        ...


@dataclass(frozen=True, slots=True)
class Link:
    """The connection at this moment. `metered` is true when bytes cost money."""

    kind: Literal["wifi", "ethernet", "cellular", "none"]
    metered: bool = False


class LinkMonitor(Protocol):
    """Which link the vehicle has now."""

    def link(self) -> Link: ...
