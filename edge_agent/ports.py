"""The agent's ports: what it needs from the world, as tiny protocols.

Sources, clock, disk, network and model are behind these; `edge_agent.app` alone chooses the
adapters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from contracts.clock import ClockQuality
from contracts.model_manifest import BevInputs, ImageInput
from contracts.samples import ImageSample, PerceptionFrame, Sample
from kernels.bev.window import BevTensors


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


@runtime_checkable
class LiveSource(SensorSource, Protocol):
    """A source that waits for the world, and so must be told when to stop waiting."""

    def stop(self) -> None:
        """End `samples()` soon, even while nothing comes. Any thread."""
        ...


@runtime_checkable
class CountingSource(Protocol):
    """A source that tells what it left out so far, by reason."""

    @property
    def counts(self) -> Mapping[str, int]: ...


class PerceptionModel(Protocol):
    """A perception network that is ready to run: an `ImageModel` or a `BevModel`."""

    @property
    def digest(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...


@runtime_checkable
class ImageModel(PerceptionModel, Protocol):
    """Runs one image through the network."""

    def detect(self, image: ImageSample, pixels: NDArray[np.uint8]) -> PerceptionFrame:
        """`pixels` is the decoded image, uint8 [h, w, 3] RGB."""
        ...


@dataclass(frozen=True, slots=True)
class BevSpec:
    """What a bird's-eye model is fed: equal ones may share their inputs."""

    image: ImageInput
    bev: BevInputs


@runtime_checkable
class BevModel(PerceptionModel, Protocol):
    """Runs one instant of all sensors through the network."""

    @property
    def spec(self) -> BevSpec: ...

    def perceive(self, tensors: BevTensors, mono_ns: int) -> PerceptionFrame:
        """`tensors` are those of `spec` at `mono_ns`."""
        ...


class Session(Protocol):
    """An opened network: the part of onnxruntime's `InferenceSession` that is used."""

    def get_inputs(self) -> Sequence[Any]: ...

    def get_outputs(self) -> Sequence[Any]: ...

    def run(
        self, output_names: list[str], feed: Mapping[str, NDArray[Any]]
    ) -> list[NDArray[np.float32]]: ...


SessionOpener = Callable[[bytes, str], Session]
"""Opens a model's bytes; the place is for errors. Raises `InputError` when they are no model."""


@dataclass(frozen=True, slots=True)
class Link:
    """The connection at this moment. `metered` is true when bytes cost money."""

    kind: Literal["wifi", "ethernet", "cellular", "none"]
    metered: bool = False


class LinkMonitor(Protocol):
    """Which link the vehicle has now."""

    def link(self) -> Link: ...
