"""Where a thing comes from, and what came of it, by digests alone.

rollout → gate report → model → dataset version → label set → clip → trigger spec, vehicle. Any of
them may be asked for; models are known by the manifests that are given, reports and rollouts by the
loop that made them (`offline.pipeline.lineage`). What a manifest names and the store does not
have is told as missing, and the walk goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from contracts.datasets import ClipSource, DatasetVersion, LabelSet
from contracts.errors import InputError
from contracts.model_manifest import ModelManifest
from offline.datasets.store import DatasetStore
from offline.datasets.training import EVERYTHING, training_digests

Kind: TypeAlias = Literal[
    "rollout", "gate report", "model", "dataset version", "label set", "clip", "trigger spec",
    "vehicle", "stage run",
]  # fmt: skip
DATASET_KEY = "dataset_sha256"
LEAST_DIGITS = 6


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """Something with a place in the lineage: `name` is its digest, or a vehicle's name."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Branch:
    """A thing, what is told of it, and the things beyond it; `missing`: named, but not here."""

    thing: Thing
    told: str = ""
    missing: bool = False
    beyond: tuple[Branch, ...] = ()


@dataclass(slots=True)
class Lineage:
    """All that a store and some models know of each other: a graph from model to vehicle."""

    told: dict[Thing, str] = field(default_factory=dict)
    toward_vehicles: dict[Thing, set[Thing]] = field(default_factory=dict)
    toward_models: dict[Thing, set[Thing]] = field(default_factory=dict)

    def find(self, text: str) -> Thing:
        """The thing of that name, or the one whose digest begins so. Raises `InputError`."""
        known = {*self.told, *self.toward_models}
        found = sorted(
            each for each in known
            if each.name == text or (len(text) >= LEAST_DIGITS and each.name.startswith(text))
        )  # fmt: skip
        found = [each for each in found if each.name == text] or found
        if len(found) != 1:
            problem = f"is ambiguous: {found[0].name}, {found[1].name}" if found else "is unknown"
            raise InputError(f"{text!r} {problem}")
        return found[0]

    def origins(self, thing: Thing) -> Branch:
        """Toward vehicles and trigger specs."""
        return self._branch(thing, self.toward_vehicles)

    def uses(self, thing: Thing) -> Branch:
        """Toward models."""
        return self._branch(thing, self.toward_models)

    def add(self, thing: Thing, told: str, origins: Iterable[Thing]) -> None:
        """A thing that is here, and what it comes from."""
        self.told[thing] = told
        for origin in origins:
            self.toward_vehicles.setdefault(thing, set()).add(origin)
            self.toward_models.setdefault(origin, set()).add(thing)

    def _branch(self, thing: Thing, way: Mapping[Thing, set[Thing]]) -> Branch:
        beyond = tuple(self._branch(each, way) for each in sorted(way.get(thing, ())))
        return Branch(thing, self.told.get(thing, ""), thing not in self.told, beyond)


_ByDigest = dict[str, set[tuple[str, str]]]
"""Versions, and which of their splits, by the digests that a model may name them by."""


def lineage_of(store: DatasetStore, models: Iterable[tuple[str, ModelManifest]] = ()) -> Lineage:
    """Read the store. `models` are manifests with the name by which they are asked for."""
    lineage, by_digest = Lineage(), _ByDigest()
    for digest, label_set in store.every(LabelSet):
        _add_label_set(lineage, digest, label_set)
    for digest, version in store.every(DatasetVersion):
        sets = [Thing("label set", each.digest) for each in version.label_sets]
        lineage.add(Thing("dataset version", digest), _version_told(version), sets)
        for split, name in [(EVERYTHING, digest), *training_digests(version).items()]:
            by_digest.setdefault(name, set()).add((digest, split))
    for name, manifest in models:
        origins, told = _of_model(manifest, by_digest)
        lineage.add(Thing("model", name), told, origins)
    return lineage


def _add_label_set(lineage: Lineage, digest: str, label_set: LabelSet) -> None:
    for each in label_set.clips:
        lineage.add(Thing("clip", each.clip.clip_id), _clip_told(each.clip), _of_clip(each.clip))
        for trigger in each.clip.triggers:
            told = f"{trigger.trigger_id} v{trigger.version}"
            lineage.add(Thing("trigger spec", trigger.spec), told, ())
        lineage.add(Thing("vehicle", each.clip.vehicle_id), "", ())
    for run in label_set.makers.stage_runs:
        lineage.add(Thing("stage run", run), "", ())
    clips = [Thing("clip", each.clip.clip_id) for each in label_set.clips]
    runs = [Thing("stage run", run) for run in label_set.makers.stage_runs]
    lineage.add(Thing("label set", digest), _label_set_told(label_set), [*clips, *runs])


def _of_clip(clip: ClipSource) -> Iterator[Thing]:
    yield Thing("vehicle", clip.vehicle_id)
    for trigger in clip.triggers:
        yield Thing("trigger spec", trigger.spec)


def _of_model(manifest: ModelManifest, by_digest: _ByDigest) -> tuple[list[Thing], str]:
    """Dataset versions that the manifest's lineage names, by whatever key, and words on it.

    Several versions may hold the same data in a split, such as those that differ by weights: all
    of them are told, unless the manifest names a version's own digest.
    """
    told = f"{manifest.name} v{manifest.version}"
    trained_on = manifest.lineage.get(DATASET_KEY)
    values = {value for value in manifest.lineage.values() if value in by_digest}
    own = {value for value in values if (value, EVERYTHING) in by_digest[value]}
    named = own or {digest for value in values for digest, _ in by_digest[value]}
    if trained_on is None:
        told += ", names no dataset"
    elif trained_on not in by_digest:
        named.add(trained_on)
    elif splits := {split for _, split in by_digest[trained_on]} - {EVERYTHING}:
        told += f", trained on its split {' or '.join(map(repr, sorted(splits)))}"
    return [Thing("dataset version", each) for each in sorted(named)], told


def _version_told(version: DatasetVersion) -> str:
    clips = sum(1 for _ in version.clips())
    splits = ", ".join(
        f"{name} {sum(len(each.frames) for each in version.clips(name))}"
        for name, _ in version.rule.parts
    )
    return f"{clips} clips; frames: {splits}"


def _label_set_told(label_set: LabelSet) -> str:
    shares = ", ".join(f"{share:.1%} {source}" for source, share in label_set.shares().items())
    makers = "".join(f", by {name}" for name in label_set.makers.annotators)
    return f"{len(label_set.clips)} clips: {shares}{makers}"


def _clip_told(clip: ClipSource) -> str:
    return f"drive {clip.drive_id}, {clip.stream}"
