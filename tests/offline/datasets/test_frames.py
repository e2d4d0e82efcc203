"""A split of a dataset version through a PyTorch `DataLoader`."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from contracts.datasets import Makers, SplitRule
from contracts.errors import InputError
from models.data.examples import Examples
from models.student.config import student_s
from offline.datasets.frames import version_frames
from offline.datasets.label_sets import label_set_of
from offline.datasets.store import DatasetStore
from offline.datasets.training import training_digests
from offline.datasets.versions import dataset_version
from tests.sim_fleet.labelled import short_drive


def test_a_split_is_a_map_style_dataset(tmp_path: Path) -> None:
    config = student_s()
    store = DatasetStore(tmp_path / "store")
    made = label_set_of([short_drive(tmp_path / "drive")], Makers(), store)
    rule = SplitRule(parts=(("train", 1), ("test", 1)))
    version = dataset_version({made.digest(): made}, rule, 0)
    (used,) = (group.split for group in version.groups)
    (other,) = {"train", "test"} - {used}
    frames = version_frames(version, store, used, config, tmp_path / "cache")
    assert frames.digest == training_digests(version)[used]
    loader = DataLoader(Examples(frames, config), batch_size=2, shuffle=True, collate_fn=list)
    (batch,) = list(loader)
    assert len(batch) == len(frames) == 2
    assert {example.frame.images.shape for example in batch} == {frames[0].frame.images.shape}
    again = version_frames(version, store, used, config, tmp_path / "cache")
    assert again.digest == frames.digest
    for split, reason in (
        ("valid", "no split 'valid', but train, test"),
        (other, "no labelled drive"),
    ):
        with pytest.raises(InputError, match=reason):
            version_frames(version, store, split, config, tmp_path / "cache")
