"""Label sets and dataset versions: immutable, named by the digest of their canonical JSON.

A *label set* is what some run or some people said of some clips: a label file
(`contracts.labels`) for each labelled instant, and who made them. A *dataset version* is what a
model is trained and measured on: label sets, each clip and each instant in one split.

The digest tells the whole: the same inputs, in whatever order, give the same digest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from contracts.canonical import canonical_digest
from contracts.geometry import Finite, Frozen
from contracts.ids import Name, Sha256Hex

LabelSource = Literal["oracle", "human", "auto", "consensus", "recording"]
"""As `contracts.labels.Provenance` has it."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TriggerRef(Frozen):
    """A trigger spec that asked for a clip."""

    trigger_id: Name
    version: int
    spec: Sha256Hex


class ClipSource(Frozen):
    """A clip and where it comes from, as its manifest tells it.

    `content` is the SHA-256 of the whole file, which is not the clip's id. Latitude and longitude
    are None where the vehicle could not know them.
    """

    clip_id: Sha256Hex
    content: Sha256Hex
    vehicle_id: Name
    boot_id: Name
    drive_id: Name
    stream: Literal["triggered", "random"]
    inclusion_probability: float | None = None
    lat_deg: Finite | None = None
    lon_deg: Finite | None = None
    triggers: tuple[TriggerRef, ...] = ()


class LabelFile(Frozen):
    """The labels of one instant: `digest` of the file, `source` of the frame as a whole, and how
    many boxes came from where.
    """

    mono_ns: int = Field(ge=0)
    digest: Sha256Hex
    source: LabelSource
    boxes: dict[LabelSource, int] = Field(default_factory=dict)


class LabelledClip(Frozen):
    """A clip's labels, instants rising."""

    clip: ClipSource
    frames: tuple[LabelFile, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _instants_rise(self) -> LabelledClip:
        if any(a.mono_ns >= b.mono_ns for a, b in pairwise(self.frames)):
            raise ValueError(f"{self.clip.clip_id}: an instant is there once, and they rise")
        return self


class Makers(Frozen):
    """Who made the labels: digests of stage runs, of the parameters and of the calibrator, and
    annotators by name. Each sorted, each once.
    """

    stage_runs: tuple[Sha256Hex, ...] = ()
    parameters: Sha256Hex | None = None
    calibrator: Sha256Hex | None = None
    annotators: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Makers:
        for names in (self.stage_runs, self.annotators):
            if list(names) != sorted(set(names)):
                raise ValueError("stage runs and annotators are sorted, each once")
        return self


class LabelSet(Frozen):
    """Labels of clips, which are sorted by id."""

    schema_version: Literal[1] = 1
    kind: Literal["label_set"] = "label_set"
    taxonomy_version: int = Field(ge=1)
    makers: Makers = Makers()
    clips: tuple[LabelledClip, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> LabelSet:
        _sorted_once([each.clip.clip_id for each in self.clips], "clips")
        return self

    def digest(self) -> str:
        return canonical_digest(self)

    def shares(self) -> dict[str, float]:
        """Which share of the boxes came from where; of the frames, where there is no box."""
        boxes: Counter[str] = Counter()
        frames: Counter[str] = Counter()
        for each in self.clips:
            for frame in each.frames:
                boxes.update(frame.boxes)
                frames[frame.source] += 1
        counts = boxes if boxes.total() else frames
        return {source: counts[source] / counts.total() for source in sorted(counts)}


class SplitRule(Frozen):
    """How clips are dealt to splits: whole groups at a time, by a hash of the group's key.

    `by` tells what is never parted: all clips of a drive, or all drives that share a cell of
    `cell_deg` degrees too. `parts` are splits with their shares, as whole numbers. A group that
    is there again in a later version comes to the same split.
    """

    by: Literal["drive", "place"] = "drive"
    parts: tuple[tuple[Name, int], ...] = (("train", 8), ("validation", 1), ("test", 1))
    seed: int = Field(0, ge=0)
    cell_deg: float = Field(0.01, gt=0, le=10)

    @model_validator(mode="after")
    def _parts_are_shares(self) -> SplitRule:
        names = [name for name, _ in self.parts]
        if not names or len(set(names)) != len(names) or min(n for _, n in self.parts) < 1:
            raise ValueError("parts: each split once, with a whole number of 1 or more")
        return self


class MixedLabelSet(Frozen):
    """A label set with its weight: how often a frame of it is drawn, beside one of weight 1."""

    digest: Sha256Hex
    weight: float = Field(1.0, gt=0, le=1e6, allow_inf_nan=False)


class DatasetFrame(Frozen):
    """An instant, its label file, and the label set that this is of."""

    mono_ns: int = Field(ge=0)
    labels: Sha256Hex
    label_set: Sha256Hex


class DatasetClip(Frozen):
    """A clip and the instants that count in it; none where other clips hold them all."""

    clip: ClipSource
    frames: tuple[DatasetFrame, ...] = ()


class SplitGroup(Frozen):
    """Clips that are never parted, by the key that their split was dealt by."""

    key: str = Field(min_length=1, max_length=300)
    split: Name
    clips: tuple[DatasetClip, ...] = Field(min_length=1)


class DatasetVersion(Frozen):
    """What a model is trained and measured on. `snapshot_utc_ns` tells when it was taken.

    A clip is in one group, hence in one split; so is an instant of a vehicle's boot, which counts
    once, however many clips hold it.
    """

    schema_version: Literal[1] = 1
    kind: Literal["dataset_version"] = "dataset_version"
    taxonomy_version: int = Field(ge=1)
    snapshot_utc_ns: int = Field(ge=0)
    rule: SplitRule
    label_sets: tuple[MixedLabelSet, ...] = Field(min_length=1)
    groups: tuple[SplitGroup, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> DatasetVersion:
        _sorted_once([each.digest for each in self.label_sets], "label_sets")
        _sorted_once([group.key for group in self.groups], "groups")
        clips = [(group, each) for group in self.groups for each in group.clips]
        ids = Counter(each.clip.clip_id for _, each in clips)
        known = {each.digest for each in self.label_sets}
        splits = {name for name, _ in self.rule.parts}
        instants: set[tuple[str, str, int]] = set()
        for group, each in clips:
            clip = each.clip
            if ids[clip.clip_id] > 1:
                raise ValueError(f"clip {clip.clip_id} is there twice")
            if group.split not in splits:
                raise ValueError(f"groups: the rule has no split {group.split!r}")
            for frame in each.frames:
                instant = (clip.vehicle_id, clip.boot_id, frame.mono_ns)
                if instant in instants:
                    raise ValueError(f"clip {clip.clip_id}: {frame.mono_ns} is there twice")
                if frame.label_set not in known:
                    raise ValueError(f"clip {clip.clip_id}: no label set {frame.label_set}")
                instants.add(instant)
        return self

    def digest(self) -> str:
        return canonical_digest(self)

    def clips(self, split: str | None = None) -> Iterator[DatasetClip]:
        """All clips, or those of a split."""
        for group in self.groups:
            if split in (None, group.split):
                yield from group.clips


def _sorted_once(names: list[str], what: str) -> None:
    if names != sorted(set(names)):
        raise ValueError(f"{what} are sorted, each once")
