"""What shall run: built-in specs and model, overlaid by the lineup of releases. Pure.

Guarantees: of one trigger id the release runs, not the built-in spec; an id in `killed` never
runs, wherever its spec came from; a spec that cannot work on this vehicle, or is not meant for
it, is listed as inactive with the reason and does not bring the built-in one back.

A spec in a slot `trigger:X@shadow` runs beside X. One whose own `target.shadow` is true runs in
shadow from its ordinary slot; it is told as active there, since that slot is what it fills.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.check_in import Origin, RunningModel, RunningTrigger
from contracts.ota import Slot
from contracts.signal_log import LoggedSpec
from contracts.trigger_spec import LoadedSpec
from edge_agent.ota.ports import Lineup, ModelRelease
from edge_agent.signals.suitable import inactive_reason
from kernels.triggers.likeness import References, references_of, score_names

MAX_REASON = 500
SPEC_IN_SHADOW = "in shadow, as its target.shadow asks"

State = Literal["active", "shadow", "inactive", "killed"]


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """What runs without any release, from the configuration."""

    specs: tuple[LoadedSpec, ...] = ()
    model: ModelRelease | None = None


@dataclass(frozen=True, slots=True)
class VehicleView:
    """What decides whether a spec can work here: labels, signals, the model's classes."""

    labels: Mapping[str, str]
    signals: frozenset[str]
    class_names: tuple[str, ...] = ()
    model_digest: str | None = None


@dataclass(frozen=True, slots=True)
class SpecEntry:
    """One spec and what becomes of it. `state` is the slot's, as a check-in tells it."""

    slot: Slot
    loaded: LoadedSpec
    origin: Origin
    state: State
    reason: str = ""

    @property
    def runs(self) -> bool:
        return self.state in ("active", "shadow")

    @property
    def in_shadow(self) -> bool:
        """True when its fires are counted and never kept."""
        return self.slot.shadow or self.loaded.spec.target.shadow

    @property
    def key(self) -> tuple[Slot, str]:
        return self.slot, self.loaded.digest

    def told(self) -> RunningTrigger:
        return RunningTrigger(
            trigger_id=self.loaded.spec.id, version=self.loaded.spec.version,
            digest=self.loaded.digest, origin=self.origin, state=self.state,
            reason=self.reason[:MAX_REASON],
        )  # fmt: skip

    def logged(self) -> LoggedSpec:
        return LoggedSpec(
            trigger_id=self.loaded.spec.id, trigger_version=self.loaded.spec.version,
            digest=self.loaded.digest, kind=self.loaded.spec.kind,
            inactive=None if self.runs else self.reason or self.state, shadow=self.in_shadow,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunningSet:
    """All that runs, or shall, between two swaps."""

    entries: tuple[SpecEntry, ...]
    model: ModelRelease | None = None
    model_origin: Origin = "built_in"
    shadow_model: ModelRelease | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.model.model.class_names if self.model is not None else ()

    @property
    def active(self) -> tuple[LoadedSpec, ...]:
        """Specs whose fires may be kept, in the order of their rows."""
        return tuple(e.loaded for e in self.entries if e.runs and not e.in_shadow)

    @property
    def in_shadow(self) -> tuple[LoadedSpec, ...]:
        """Specs that only count, each digest once."""
        found = {e.loaded.digest: e.loaded for e in self.entries if e.runs and e.in_shadow}
        return tuple(found.values())

    @property
    def references(self) -> References:
        """The scenes that a spec which runs, or counts, looks for."""
        return references_of((*self.active, *self.in_shadow))

    @property
    def score_names(self) -> tuple[str, ...]:
        """What engines are compiled for, and what a frame's scores are called."""
        return score_names(self.class_names, self.references)

    @property
    def models(self) -> tuple[RunningModel, ...]:
        found = [(self.model, self.model_origin, False), (self.shadow_model, "ota", True)]
        return tuple(
            RunningModel(
                name=release.manifest.name, version=release.manifest.version,
                digest=release.digest, file_sha256=release.manifest.sha256,
                origin="ota" if origin == "ota" else "built_in", shadow=shadow,
            )
            for release, origin, shadow in found
            if release is not None
        )  # fmt: skip

    def spec_releases(self, *, in_shadow: bool) -> frozenset[tuple[Slot, str]]:
        """Slot and digest of the releases that run as specs, those in shadow or the others."""
        return frozenset(
            e.key for e in self.entries
            if e.origin == "ota" and e.runs and e.in_shadow == in_shadow
        )  # fmt: skip

    def releases(self) -> frozenset[tuple[Slot, str]]:
        """Slot and digest of every release that runs."""
        models = frozenset(
            (Slot("model", shadow=model.shadow), model.digest)
            for model in self.models
            if model.origin == "ota"
        )
        return models | self.spec_releases(in_shadow=False) | self.spec_releases(in_shadow=True)

    def is_as(self, other: RunningSet) -> bool:
        """Whether nothing would change."""
        mine = [(e.key, e.origin, e.state, e.reason) for e in self.entries]
        theirs = [(e.key, e.origin, e.state, e.reason) for e in other.entries]
        return mine == theirs and self.models == other.models


def arrange(
    built_in: Sequence[LoadedSpec], lineup: Lineup, vehicle: VehicleView
) -> tuple[SpecEntry, ...]:
    """Every spec with what becomes of it: built-in ids in their order, new ones, shadows."""
    placed: dict[Slot, tuple[LoadedSpec, Origin]] = {
        Slot("trigger", loaded.spec.id): (loaded, "built_in") for loaded in built_in
    }
    for release in sorted(lineup.specs, key=lambda r: (r.slot.shadow, r.slot.name)):
        placed[release.slot] = (release.loaded, "ota")
    return tuple(
        _judged(slot, loaded, origin, lineup.killed, vehicle)
        for slot, (loaded, origin) in placed.items()
    )


def _judged(
    slot: Slot, loaded: LoadedSpec, origin: Origin, killed: frozenset[str], vehicle: VehicleView
) -> SpecEntry:
    spec = loaded.spec
    if spec.id in killed:
        return SpecEntry(slot, loaded, origin, "killed", "the director has stopped this trigger")
    reason = _not_selected(spec.target.select, vehicle.labels)
    reason = reason or inactive_reason(
        spec, vehicle.signals, vehicle.class_names, vehicle.model_digest
    )
    if reason:
        return SpecEntry(slot, loaded, origin, "inactive", reason)
    if slot.shadow:
        return SpecEntry(slot, loaded, origin, "shadow")
    note = SPEC_IN_SHADOW if spec.target.shadow else ""
    return SpecEntry(slot, loaded, origin, "active", note)


def _not_selected(select: Mapping[str, str], labels: Mapping[str, str]) -> str:
    missed = {name: value for name, value in select.items() if labels.get(name) != value}
    wanted = ", ".join(f"{name}={value}" for name, value in sorted(missed.items()))
    return f"target.select wants {wanted}, which this vehicle is not" if missed else ""
