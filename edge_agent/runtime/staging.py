"""Makes ready, outside of the drive's thread, what a lineup asks for.

Guarantees: what comes out compiles, and its models have run once on a made-up frame (so that no
kernel is compiled during a real one); a release that does not is left out with a `SlotFault`,
and what ran in its slot stays in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakSet

from contracts.errors import LongtailError
from edge_agent.ota.ports import Lineup, ModelRelease, SlotFault, SpecRelease
from edge_agent.perception.views import look, trial_view
from edge_agent.ports import BevModel, PerceptionModel, SourceDescription
from edge_agent.runtime.agreement import Agreement
from edge_agent.runtime.faults import Key
from edge_agent.runtime.lineup import BuiltIn, RunningSet, VehicleView, arrange
from edge_agent.signals.suitable import signals_of
from kernels.triggers.adapt import NO_THRESHOLDS, Thresholds
from kernels.triggers.engine import TriggerEngine

_OTHER_KIND = "one of the two judges images, the other all sensors: they cannot be compared"


def same_kind(one: ModelRelease, other: ModelRelease) -> bool:
    """Whether both judge images, or both instants of all sensors."""
    return isinstance(one.model, BevModel) == isinstance(other.model, BevModel)


@dataclass(frozen=True, slots=True)
class Staged:
    """A set that can be swapped in at once, with its compiled specs."""

    running: RunningSet
    engine: TriggerEngine
    shadow_engine: TriggerEngine


class Stager:
    """Compiles for one vehicle and one source.

    Args:
        labels: the vehicle's, for `target.select`.
        thresholds: where adaptive specs stand when they begin; read anew each time.
    """

    def __init__(
        self,
        vehicle_id: str,
        description: SourceDescription,
        built_in: BuiltIn,
        labels: dict[str, str],
        thresholds: Thresholds = NO_THRESHOLDS,
    ) -> None:
        self._thresholds = thresholds
        self._drive = f"{vehicle_id}/{description.boot_id}"
        self._description = description
        self._built_in = built_in
        self._labels = labels
        self._tried: WeakSet[PerceptionModel] = WeakSet()
        if built_in.model is not None:
            self._tried.add(built_in.model.model)

    def wanted_model(self, lineup: Lineup) -> ModelRelease | None:
        return lineup.model or self._built_in.model

    def stage(self, lineup: Lineup, model: ModelRelease | None) -> Staged:
        """Compile a lineup for a model. Raises `InputError` for a rule that does not compile."""
        class_names = model.model.class_names if model is not None else ()
        bev = model is not None and isinstance(model.model, BevModel)
        signals = signals_of(
            self._description, class_names, bev=bev, candidate=lineup.shadow_model is not None
        )
        digest = model.model.digest if model is not None else None
        vehicle = VehicleView(self._labels, signals, class_names, digest)
        built_in = self._built_in.model
        is_built_in = built_in is not None and model is not None and model is built_in
        running = RunningSet(
            arrange(self._built_in.specs, lineup, vehicle),
            model,
            "built_in" if is_built_in or model is None else "ota",
            lineup.shadow_model,
        )
        names = running.score_names
        return Staged(
            running,
            TriggerEngine(running.active, self._drive, names, self._thresholds),
            TriggerEngine(running.in_shadow, self._drive, names, self._thresholds),
        )

    def usable(
        self, lineup: Lineup, running: RunningSet, known: dict[Key, SlotFault]
    ) -> tuple[Lineup, list[SlotFault]]:
        """The lineup less what cannot run, for each of which there is a fault.

        `known` faults are not tried again.
        """
        faults: list[SlotFault] = []
        specs: list[SpecRelease] = []
        for release in lineup.specs:
            fault = known.get((release.slot, release.loaded.digest)) or self._spec_fault(release)
            if fault is None or fault.stage == "soak":
                specs.append(release)
                continue
            faults.append(fault)
            specs += [
                SpecRelease(entry.slot, entry.loaded)
                for entry in running.entries
                if entry.slot == release.slot and entry.origin == "ota"
            ]
        was = running.model if running.model_origin == "ota" else None
        models = []
        for wanted, instead in (
            (lineup.model, was), (lineup.shadow_model, running.shadow_model),
        ):  # fmt: skip
            fault = None
            if wanted is not None:
                fault = known.get((wanted.slot, wanted.digest)) or self._model_fault(wanted)
                fault = fault or self._odd_shadow(wanted, lineup)
            if fault is not None and fault.stage == "activate":
                faults.append(fault)
                models.append(instead)
            else:
                models.append(wanted)
        return replace(lineup, specs=tuple(specs), model=models[0], shadow_model=models[1]), faults

    def _spec_fault(self, release: SpecRelease) -> SlotFault | None:
        try:
            TriggerEngine([release.loaded], self._drive)
        except LongtailError as error:
            return SlotFault(release.slot, release.loaded.digest, "activate", str(error))
        return None

    def _odd_shadow(self, candidate: ModelRelease, lineup: Lineup) -> SlotFault | None:
        """Of a candidate that sees other frames than the model it shall run beside."""
        active = self.wanted_model(lineup)
        if not candidate.slot.shadow or active is None or same_kind(candidate, active):
            return None
        return SlotFault(candidate.slot, candidate.digest, "activate", _OTHER_KIND)

    def _model_fault(self, release: ModelRelease) -> SlotFault | None:
        """Run a model that has not run here; one that did may be at work in the drive."""
        if release.model in self._tried:
            return None
        try:
            found = look(release.model, trial_view(release.model))
        except LongtailError as error:
            return SlotFault(release.slot, release.digest, "activate", str(error))
        Agreement().add(found.detections, found.detections)
        self._tried.add(release.model)
        return None
