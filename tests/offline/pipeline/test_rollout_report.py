"""Shadow and rollout: what is waited for, and that nothing goes out but by its gate report."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from contracts.canonical import canonical_json
from contracts.check_in import ShadowModel
from contracts.errors import RefusedError
from contracts.shadow_evidence import ShadowEvidence
from offline.pipeline.cloud import Releases
from offline.pipeline.stages.evaluate import REPORT_FILE
from offline.pipeline.stages.rollout import ROLLOUT_FILE, rollout
from offline.pipeline.stages.shadow import _of_the_fleet
from offline.pipeline.stages.train import MODEL
from offline.pipeline.table import StageName
from offline.pipeline.work import Result, Waiting
from tests.offline.gates.evidences import NEW, OLD
from tests.offline.gates.test_verify import OF_ANOTHER, ZOO, report
from tests.offline.pipeline.test_stages import work_of


def test_nothing_goes_out_by_the_report_of_another_model(tmp_path: Path) -> None:
    names: tuple[StageName, ...] = ("train", "specs", "shadow")
    needs = {name: tmp_path / name for name in names}
    for folder in (*needs.values(), needs["train"] / MODEL):
        folder.mkdir()
    for name in ("student-s.manifest.yaml", "student-s.onnx"):
        shutil.copyfile(ZOO / name, needs["train"] / MODEL / name)
    work = work_of(tmp_path, needs=needs)
    (needs["shadow"] / REPORT_FILE).write_bytes(canonical_json(OF_ANOTHER))
    with pytest.raises(RefusedError, match="the report is of the model"):
        rollout(work)
    assert not list(work.product.iterdir())
    (needs["shadow"] / REPORT_FILE).write_bytes(canonical_json(report()))
    assert isinstance(rollout(work), Result)
    assert (work.product / ROLLOUT_FILE).is_file()


def test_the_fleet_is_waited_for_until_it_has_met_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of empty roads say nothing; to judge by them would refuse a candidate for good."""
    (tmp_path / "train" / MODEL).mkdir(parents=True)
    (tmp_path / "train" / MODEL / "a.manifest.yaml").touch()
    agreed = [100]

    class Fleet:
        def publish_model(self, manifest: Path) -> str:
            return ""

        def begin(self, manifest: Path, *, in_shadow: bool) -> SimpleNamespace:
            return SimpleNamespace(phase="running")

        def shadow_counts(self, digest: str) -> dict[str, ShadowModel]:
            told = ShadowModel(digest=NEW, active_digest=OLD, frames=5000, agreed=agreed[0])
            return {"one": told, "two": told}

    monkeypatch.setattr(Releases, "of", lambda work: Fleet())
    work = work_of(tmp_path, needs={"train": tmp_path / "train"})
    assert _of_the_fleet(work, NEW, OLD) == Waiting("200 of 1000 objects were told beside it")
    agreed[0] = 600
    assert isinstance(_of_the_fleet(work, NEW, OLD), ShadowEvidence)
