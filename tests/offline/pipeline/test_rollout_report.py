"""A rollout begins with the gate report: what it does not let go leaves no product."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from contracts.canonical import canonical_json
from contracts.errors import RefusedError
from offline.pipeline.stages.evaluate import REPORT_FILE
from offline.pipeline.stages.rollout import ROLLOUT_FILE, rollout
from offline.pipeline.stages.train import MODEL
from offline.pipeline.table import StageName
from offline.pipeline.work import Result
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
