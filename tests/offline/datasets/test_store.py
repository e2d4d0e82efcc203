"""From labelled drives to folders that models are trained on, and the way back from a model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.datasets import DatasetVersion, LabelSet, Makers, SplitRule
from contracts.errors import ConflictError, CorruptError, InputError
from contracts.ids import sha256_hex
from models.data.drives import CLIP_FILE, LABEL_FOLDER, drive_digest, drive_folders
from offline.datasets import label_sets
from offline.datasets.export import export
from offline.datasets.label_sets import label_set_of
from offline.datasets.store import DatasetStore
from offline.datasets.training import EVERYTHING, training_digests
from offline.datasets.versions import dataset_version
from tests.offline.datasets.drives import SPEC, label_file, write_drive

RULE = SplitRule(parts=(("train", 1), ("test", 1)))


def test_a_label_set_tells_who_said_what(tmp_path: Path) -> None:
    drives = [
        write_drive(tmp_path / "in/a", [100, 99], drive="d1", source="human", boxes=1),
        write_drive(tmp_path / "in/b", [200], drive="d2", boxes=2),
    ]
    store = DatasetStore(tmp_path / "store")
    makers = Makers(annotators=("ann",), parameters="5" * 64)
    made = label_set_of(drives, makers, store)
    assert made.shares() == {"auto": 0.5, "human": 0.5}
    assert store.get(LabelSet, made.digest()) == made
    assert label_set_of(drives[::-1], makers, store).digest() == made.digest()
    assert store.digests(LabelSet) == [made.digest()]
    by_drive = {each.clip.drive_id: each for each in made.clips}
    first = by_drive["d1"]
    assert [frame.mono_ns for frame in first.frames] == [99, 100]
    assert [(t.trigger_id, t.version, t.spec) for t in first.clip.triggers] == [
        ("hard-brake", 2, SPEC)
    ]
    assert store.objects.get(first.frames[0].digest) == label_file(99, "d1", "human", 1)
    assert store.clip_path(first.clip.clip_id).read_bytes() == (drives[0] / CLIP_FILE).read_bytes()
    assert (CLIP_FILE, LABEL_FOLDER) == (label_sets.CLIP_FILE, label_sets.LABEL_FOLDER)


def test_wrong_drives_are_refused_with_their_place(tmp_path: Path) -> None:
    good = write_drive(tmp_path / "good", [100])
    store = DatasetStore(tmp_path / "store")

    def refused(folder: Path, reason: str) -> None:
        with pytest.raises(InputError, match=reason):
            label_set_of([good, folder], Makers(), store)

    refused(write_drive(tmp_path / "out", [5000], drive="x"), r"5000\.npz: .*outside of its clip")
    refused(write_drive(tmp_path / "none", [], drive="x"), "none: nothing is labelled")
    refused(tmp_path, "no labelled drive")
    refused(write_drive(tmp_path / "same", [101]), r"same: the same clip as .*good")
    twice = write_drive(tmp_path / "twice", [7], drive="x")
    (twice / "labels/8.npz").write_bytes((twice / "labels/7.npz").read_bytes())
    refused(twice, r"8\.npz: mono_ns 7 is labelled twice")
    (twice / "labels/8.npz").write_bytes(b"PK")
    with pytest.raises(CorruptError, match=r"8\.npz"):
        label_set_of([twice], Makers(), store)
    with pytest.raises(InputError, match="no labelled drive"):
        label_set_of([], Makers(), store)
    assert store.digests(LabelSet) == []


@pytest.fixture
def version(tmp_path: Path) -> DatasetVersion:
    """Six drives; two clips of the first one overlap."""
    drives = [write_drive(tmp_path / f"in/{n}", [100 * n + 1, 99], drive=f"d{n}") for n in range(6)]
    drives.append(write_drive(tmp_path / "in/over", [1, 98], drive="d0", end_ns=2000))
    store = DatasetStore(tmp_path / "store")
    made = label_set_of(drives, Makers(), store)
    version = dataset_version({made.digest(): made}, RULE, 7)
    store.put(version)
    return version


def test_exported_it_is_what_training_names(tmp_path: Path, version: DatasetVersion) -> None:
    store = DatasetStore(tmp_path / "store")
    export(version, store, tmp_path / "out")
    told = training_digests(version)
    for split in ("train", "test"):
        folders = drive_folders([tmp_path / "out" / split])
        # As models.data.frames names the data of a training run.
        digest = sha256_hex("\n".join(sorted(map(drive_digest, folders))).encode())
        assert told[split] == digest
    every = drive_folders([tmp_path / "out"])
    assert told[EVERYTHING] == sha256_hex("\n".join(sorted(map(drive_digest, every))).encode())
    labels = sorted(path.name for path in (tmp_path / "out").glob("*/*/labels/*.npz"))
    assert labels.count("1.npz") == 1  # Of two clips that hold it, one counts it.
    assert len(labels) == 13
    clip = every[0] / CLIP_FILE
    assert clip.stat().st_nlink > 1
    assert not clip.stat().st_mode & 0o222
    before = clip.stat().st_ino
    export(version, store, tmp_path / "out")
    assert clip.stat().st_ino == before


def test_an_export_is_whole_or_not_there(tmp_path: Path, version: DatasetVersion) -> None:
    store = DatasetStore(tmp_path / "store")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConflictError, match="something else"):
        export(version, store, tmp_path / "taken")
    clip = next(each for each in version.clips() if each.frames)
    labels = store.objects.path(clip.frames[0].labels)
    content = labels.read_bytes()
    labels.chmod(0o644)
    labels.write_bytes(content[:-1])
    with pytest.raises(CorruptError):
        export(version, store, tmp_path / "out")
    labels.unlink()
    with pytest.raises(InputError, match="no such object"):
        export(version, store, tmp_path / "out")
    labels.write_bytes(content)
    path = store.clip_path(clip.clip.clip_id)
    path.chmod(0o644)
    elsewhere = tmp_path / "cloud" / clip.clip.clip_id[:2] / path.name
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(path.read_bytes())
    with path.open("r+b") as file:
        file.write(b"x")
    with pytest.raises(CorruptError, match="the clip is not what"):
        export(version, store, tmp_path / "out")
    path.unlink()
    with pytest.raises(InputError, match="is not here"):
        export(version, store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export(version, DatasetStore(tmp_path / "store", [tmp_path / "cloud"]), tmp_path / "out")
    assert os.listdir(tmp_path / "out" / "train")  # noqa: PTH208


def test_a_damaged_manifest_is_told(tmp_path: Path, version: DatasetVersion) -> None:
    store, digest = DatasetStore(tmp_path / "store"), version.digest()
    assert store.whole_digest(DatasetVersion, digest[:8]) == digest
    for text, reason in ((digest[:5], "too short"), ("0" * 64, "is not here")):
        with pytest.raises(InputError, match=reason):
            store.whole_digest(DatasetVersion, text)
    path = tmp_path / f"store/dataset_versions/{digest}.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"train", b"brain"))
    with pytest.raises(CorruptError, match="not what its name says"):
        store.get(DatasetVersion, digest)
