"""The dataset version of the turn: product/dataset/ to train on, product/version.json its digests.

Labels of the random stream and of triggered clips are label sets of their own, so that each has its
weight. The snapshot's time is that of its newest clip: the same clips and labels give the same
digest, whenever it is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from contracts.canonical import canonical_json
from contracts.clock import NS_PER_S
from contracts.datasets import DatasetVersion, LabelSet, Makers
from contracts.errors import InputError
from contracts.geometry import Frozen
from contracts.ids import Sha256Hex, sha256_hex
from contracts.labels import FrameLabels, labels_bytes, read_labels
from contracts.review import Purpose
from kernels.clip.reader import read_manifest
from offline.datasets.export import export, place_file
from offline.datasets.label_sets import CLIP_FILE, LABEL_FOLDER, label_set_of
from offline.datasets.store import DatasetStore
from offline.datasets.versions import dataset_version
from offline.labels.clips.parameters import calibration_file
from offline.labels.formats.folders import labelled_drives
from offline.labels.review.journal import read_lines
from offline.labels.review.records import Settled
from offline.labels.review.route import TaskKey, read_record
from offline.pipeline.stages.label import DRIVES, RUN_FILE
from offline.pipeline.stages.review import KEPT_JOURNAL
from offline.pipeline.work import Result, Work
from offline.runs.records import read_run

DATASET, VERSION_FILE, STORE = "dataset", "version.json", "store"
TRAIN, VALIDATION = "train", "validation"
_JITTER_NS = 20_000_000
"""Sweeps do not come on the dot."""
_NOBODY_ASKED = frozenset({"auto", "consensus", "human"})
"""Who labelled a frame as a whole; people judge its boxes, and never its light or ground."""


class Made(Frozen):
    """The version, and the label sets that it is made of by stream, by digest."""

    version: Sha256Hex
    label_sets: dict[str, Sha256Hex]


def dataset(work: Work) -> Result:
    """Make label sets and the version, and write its folders."""
    store = DatasetStore(work.shared / STORE)
    drives = [_taught(work, each) for each in labelled_drives([work.needs["review"] / DRIVES])]
    streams: dict[str, list[Path]] = {}
    snapshot_utc_ns = 0
    for drive in drives:
        manifest = read_manifest(drive / CLIP_FILE)
        streams.setdefault(manifest.stream, []).append(drive)
        snapshot_utc_ns = max(snapshot_utc_ns, manifest.end_utc_ns)
    makers, digests, sets = _makers(work), dict[str, str](), dict[str, LabelSet]()
    for stream, folders in sorted(streams.items()):
        made = label_set_of(folders, makers, store, lambda done, of: None)
        digests[stream] = made.digest()
        sets[made.digest()] = made
    section = work.spec.dataset
    weights = {digests[name]: getattr(section.weights, name) for name in digests}
    version = dataset_version(sets, section.rule, snapshot_utc_ns, weights)
    store.put(version)
    if not any(clip.frames for clip in version.clips(TRAIN)):
        raise InputError("no frame to train on: every drive came to another split", "dataset.rule")
    export(version, store, work.product / DATASET)
    told = Made(version=version.digest(), label_sets=digests)
    (work.product / VERSION_FILE).write_bytes(canonical_json(told) + b"\n")
    return Result(_figures(version, list(sets.values())))


def read_made(product: Path) -> Made:
    return Made.model_validate_json((product / VERSION_FILE).read_bytes())


def _taught(work: Work, drive: Path) -> Path:
    """A drive with what of its labels is to be taught: instants apart, lights where they may be."""
    section, out = work.spec.dataset, work.scratch / DRIVES / drive.name
    (out / LABEL_FOLDER).mkdir(parents=True, exist_ok=True)
    least_ns = round((section.every_s or 0.0) * NS_PER_S) - _JITTER_NS
    kept_ns: int | None = None
    for path in sorted((drive / LABEL_FOLDER).glob("*.npz"), key=lambda path: int(path.stem)):
        at_ns = int(path.stem)
        if kept_ns is not None and at_ns - kept_ns < least_ns:
            continue
        kept_ns = at_ns
        (out / LABEL_FOLDER / path.name).write_bytes(labels_bytes(_judged(work, path)))
    if not (out / CLIP_FILE).exists():
        place_file(drive / CLIP_FILE, out / CLIP_FILE)
    return out


def _judged(work: Work, path: Path) -> FrameLabels:
    """Labels without what nobody was asked about, unless it is to be taught all the same."""
    section, labels = work.spec.dataset, read_labels(path)
    if labels.record.provenance.source not in _NOBODY_ASKED:
        return labels
    if not section.lights:
        labels = replace(labels, record=labels.record.model_copy(update={"light": None}))
    if not section.ground:
        record = labels.record.model_copy(update={"ground_grid": None})
        labels = replace(labels, record=record, ground=None)
    return labels


def _makers(work: Work) -> Makers:
    parameters = work.spec.label.parameters_file
    run = read_run(work.needs["label"] / RUN_FILE)
    lines = read_lines(work.needs["review"] / KEPT_JOURNAL)
    tasks = read_record(work.needs["review"]).tasks
    return Makers(
        stage_runs=(run.finished_digest(),),
        parameters=sha256_hex(parameters.read_bytes()),
        calibrator=sha256_hex(calibration_file(parameters).read_bytes()),
        annotators=annotators_of(lines, tasks),
    )  # fmt: skip


def annotators_of(lines: Iterable[Settled], tasks: Iterable[TaskKey]) -> tuple[str, ...]:
    """Who judged these labels. The journal is that of all turns, and an answer to gold, which is
    known before, makes no label.
    """
    ours = set(tasks)
    return tuple(sorted({
        one.annotator for line in lines for one in line.judgements
        if TaskKey.of(line) in ours and line.purpose is not Purpose.GOLD
    }))  # fmt: skip


def _figures(version: DatasetVersion, sets: list[LabelSet]) -> dict[str, JsonValue]:
    boxes: Counter[str] = Counter()
    for label_set in sets:
        for clip in label_set.clips:
            for frame in clip.frames:
                boxes.update(frame.boxes)
    splits = {
        name: sum(len(each.frames) for each in version.clips(name))
        for name, _ in version.rule.parts
    }
    return {
        "version": version.digest(), "clips": sum(1 for _ in version.clips()),
        "frames": dict(splits), "boxes": {name: boxes[name] for name in sorted(boxes)},
    }  # fmt: skip
