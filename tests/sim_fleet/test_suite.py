"""The frozen suite: the same recipe gives the same drives, and another drive is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import CorruptError, InputError
from contracts.labels import FrameLabels, labels_bytes, read_labels
from contracts.samples import LidarSample, MountSample, PerceptionFrame, PoseSample, Sample
from contracts.scenario_suite import FrozenSuite, SuiteRecipe, read_suite
from kernels.clip.reader import read_samples
from offline.gates.scenarios import checked_folder
from sim_fleet.drives import SomeDrives
from sim_fleet.export import write_drive
from sim_fleet.source import DriveOptions, SimFleetSource
from sim_fleet.suite import PUBLISHED, read_recipe, refrozen, suite_of, write_suite

Message = Sample | PerceptionFrame
Change = Callable[[Message], Message | None]
NOISE_M = 0.01
DRIVE = {"scenario": "cut-in", "seeds": [1, 1], "seconds": 2.0}


def recipe(version: int = 1, share: float = 0.5) -> SuiteRecipe:
    scenario = {
        "name": "ahead", "slice": "plain",
        "drive": {**DRIVE, "every_s": 0.5},
        "asks": [{"ask": "told", "who": "vehicle", "within_m": 40, "share": share}],
    }  # fmt: skip
    return SuiteRecipe.model_validate({
        "apiVersion": "longtail/suite/v1", "name": "tiny", "version": version,
        "scenarios": [scenario],
    })  # fmt: skip


def test_drives_are_frozen_and_checked(tmp_path: Path) -> None:
    suite, _ = write_suite(recipe(), None, tmp_path / "one")
    assert read_suite(tmp_path / "one") == suite
    assert write_suite(recipe(), suite, tmp_path / "two") == (suite, ())
    assert (tmp_path / "two" / suite.scenarios[0].folder / "clip.mcap").is_file()
    with pytest.raises(InputError, match="not what was frozen as version 1"):
        write_suite(recipe(share=0.6), suite, tmp_path / "two")
    _must_stays(suite)


def _must_stays(suite: FrozenSuite) -> None:
    promoted = suite.promoted(["ahead"])
    later = suite.model_copy(update={"version": 2})
    assert refrozen(later, promoted).scenarios[0].standing == "must"
    with pytest.raises(InputError, match="version 1 follows 1"):
        refrozen(suite, promoted)
    changed = later.scenarios[0].model_copy(update={"frames": "1" * 64})
    with pytest.raises(InputError, match="cannot be changed or left out"):
        refrozen(later.model_copy(update={"scenarios": (changed,)}), promoted)


def test_the_published_recipe_is_what_was_frozen() -> None:
    frozen = suite_of(PUBLISHED)
    assert frozen is not None
    assert tuple(each.scenario for each in frozen.scenarios) == read_recipe().scenarios


def nudged(sample: Message) -> Message:
    """As another processor has it: some values end in another last bit."""
    if isinstance(sample, LidarSample):
        some = np.random.default_rng(sample.mono_ns).random(sample.xyz_m.shape) < 1e-3
        return replace(
            sample, xyz_m=np.where(some, np.nextafter(sample.xyz_m, np.float32(0)), sample.xyz_m)
        )
    if isinstance(sample, PoseSample):
        return replace(sample, position_m=sample.position_m * (1 + 1e-13))
    return sample


def noisier(sample: Message) -> Message:
    if not isinstance(sample, LidarSample):
        return sample
    noise = np.random.default_rng(sample.mono_ns).normal(0, NOISE_M, sample.xyz_m.shape)
    return replace(sample, xyz_m=(sample.xyz_m + noise).astype(np.float32))


def without_pose_at(sample: Message, mono_ns: int) -> Message | None:
    return None if isinstance(sample, PoseSample) and sample.mono_ns == mono_ns else sample


def remade(folder: Path, change: Change) -> None:
    """Write a drive's clip anew with each message changed; None leaves one out."""
    clip, fresh = folder / "clip.mcap", folder / "fresh.mcap"
    drive = SomeDrives.model_validate(DRIVE)
    described = SimFleetSource(
        DriveOptions(drive.staged(), 1, "s", drive.seconds, drive.vehicle_type)
    ).describe()

    def changed() -> Iterator[Sample]:
        for sample in read_samples(clip):
            assert not isinstance(sample, PerceptionFrame)
            is_of_a_camera = isinstance(sample, MountSample) and "camera" in sample.frame_id
            after = None if is_of_a_camera else change(sample)  # a camera's goes with its lens
            if after is not None:
                assert not isinstance(after, PerceptionFrame)
                yield after

    write_drive(fresh, described, changed(), "sim-dataset")
    fresh.replace(clip)


def relabelled(folder: Path, change: Callable[[FrameLabels], FrameLabels]) -> None:
    for path in (folder / "labels").glob("*.npz"):
        path.write_bytes(labels_bytes(change(read_labels(path))))


def moved(labels: FrameLabels) -> FrameLabels:
    """The first box is told 20 cm farther to the left."""
    first, *others = labels.record.boxes
    x, y, z = first.box.centre_m
    box = first.box.model_copy(update={"centre_m": (x, y + 0.2, z)})
    boxes = (first.model_copy(update={"box": box}), *others)
    return replace(labels, record=labels.record.model_copy(update={"boxes": boxes}))


def fewer(labels: FrameLabels) -> FrameLabels:
    boxes = labels.record.boxes[1:]
    return replace(labels, record=labels.record.model_copy(update={"boxes": boxes}))


def test_a_drive_of_other_arithmetic_is_the_frozen_one_and_another_drive_is_not(
    tmp_path: Path,
) -> None:
    out = tmp_path / "suite"
    suite, _ = write_suite(recipe(), None, out)
    frozen = suite.scenarios[0]
    folder = out / frozen.folder
    remade(folder, nudged)
    assert write_suite(recipe(), suite, out) == (suite, ("ahead",))
    assert checked_folder(frozen, out) == folder
    exact = frozen.model_copy(update={"likeness": None})
    with pytest.raises(InputError, match="does not hold what was frozen"):
        checked_folder(exact, out)
    assert (exact.digest, suite.model_copy(update={"scenarios": (exact,)}).digest) == (
        frozen.digest, suite.digest,
    )  # fmt: skip

    remade(folder, noisier)
    with pytest.raises(
        CorruptError,
        match=r"1 of 1 drives are not what was frozen: ahead .*roughness_m.* in place of",
    ):
        write_suite(recipe(), suite, out)
    assert not (out / "suite.json").exists()
    with pytest.raises(InputError, match=r"roughness_m: .* in place of"):
        checked_folder(frozen, out)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (moved, r"boxes of \w+ y_m: .* in place of"),
        (fewer, r"boxes of \w+: \d+ in place of \d+"),
    ],
)
def test_other_labels_are_not_the_frozen_ones(
    change: Callable[[FrameLabels], FrameLabels], told: str, tmp_path: Path
) -> None:
    suite, _ = write_suite(recipe(), None, tmp_path)
    relabelled(tmp_path / suite.scenarios[0].folder, change)
    with pytest.raises(InputError, match=told):
        checked_folder(suite.scenarios[0], tmp_path)


def test_a_message_less_is_another_drive(tmp_path: Path) -> None:
    suite, _ = write_suite(recipe(), None, tmp_path)
    folder = tmp_path / suite.scenarios[0].folder
    samples = read_samples(folder / "clip.mcap")
    poses = [each.mono_ns for each in samples if isinstance(each, PoseSample)]
    remade(folder, partial(without_pose_at, mono_ns=poses[3]))
    with pytest.raises(InputError, match=r"PoseSample: \d+ in place of \d+"):
        checked_folder(suite.scenarios[0], tmp_path)
