"""Who vouches for a report, and that nothing in it changed since."""

from __future__ import annotations

import base64
import json

import pytest
from securesystemslib.signer import CryptoSigner

from contracts.errors import CorruptError, InputError, RefusedError
from contracts.gate_report import GateReport
from offline.gates.judge import judge
from offline.gates.policy import read_policy
from offline.gates.signing import signed_report, verified_report
from tests.offline.gates.evidences import Given, subjects

ALICE, BOB = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
KEYS = {signer.public_key.keyid: signer.public_key for signer in (ALICE, BOB)}


def report() -> GateReport:
    return judge(subjects(), Given(), read_policy())


def test_what_was_signed_is_read_back() -> None:
    content = signed_report(report(), [ALICE, BOB])
    assert verified_report(content, KEYS, "report", threshold=2) == report()


def test_too_few_signatures_and_strangers_are_refused() -> None:
    content = signed_report(report(), [ALICE])
    with pytest.raises(RefusedError, match="not signed by 2"):
        verified_report(content, KEYS, "report", threshold=2)
    with pytest.raises(RefusedError, match="not signed by 1"):
        verified_report(content, {BOB.public_key.keyid: BOB.public_key}, "report")
    with pytest.raises(InputError, match="nobody signs"):
        signed_report(report(), [])


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    envelope = json.loads(content)
    payload = base64.b64decode(envelope["payload"])
    assert old in payload
    envelope["payload"] = base64.b64encode(payload.replace(old, new)).decode()
    return json.dumps(envelope).encode()


def test_a_change_breaks_the_signature() -> None:
    content = signed_report(report(), [ALICE])
    with pytest.raises(RefusedError):
        verified_report(changed(content, b'"student-s 2"', b'"student-s 3"'), KEYS, "report")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"payload": 1}', b"\xff\xfe"])
def test_what_is_no_envelope_is_told(content: bytes) -> None:
    with pytest.raises(CorruptError, match="report: this is no signed report"):
        verified_report(content, KEYS, "report")
