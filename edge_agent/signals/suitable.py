"""Which specs can work on a vehicle: by the signals that its source and its model give. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.trigger_spec import LoadedSpec, NoveltySpec, SimilarToSpec, TriggerSpec
from edge_agent.ports import BevModel, PerceptionModel, SourceDescription
from edge_agent.signals.derive import available_signals
from kernels.triggers.table import required_signals, unknown_classes


@dataclass(frozen=True, slots=True)
class InactiveSpec:
    """A spec that cannot work on this vehicle, and why; it is reported, never silent."""

    loaded: LoadedSpec
    reason: str


def signals_of(
    description: SourceDescription,
    class_names: tuple[str, ...],
    *,
    bev: bool = False,
    candidate: bool = False,
) -> frozenset[str]:
    """Signals that will exist on this source with a model of these classes (none: no model), and
    with a `candidate` in shadow beside it.

    A model of images (or, with `bev`, one of all sensors) has nothing to say where there are
    none; the latter needs poses for all but pictures.
    """
    sees = bool(description.camera_channels)
    if bev and (description.has_radar or description.lidar_channels):
        sees = description.has_pose
    return available_signals(
        description.signals,
        camera=sees and bool(class_names),
        plan=description.has_plan and description.has_pose,
        radar=description.has_radar,
        lidar=bool(description.lidar_channels),
        pictures=bool(description.camera_channels),
        candidate=candidate,
    )


def inactive_reason(
    spec: TriggerSpec,
    signals: frozenset[str],
    class_names: tuple[str, ...],
    model_digest: str | None = None,
) -> str:
    """Why a spec cannot work with these signals and this model; empty when it can."""
    missing = [name for name in required_signals(spec) if name not in signals]
    unknown = unknown_classes(spec, class_names)
    if any(name.startswith("shadow.") for name in missing) and "perception.margin" in signals:
        return "no candidate model runs in shadow"
    if missing:
        return f"the vehicle has no {', '.join(missing)}"
    if unknown and len(unknown) == len(getattr(spec.when, "classes", ())):
        return f"the model knows none of {', '.join(unknown)}"
    if isinstance(spec, SimilarToSpec | NoveltySpec) and spec.when.space != model_digest:
        runs = f"model {model_digest[:12]} runs" if model_digest else "no model runs"
        what = "reference is" if isinstance(spec, SimilarToSpec) else "centroids are"
        return f"its {what} of model {spec.when.space[:12]}, but {runs}"
    return "the spec is retired" if spec.status == "retired" else ""


def split_specs(
    specs: Sequence[LoadedSpec], description: SourceDescription, model: PerceptionModel | None
) -> tuple[list[LoadedSpec], list[InactiveSpec]]:
    """Specs that can run on this source with this model, and those that cannot."""
    class_names = model.class_names if model is not None else ()
    digest = model.digest if model is not None else None
    signals = signals_of(description, class_names, bev=isinstance(model, BevModel))
    active: list[LoadedSpec] = []
    inactive: list[InactiveSpec] = []
    for loaded in specs:
        reason = inactive_reason(loaded.spec, signals, class_names, digest)
        if reason:
            inactive.append(InactiveSpec(loaded, reason))
        else:
            active.append(loaded)
    return active, inactive
