"""`longtail label set`, `loop dataset` and `loop lineage`: from labels to a model, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.label import app as label_app
from cli.loop import app as loop_app
from contracts.errors import InputError
from contracts.ids import sha256_hex
from models.data.drives import drive_digest, drive_folders
from tests.offline.datasets.drives import SPEC, write_drive
from tests.offline.runs.clips import CONFIGURATION, STAGE, write_clips

RUNNER = CliRunner()
ZOO = Path(__file__).parents[2] / "models/zoo/student-s.manifest.yaml"
SNAPSHOT = "2026-01-31T12:00:00Z"


def label(*arguments: object) -> str:
    return invoked(label_app, *arguments)


def loop(*arguments: object) -> str:
    return invoked(loop_app, *arguments)


def invoked(app: Any, *arguments: object) -> str:
    result = RUNNER.invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def sets(tmp_path: Path) -> list[str]:
    """Digests of a label set of a run and one of people."""
    for n in range(6):
        write_drive(tmp_path / f"auto/{n}", [100 + n], drive=f"d{n}")
    write_drive(tmp_path / "people", [105, 500], drive="d5", source="human")
    store = tmp_path / "store"
    auto = json.loads(label("set", tmp_path / "auto", "--store", store, "--json"))
    assert (auto["clips"], auto["frames"], auto["shares"]) == (6, 6, {"auto": 1.0})
    people = label("set", tmp_path / "people", "--store", store, "--annotator", "ann").strip()
    return [auto["digest"], people]


def test_from_labels_to_a_model_and_back(tmp_path: Path, sets: list[str]) -> None:
    store = tmp_path / "store"
    split = ["--split", "train=2", "--split", "test=1", "--snapshot", SNAPSHOT, "--store", store]
    built = json.loads(
        loop("dataset", "build", *sets, *split, "--weight", f"{sets[0][:9]}=0.5", "--json")
    )
    again = loop(
        "dataset", "build", *sets[::-1], *split, "--weight", f"{sets[0]}=0.5"
    )  # fmt: skip
    assert again.strip() == built["digest"]
    assert sum(row["frames"] for row in built["splits"]) == 7
    assert loop("dataset", "build", *sets, *split).strip() != built["digest"]
    out = tmp_path / "out"
    assert loop("dataset", "export", built["digest"][:8], "--store", store, "--out", out)
    assert json.loads((out / "dataset.json").read_text())["snapshot_utc_ns"] == 1769860800 * 10**9

    trained_on = drive_folders([out / "train"])
    data = sha256_hex("\n".join(sorted(map(drive_digest, trained_on))).encode())
    manifest = tmp_path / "model.yaml"
    shipped = ZOO.read_text()
    before = next(line for line in shipped.splitlines() if "dataset_sha256" in line)
    manifest.write_text(shipped.replace(before, f"  dataset_sha256: {data}"))
    found = json.loads(loop("lineage", manifest, "--store", store, "--json"))
    model = found["origins"]
    assert (model["kind"], found["uses"]["beyond"]) == ("model", [])
    assert "trained on its split 'train'" in model["told"]
    # Two versions hold this very data, for they differ by weights alone.
    versions = {each["name"]: each for each in model["beyond"]}
    assert len(versions) == 2
    version = versions[built["digest"]]
    assert version["kind"] == "dataset version"
    assert sorted(each["name"] for each in version["beyond"]) == sorted(sets)
    auto = next(each for each in version["beyond"] if each["name"] == sets[0])
    clips = [each for each in auto["beyond"] if each["kind"] == "clip"]
    assert len(clips) == 6
    assert {(each["kind"], each["name"]) for each in clips[0]["beyond"]} == {
        ("vehicle", "v1"), ("trigger spec", SPEC),
    }  # fmt: skip

    back = json.loads(
        loop("lineage", clips[0]["name"][:8], "--store", store, "--model", manifest, "--json")
    )
    kinds, branch = [], back["uses"]
    while branch["beyond"]:
        branch = branch["beyond"][0]
        kinds.append(branch["kind"])
    assert kinds == ["label set", "dataset version", "model"]
    text = loop("lineage", "v1", "--store", store, "--model", manifest, "--limit", "2")
    assert "went into" in text
    assert "… and 4 more (--limit)" in text


def test_what_the_store_lacks_is_told_as_missing(tmp_path: Path, sets: list[str]) -> None:
    text = loop("lineage", ZOO, "--store", tmp_path / "store")
    assert "not in this store" in text
    with pytest.raises(InputError, match="'abcdef' is unknown"):
        loop("lineage", "abcdef", "--store", tmp_path / "store")


def test_a_stage_run_is_part_of_the_lineage(tmp_path: Path) -> None:
    from offline.executor.inline import InlineExecutor
    from offline.runs.folder import WorkFolder
    from offline.runs.run import run_stage

    inputs = write_clips(tmp_path / "clips", 1)
    run = run_stage(STAGE, CONFIGURATION, inputs, WorkFolder(tmp_path / "work"), InlineExecutor())
    drive, store = write_drive(tmp_path / "a", [5]), tmp_path / "store"
    record = tmp_path / f"work/runs/{run.key}.json"
    digest = label("set", drive, "--store", store, "--stage-run", record).strip()
    found = json.loads(loop("lineage", digest, "--store", store, "--json"))
    assert run.digest in [each["name"] for each in found["origins"]["beyond"]]
    with pytest.raises(InputError, match="no stage run's record"):
        label("set", drive, "--store", store, "--stage-run", ZOO)


def test_wrong_options_are_refused(tmp_path: Path, sets: list[str]) -> None:
    def refused(reason: str, *more: str, snapshot: str = SNAPSHOT) -> None:
        store = str(tmp_path / "store")
        with pytest.raises(InputError, match=reason):
            loop(
                "dataset", "build", *sets, "--store", store, "--snapshot", snapshot, *more
            )  # fmt: skip

    refused("--split: 'train' is no NAME=NUMBER", "--split", "train")
    refused("--split: .*whole number", "--split", "train=0")
    refused("--split", "--split", "a=1", "--split", "a=2")
    refused("--cell-deg", "--cell-deg", "0")
    refused("--weight: ", "--weight", f"{sets[0]}=x")
    refused("is not here", "--weight", "abcdef0=1")
    refused("--snapshot: .* tells no zone", snapshot="2026-01-31T12:00:00")
    refused("--snapshot: .* is no time", snapshot="yesterday")
