"""Whether a model may go out: the command that a person asks, and the rollout that asks itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner
from typer.testing import CliRunner, Result

from cli.loop import app
from contracts.canonical import canonical_json
from contracts.errors import CorruptError, InputError, LongtailError, RefusedError
from contracts.gate_report import GateReport
from offline.gates.judge import judge
from offline.gates.model_file import read_model
from offline.gates.policy import read_policy
from offline.gates.signing import read_public_keys, signed_report
from offline.pipeline.stages.evaluate import REPORT_FILE
from offline.pipeline.stages.rollout import check_report
from offline.pipeline.stages.shadow import SIGNED_FILE
from tests.offline.gates.evidences import Given, scenarios, subjects

ZOO = Path(__file__).parents[3] / "models" / "zoo"
MODEL = ZOO / "student-s.manifest.yaml"


def report(given: Given | None = None) -> GateReport:
    """Of the shipped student."""
    found = judge(subjects(), given or Given(), read_policy())
    return found.model_copy(update={"candidate": read_model(MODEL).sha256})


STOPPED = report(Given(scenario_evidence=scenarios("deer-at-dusk")))
OF_ANOTHER = report().model_copy(update={"candidate": "9" * 64})


class Signers:
    """A key pair in files, and what it signed."""

    def __init__(self, folder: Path, name: str) -> None:
        private = Ed25519PrivateKey.generate()
        self.signer = CryptoSigner(private)
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        self.private.write_bytes(self.signer.private_bytes)
        form = Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(private.public_key().public_bytes(*form))


@pytest.fixture
def ours(tmp_path: Path) -> Signers:
    return Signers(tmp_path, "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Signers:
    return Signers(tmp_path, "theirs")


def spoilt(folder: Path) -> Path:
    """The shipped student with a bit of its file turned over: its manifest."""
    shutil.copyfile(MODEL, folder / MODEL.name)
    content = bytearray((ZOO / "student-s.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "student-s.onnx").write_bytes(content)
    return folder / MODEL.name


def asked(folder: Path, content: bytes, key: Path, model: Path = MODEL) -> Result:
    envelope = folder / SIGNED_FILE
    envelope.write_bytes(content)
    words = ["verify", str(envelope), "--model", str(model), "--key", str(key)]
    return CliRunner().invoke(app, words)


def test_a_model_may_go_out_by_its_signed_report(tmp_path: Path, ours: Signers) -> None:
    told = asked(tmp_path, signed_report(report(), [ours.signer]), ours.public)
    assert told.exit_code == 0, told.output
    assert "may go out: every gate passes" in told.stdout


@pytest.mark.parametrize(
    ("found", "words"),
    [(STOPPED, "the gate `scenarios` did not pass"), (OF_ANOTHER, "of the model 999999999999")],
)
def test_what_is_signed_does_not_pass_for_that(
    tmp_path: Path, ours: Signers, found: GateReport, words: str
) -> None:
    told = asked(tmp_path, signed_report(found, [ours.signer]), ours.public)
    assert told.exit_code != 0 and isinstance(told.exception, RefusedError)
    assert words in str(told.exception)


def test_a_stranger_and_another_file_are_refused(
    tmp_path: Path, ours: Signers, theirs: Signers
) -> None:
    content = signed_report(report(), [ours.signer])
    assert isinstance(asked(tmp_path, content, theirs.public).exception, RefusedError)
    told = asked(tmp_path, content, ours.public, spoilt(tmp_path))
    assert isinstance(told.exception, CorruptError)
    with pytest.raises(InputError, match="not a public key in PEM"):
        read_public_keys([ours.private])
    with pytest.raises(InputError, match="cannot be read"):
        read_public_keys([tmp_path / "none.pem"])


def judged(folder: Path, told: GateReport, signed: GateReport | None, by: Signers) -> Path:
    """What the shadow's stage leaves."""
    product = folder / "product"
    product.mkdir()
    (product / REPORT_FILE).write_bytes(canonical_json(told))
    if signed is not None:
        (product / SIGNED_FILE).write_bytes(signed_report(signed, [by.signer]))
    return product


def test_the_rollout_sends_what_passed_signed_where_a_key_is_named(
    tmp_path: Path, ours: Signers
) -> None:
    product = judged(tmp_path, report(), report(), ours)
    check_report(product, MODEL, ours.private)
    (product / SIGNED_FILE).unlink()
    check_report(product, MODEL, None)


@pytest.mark.parametrize(
    ("told", "signed", "kind", "words"),
    [
        (report(), None, RefusedError, "and the report not signed"),
        (report(), STOPPED, CorruptError, "what is signed is not report.json"),
        (STOPPED, STOPPED, RefusedError, "did not pass"),
        (OF_ANOTHER, OF_ANOTHER, RefusedError, "the report is of the model 9999"),
    ],
)
def test_the_rollout_refuses(
    tmp_path: Path, ours: Signers, told: GateReport, signed: GateReport | None,
    kind: type[LongtailError], words: str,
) -> None:  # fmt: skip
    product = judged(tmp_path, told, signed, ours)
    with pytest.raises(kind, match=words):
        check_report(product, MODEL, ours.private)
    if signed is told:
        with pytest.raises(kind, match=words):
            check_report(product, MODEL, None)


def test_the_rollout_refuses_a_stranger_and_another_file(
    tmp_path: Path, ours: Signers, theirs: Signers
) -> None:
    product = judged(tmp_path, report(), report(), theirs)
    with pytest.raises(RefusedError, match="not signed by 1 of the known keys"):
        check_report(product, MODEL, ours.private)
    with pytest.raises(CorruptError, match="its manifest says"):
        check_report(product, spoilt(tmp_path), None)
