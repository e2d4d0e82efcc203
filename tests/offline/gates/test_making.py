"""Evidence from files: probabilities, check-ins, models; and the page that tells of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from securesystemslib.signer import CryptoSigner
from typer.testing import CliRunner

from cli.loop import app
from contracts.errors import CorruptError, InputError
from contracts.scenario_suite import SUITE_FILE, suite_text
from offline.acquisition.adapters.request import AcquisitionRequest
from offline.acquisition.records import SelectorConfig
from offline.gates.drives import hard_drives, random_drives, read_probabilities
from offline.gates.judge import judge
from offline.gates.measuring import budget_evidence, manifest_evidence, median_cosine
from offline.gates.model_file import read_model
from offline.gates.page import page_text
from offline.gates.policy import read_policy
from offline.gates.shadow import read_shadow
from offline.gates.signing import verified_report
from offline.gates.source import FolderEvidence
from offline.pipeline.stages.acquire import scorer_of
from tests.offline.datasets.drives import write_drive
from tests.offline.gates.evidences import NEW, OLD, Given, scenarios, subjects
from tests.offline.gates.worlds import world

SIGNER = CryptoSigner.generate_ed25519()
ZOO = Path(__file__).parents[3] / "models" / "zoo"


def written(path: Path, value: object) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def drive(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "clip.mcap").touch()
    return folder


def test_probabilities_come_by_drive(tmp_path: Path) -> None:
    one, two = drive(tmp_path / "drives", "one"), drive(tmp_path / "drives", "two")
    table = written(tmp_path / "p.json", {"one": 0.25, "*": 0.5})
    found = random_drives([tmp_path / "drives"], table)
    assert found.inclusion == {one: 0.25, two: 0.5}
    rows = written(tmp_path / "p.csv", "drive,probability\none,0.25\ntwo,0.125\n")
    assert read_probabilities(rows) == {"one": 0.25, "two": 0.125}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"one": 0}, "no probability"), ([1], "tells no"), ("{", "tells no"),
        ({"one": 10**400}, "tells no"),
    ],
)  # fmt: skip
def test_what_is_no_probability_is_refused(tmp_path: Path, value: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_probabilities(written(tmp_path / "p.json", value))


def check_in(vehicle: str, candidate: str = NEW, frames: int = 1500) -> dict[str, object]:
    shadow = {
        "digest": candidate, "active_digest": OLD, "frames": frames, "failed_frames": 1,
        "agreed": 900, "class_differs": 10, "only_active": 40, "only_candidate": 60,
    }  # fmt: skip
    return {"vehicle_id": vehicle, "shadow_model": shadow, "software": "0.1.0"}


def test_drives_that_are_hard_and_random_are_answered_once(tmp_path: Path) -> None:
    for number in range(2):
        write_drive(tmp_path / "drives" / f"d{number}", [1, 2], drive=f"d{number}", x_m=5.0)
    shipped, told = read_model(ZOO / "student-s.manifest.yaml"), []
    table = written(tmp_path / "p.json", {"d0": 0.25, "d1": 0.5})
    roots = [tmp_path / "drives"]
    evidence = FolderEvidence(
        shipped, shipped, world(4, 3).suite, tmp_path, hard_drives(roots),
        random_drives(roots, table), read_policy(), lambda model: None,
        progress=lambda gate, done, of: told.append((gate, done, of)),
    )  # fmt: skip
    tails, aggregate = evidence.tails().comparison, evidence.aggregate().comparison
    assert told == [("tails", 1, 2), ("tails", 2, 2)]
    assert (tails.data.name, tails.weighted) == ("tails", False)
    assert (aggregate.data.name, aggregate.weighted) == ("random", True)
    assert tails.data.digest == aggregate.data.digest and tails.data.frames == 4


def test_check_ins_add_up(tmp_path: Path) -> None:
    told = [check_in("a"), {"check_in": check_in("b")}, check_in("c", candidate="9" * 64)]
    found = read_shadow(written(tmp_path / "fleet.json", told), NEW, OLD)
    assert (found.vehicles, found.frames, found.crashes) == (2, 3002, 2)
    assert (found.agreed, found.only_active, found.confirmed) == (1800, 80, 0)
    assert read_shadow(written(tmp_path / "s.json", found.model_dump()), NEW, OLD) == found


@pytest.mark.parametrize(
    ("told", "words"),
    [([], "no vehicle ran"), ([1], "no check-in"), ([{}], "names no vehicle"), ("[", "no JSON")],
)
def test_a_shadow_of_something_else_is_refused(
    tmp_path: Path, told: object, words: str
) -> None:  # fmt: skip
    with pytest.raises(InputError, match=words):
        read_shadow(written(tmp_path / "fleet.json", told), NEW, OLD)


def test_embeddings_of_another_length_are_no_neighbours() -> None:
    one, other = np.ones(4, np.float32), np.array([1, 1, 1, -1], np.float32)
    assert median_cosine([(one, one), (one, other), (one, one)]) == pytest.approx(1.0)
    assert median_cosine([(one, np.ones(3, np.float32))]) is None
    assert median_cosine([]) is None


def test_without_the_fleet_the_last_gate_waits() -> None:
    given = Given()
    given.shadow_evidence = None  # type: ignore[assignment]
    report = judge(subjects(), given, read_policy())
    assert report.waits_for_the_fleet and not report.passes
    assert "the fleet has not been asked" in page_text(report)


def test_the_page_says_what_failed_and_why() -> None:
    failed = page_text(judge(subjects(), Given(scenario_evidence=scenarios("deer-at-dusk")),
                             read_policy()))  # fmt: skip
    assert "stopped by the gate `scenarios`, since 1 of its 4 claims fail" in failed
    assert "| `deer-at-dusk` |" in failed and "not seen within 30 m" in failed
    assert "every gate passes" in page_text(judge(subjects(), Given(), read_policy()))


def test_the_command_stops_at_a_file_that_is_not_what_it_says(tmp_path: Path) -> None:
    spoilt(tmp_path)
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / SUITE_FILE).write_text(suite_text(world(4, 2).suite))
    drive(tmp_path / "drives", "one")
    pem = tmp_path / "key.pem"
    pem.write_bytes(SIGNER.private_bytes)
    folder, report = str(tmp_path / "drives"), tmp_path / "report.json"
    result = CliRunner().invoke(app, [
        "gate", "--candidate", str(tmp_path / "student-s.manifest.yaml"),
        "--reference", str(ZOO / "student-s.manifest.yaml"), "--suite", str(suite),
        "--tails", folder, "--random", folder, "--out", str(report), "--json",
        "--probabilities", str(written(tmp_path / "p.json", {"*": 1.0})), "--key", str(pem),
    ])  # fmt: skip
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert told["gates"][0]["verdict"] == "fail"
    assert json.loads(report.read_text()) == told
    envelope = report.with_suffix(".dsse.json").read_bytes()
    keys = {SIGNER.public_key.keyid: SIGNER.public_key}
    assert verified_report(envelope, keys, "report").digest
    assert "stopped by the gate `manifest`" in report.with_suffix(".md").read_text()


def spoilt(folder: Path) -> Path:
    """The shipped student with a bit of its file turned over: its manifest."""
    folder.mkdir(exist_ok=True)
    for name in ("student-s.manifest.yaml", "student-s.onnx"):
        shutil.copyfile(ZOO / name, folder / name)
    content = bytearray((folder / "student-s.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "student-s.onnx").write_bytes(content)
    return folder / "student-s.manifest.yaml"


def test_nothing_is_measured_on_a_file_that_is_not_its_manifests(tmp_path: Path) -> None:
    whole, other = read_model(ZOO / "student-s.manifest.yaml"), read_model(spoilt(tmp_path))
    with pytest.raises(CorruptError, match=r"student-s\.onnx: the file has digest"):
        manifest_evidence(whole, other, lambda model: None, lambda: ())
    for pair in ((whole, other), (other, whole)):
        with pytest.raises(CorruptError, match="its manifest says"):
            budget_evidence(*pair, frames=1)
    with pytest.raises(CorruptError, match="its manifest says"):
        _ = other.predictor
    found = manifest_evidence(whole, whole, lambda model: None, lambda: ())
    assert found.reference_sha256 == whole.manifest.sha256


def test_clips_are_chosen_by_no_file_that_is_not_its_manifests(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="its manifest says"):
        scorer_of(
            spoilt(tmp_path), None, AcquisitionRequest(select=SelectorConfig(budget=1.0, seed=1))
        )


def test_a_model_without_its_file_is_told(tmp_path: Path) -> None:
    shutil.copyfile(ZOO / "student-s.manifest.yaml", tmp_path / "x.manifest.yaml")
    with pytest.raises(InputError, match="no model can be read here"):
        read_model(tmp_path / "x.manifest.yaml")
    with pytest.raises(InputError, match=r"called <name>\.manifest\.yaml"):
        read_model(tmp_path / "x.yaml")
