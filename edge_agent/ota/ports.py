"""Between the updater and the running agent: what shall run, and what does.

The updater decides *what* (verified releases); the runtime decides *when* (specs between two
frames, models in the safe state) and tells what came of it. Neither knows the other's insides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from contracts.check_in import (
    Counters,
    Latency,
    RunningModel,
    RunningTrigger,
    ShadowModel,
    ShadowTrigger,
)
from contracts.model_manifest import ModelManifest
from contracts.ota import Slot
from contracts.trigger_spec import LoadedSpec
from edge_agent.ports import PerceptionModel


@dataclass(frozen=True, slots=True)
class SpecRelease:
    """A verified, parsed and compiled spec for its slot."""

    slot: Slot
    loaded: LoadedSpec


@dataclass(frozen=True, slots=True)
class ModelRelease:
    """A verified, opened and self-tested model. `digest` is its manifest's bytes' digest."""

    slot: Slot
    digest: str
    manifest: ModelManifest
    model: PerceptionModel


@dataclass(frozen=True, slots=True)
class Lineup:
    """All releases that shall run, laid over the built-in specs and model."""

    specs: tuple[SpecRelease, ...] = ()
    model: ModelRelease | None = None
    shadow_model: ModelRelease | None = None
    killed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class SlotFault:
    """A release that could not be activated, or misbehaved while it ran."""

    slot: Slot
    digest: str
    stage: Literal["activate", "soak"]
    reason: str


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """What truly runs now. `driving_ns` is drive time evaluated since the process began;
    `waiting_for` tells why an offered model does not run yet, empty when nothing waits."""

    triggers: tuple[RunningTrigger, ...] = ()
    models: tuple[RunningModel, ...] = ()
    faults: tuple[SlotFault, ...] = ()
    driving_ns: int = 0
    waiting_for: str = ""
    shadow_triggers: tuple[ShadowTrigger, ...] = ()
    shadow_model: ShadowModel | None = None
    latency: Latency = field(default_factory=Latency)
    counters: Counters = field(default_factory=Counters)


class Runtime(Protocol):
    """The running agent, as the updater sees it. Safe to call from any thread."""

    def offer(self, lineup: Lineup) -> None:
        """Make this run as soon as it may, in place of any lineup offered before."""
        ...

    def report(self) -> RuntimeReport: ...
