"""A dataset version from label sets: which labels count, and in which split.

Pure. Where several label files tell of one instant of a vehicle's boot (overlapping clips, or two
label sets over one clip), one counts: that of the better source, then of the lesser clip id, then
of the lesser digest. So the order of the label sets means nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from contracts.datasets import (
    ClipSource,
    DatasetClip,
    DatasetFrame,
    DatasetVersion,
    LabelSet,
    LabelSource,
    MixedLabelSet,
    SplitGroup,
    SplitRule,
)
from contracts.errors import InputError
from offline.datasets.split import groups_of, split_of

BEST_FIRST: tuple[LabelSource, ...] = ("oracle", "consensus", "human", "recording", "auto")
_Told = tuple[tuple[int, str, str, str], DatasetFrame]


def dataset_version(
    label_sets: Mapping[str, LabelSet], rule: SplitRule, snapshot_utc_ns: int,
    weights: Mapping[str, float] | None = None,
) -> DatasetVersion:  # fmt: skip
    """The version over label sets by digest.

    Args:
        label_sets: at least one, all of one taxonomy.
        rule: how clips are dealt to splits.
        snapshot_utc_ns: when the dataset is said to be taken.
        weights: by digest of a label set; 1 where it names none.

    Raises `InputError` for label sets that do not fit together, a weight of none of them, and
    when one clip id is told of with two sources.
    """
    weights = dict(weights or {})
    if unknown := sorted(set(weights) - set(label_sets)):
        raise InputError(f"a weight for {unknown[0]}, which is none of the label sets", "weights")
    taxonomies = {each.taxonomy_version for each in label_sets.values()}
    if len(taxonomies) != 1:
        raise InputError(f"label sets of one taxonomy, not {sorted(taxonomies)}", "label sets")
    sources = _sources(label_sets)
    frames = _frames(label_sets)
    groups = tuple(
        SplitGroup(
            key=key, split=split_of(key, rule),
            clips=tuple(
                DatasetClip(clip=each, frames=tuple(frames[each.clip_id])) for each in members
            ),
        )
        for key, members in groups_of(sources.values(), rule).items()
    )  # fmt: skip
    return DatasetVersion(
        taxonomy_version=taxonomies.pop(), snapshot_utc_ns=snapshot_utc_ns, rule=rule,
        label_sets=tuple(
            MixedLabelSet(digest=each, weight=weights.get(each, 1.0)) for each in sorted(label_sets)
        ),
        groups=groups,
    )  # fmt: skip


def _sources(label_sets: Mapping[str, LabelSet]) -> dict[str, ClipSource]:
    found: dict[str, ClipSource] = {}
    for digest, label_set in label_sets.items():
        for each in label_set.clips:
            clip = each.clip
            if found.setdefault(clip.clip_id, clip) != clip:
                raise InputError(f"clip {clip.clip_id} has other sources in other sets", digest)
    return found


def _frames(label_sets: Mapping[str, LabelSet]) -> Mapping[str, Sequence[DatasetFrame]]:
    """The frames that count, by clip id, instants rising."""
    told: defaultdict[tuple[str, str, int], list[_Told]] = defaultdict(list)
    for digest, label_set in label_sets.items():
        for each in label_set.clips:
            clip = each.clip
            for file in each.frames:
                rank = (BEST_FIRST.index(file.source), clip.clip_id, file.digest, digest)
                frame = DatasetFrame(mono_ns=file.mono_ns, labels=file.digest, label_set=digest)
                told[clip.vehicle_id, clip.boot_id, file.mono_ns].append((rank, frame))
    frames: defaultdict[str, list[DatasetFrame]] = defaultdict(list)
    for instant in sorted(told):
        rank, frame = min(told[instant], key=lambda each: each[0])
        frames[rank[1]].append(frame)
    return frames
